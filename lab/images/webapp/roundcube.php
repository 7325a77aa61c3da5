<?php
// What is not fixed here comes from the container's environment; start.sh has checked it.
$state = '/var/lib/kopano-webapp';
$authority = getenv('WEBAPP_CA_FILE') ?: null;

$config = [
    'product_name' => 'Kopano lab (Roundcube), not Kopano',
    'useragent' => 'Kopano lab webmail (Roundcube)',
    'skin_logo' => ['*:login' => 'lab/logo.svg', '*' => 'lab/menu.svg'],
    'display_product_info' => 1,
    'enable_installer' => false,

    'db_dsnw' => "sqlite:///$state/roundcube.db?mode=0600",
    'des_key' => trim(file_get_contents("$state/des_key")),
    'cipher_method' => 'AES-256-CBC',
    'session_storage' => 'php',
    'session_lifetime' => (int) getenv('WEBAPP_SESSION_MINUTES'),
    'session_path' => '/webapp/',
    'session_samesite' => 'Lax',
    'temp_dir' => '/tmp',
    'log_driver' => 'stdout',
    'log_session_id' => 0,
    'smtp_log' => false,

    'imap_host' => getenv('WEBAPP_IMAP_HOST'),
    'smtp_host' => getenv('WEBAPP_SMTP_HOST'),
    // The spooler keeps what it has sent.
    'no_save_sent_messages' => true,
    'smtp_user' => '%u',
    'smtp_pass' => '%p',
    'imap_timeout' => 10,
    'smtp_timeout' => 20,
    'mail_domain' => getenv('WEBAPP_MAIL_DOMAIN'),
    'max_message_size' => '20M',
    'create_default_folders' => true,
    'language' => getenv('WEBAPP_LANGUAGE') ?: null,
];

// What comes nearest to Kopano's plug-ins of other names; start.sh knows which.
$config['plugins'] = preg_split('/ /', getenv('WEBAPP_PLUGINS'), -1, PREG_SPLIT_NO_EMPTY);
$config['newmail_notifier_desktop'] = true;

// Log-in by OpenID Connect, beside the one by password.
if (getenv('WEBAPP_OIDC_ISSUER')) {
    $config['plugins'][] = 'kopano_openid';
    $config += [
        'openid_issuer' => getenv('WEBAPP_OIDC_ISSUER'),
        'oauth_provider' => 'konnect',
        'oauth_provider_name' => 'Konnect',
        'oauth_client_id' => getenv('WEBAPP_OIDC_CLIENT'),
        'oauth_scope' => 'openid profile email offline_access kopano/gc',
        'oauth_identity_fields' => ['preferred_username'],
        'oauth_verify_peer' => getenv('WEBAPP_OIDC_CA_FILE') ?: true,
    ];
}

if ($authority) {
    $config['imap_conn_options'] = $config['smtp_conn_options'] = ['ssl' => ['cafile' => $authority]];
}
