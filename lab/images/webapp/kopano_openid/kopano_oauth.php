<?php
// Roundcube's OAuth, as OpenID Connect wants it.
class kopano_oauth extends rcmail_oauth
{
    private $provider;
    private $id_token;

    /** Be the OAuth object of Roundcube. */
    public static function install(array $provider)
    {
        self::$instance = new self(['auth_uri' => $provider['authorization_endpoint'], 'token_uri' => $provider['token_endpoint']]);
        self::$instance->provider = $provider;
        self::$instance->init();
    }

    protected function init()
    {
        parent::init();
        $this->rcmail->plugins->register_hook('session_destroy', [$this, 'session_destroy']);
    }

    /** Send the browser to the provider. */
    public function login_redirect()
    {
        // PKCE: the code that comes back is of use to none but this session, so the client needs no secret.
        $verifier = rcube_utils::random_bytes(64);
        $_SESSION['openid'] = ['verifier' => $verifier, 'nonce' => rcube_utils::random_bytes(32)];
        $this->options['auth_parameters'] = [
            'nonce' => $_SESSION['openid']['nonce'],
            'code_challenge' => rtrim(strtr(base64_encode(hash('sha256', $verifier, true)), '+/', '-_'), '='),
            'code_challenge_method' => 'S256',
        ];
        parent::login_redirect();
    }

    /** Exchange the code with which the browser has come back. */
    public function request_access_token($code, $state = null)
    {
        $asked = $_SESSION['openid'] ?? null;
        $expected = $_SESSION['oauth_state'] ?? null;
        // An answer is good once.
        $this->rcmail->session->remove('openid');
        $this->rcmail->session->remove('oauth_state');
        try {
            // Else one could be logged in to somebody else's account without knowing.
            if (!$asked || !$expected || !hash_equals($expected, (string) $state)) {
                throw new RuntimeException('this browser has asked for no such log-in');
            }
            $client = new GuzzleHttp\Client(['timeout' => 10, 'verify' => $this->options['verify_peer']]);
            $answer = $client->post($this->options['token_uri'], [
                'form_params' => [
                    'grant_type' => 'authorization_code',
                    'code' => $code,
                    'redirect_uri' => $this->get_redirect_uri(),
                    'client_id' => $this->options['client_id'],
                    'code_verifier' => $asked['verifier'],
                ],
            ]);
            $token = json_decode($answer->getBody(), true, 16, JSON_THROW_ON_ERROR);
            $who = $this->identity($token['id_token'], $asked['nonce']);
            $token['openid_hint'] = $this->rcmail->encrypt($token['id_token']);
            $authorization = 'Bearer ' . $token['access_token'];
            $this->mask_auth_data($token);
            unset($token['access_token'], $token['id_token']);
            return ['username' => $who, 'authorization' => $authorization, 'token' => $token];
        } catch (Throwable $problem) {
            $this->last_error = 'Log-in by OpenID failed: ' . $problem->getMessage();
            $this->no_redirect = true;
            rcube::raise_error(['message' => $this->last_error, 'file' => __FILE__, 'line' => __LINE__], true, false);
            return false;
        }
    }

    /** Sessions are emptied before `logout_after` is called. */
    public function session_destroy()
    {
        $hint = $_SESSION['oauth_token']['openid_hint'] ?? null;
        $this->id_token = $hint ? $this->rcmail->decrypt($hint) : null;
    }

    /** Who logs out here is signed out at the provider too, or the next click on the log-in's button would be enough. */
    public function logout_after($options)
    {
        parent::logout_after($options);
        if ($this->id_token) {
            $asked = http_build_query([
                'id_token_hint' => $this->id_token,
                'post_logout_redirect_uri' => preg_replace('/\?.*/', '', $this->rcmail->url([], true, true)),
            ]);
            $this->rcmail->output->redirect($this->provider['end_session_endpoint'] . "?$asked");
        }
        return $options;
    }

    /**
     * The log-in name in an ID token. It came from the provider itself over TLS, which stands for its signature
     * (OpenID Connect Core 3.1.3.7); the server, which opens the mailbox, verifies that of the access token.
     */
    private function identity($id_token, $nonce)
    {
        $claims = $this->jwt_decode($id_token);
        if (($claims['iss'] ?? '') !== $this->provider['issuer']) {
            throw new RuntimeException('the ID token is of another provider');
        }
        if (!hash_equals($nonce, $claims['nonce'] ?? '')) {
            throw new RuntimeException('the ID token is for another log-in');
        }
        if (($claims['exp'] ?? 0) < time()) {
            throw new RuntimeException('the ID token has expired');
        }
        foreach ($this->options['identity_fields'] as $field) {
            if (!empty($claims[$field])) {
                return $claims[$field];
            }
        }
        throw new RuntimeException('the ID token has no log-in name');
    }
}
