<?php
// phpLDAPadmin of the lab: the directories are in PHPLDAPADMIN_LDAP_HOSTS, and everybody logs in by a bind of their own.
$config->custom->appearance['friendly_attrs'] = [];
$config->custom->appearance['timezone'] = date_default_timezone_get();
$config->custom->appearance['hide_template_warning'] = true;
$config->custom->jpeg['tmpdir'] = '/tmp';
// A salt of its own for each password.
$config->custom->password['no_random_crypt_salt'] = false;

$servers = new Datastore();
foreach (explode(',', getenv('PHPLDAPADMIN_LDAP_HOSTS')) as $address) {
    $parts = parse_url(str_contains($address, '://') ? $address : "ldap://$address");
    $over_tls = $parts['scheme'] === 'ldaps';
    $servers->newServer('ldap_pla');
    $servers->setValue('server', 'name', "Kopano lab: {$parts['host']}");
    $servers->setValue('server', 'host', $over_tls ? "ldaps://{$parts['host']}" : $parts['host']);
    $servers->setValue('server', 'port', $parts['port'] ?? ($over_tls ? 636 : 389));
    $servers->setValue('login', 'auth_type', 'session');
    $servers->setValue('login', 'anon_bind', false);
    $servers->setValue('appearance', 'pla_password_hash', 'ssha');
}
