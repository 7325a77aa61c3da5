<?php
// Log-in by OpenID Connect, beside the one by password. Roundcube's own OAuth opens mailbox and outbox with the access token
// and renews it; here is what it lacks: the provider's discovery document, PKCE in place of a secret, a check of whose answer
// comes back, and signing out at the provider.

require_once __DIR__ . '/kopano_oauth.php';

class kopano_openid extends rcube_plugin
{
    /** Comes before Roundcube makes its own OAuth object, unlike init(). */
    public function onload()
    {
        // Nobody logs in on a command line, and at the container's start the provider need not be there.
        if (PHP_SAPI === 'cli') {
            return;
        }
        $config = rcmail::get_instance()->config;
        $provider = $this->provider($config->get('openid_issuer'), $config->get('oauth_verify_peer'));
        if ($provider) {
            // The log-in page has its button where this is set.
            $config->set('oauth_auth_uri', $provider['authorization_endpoint']);
            kopano_oauth::install($provider);
        }
    }

    public function init()
    {
    }

    /**
     * The provider's discovery document, kept for ten minutes. While there is none, passwords are the only way in.
     */
    private function provider($issuer, $authority)
    {
        $file = '/tmp/openid-configuration.json';
        $kept = is_readable($file) ? json_decode(file_get_contents($file), true) : null;
        if ($kept && $kept['until'] > time()) {
            return $kept['provider'];
        }
        try {
            $client = new GuzzleHttp\Client(['timeout' => 5, 'verify' => $authority, 'allow_redirects' => false]);
            $answer = $client->get(rtrim($issuer, '/') . '/.well-known/openid-configuration');
            $found = json_decode($answer->getBody(), true, 16, JSON_THROW_ON_ERROR);
            if (($found['issuer'] ?? '') !== $issuer) {
                throw new RuntimeException('it calls itself otherwise');
            }
            $provider = ['issuer' => $issuer];
            foreach (['authorization_endpoint', 'token_endpoint', 'end_session_endpoint'] as $name) {
                if (strpos($found[$name] ?? '', 'https://') !== 0) {
                    throw new RuntimeException("its $name is no https:// address");
                }
                $provider[$name] = $found[$name];
            }
            $seconds = 600;
        } catch (Throwable $problem) {
            rcube::raise_error(
                ['message' => "OpenID provider $issuer: " . $problem->getMessage(), 'file' => __FILE__, 'line' => __LINE__],
                true,
                false
            );
            $provider = $kept['provider'] ?? null;
            $seconds = 5;
        }
        // Others may read at this moment: the whole file or the one before.
        $new = tempnam('/tmp', 'openid');
        file_put_contents($new, json_encode(['until' => time() + $seconds, 'provider' => $provider]));
        rename($new, $file);
        return $provider;
    }
}
