<?php

declare(strict_types=1);

/** The server, over its socket file: a line of JSON each way, after which a mail may follow. */
class Lab_Server
{
    private const SOCKET = '/run/kopano/server.sock';

    private string $session = '';

    /** @throws Lab_Unavailable when it does not answer, Lab_Refused when it says no. */
    public function call(string $method, array $params = [], string $payload = ''): mixed
    {
        $head = ['method' => $method, 'params' => (object) $params, 'session' => $this->session];
        $request = curl_init('http://localhost/');
        curl_setopt_array($request, [
            CURLOPT_UNIX_SOCKET_PATH => self::SOCKET,
            CURLOPT_POSTFIELDS => json_encode($head, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE) . "\n" . $payload,
            CURLOPT_HTTPHEADER => ['Content-Type: application/json', 'Expect:'],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 60,
        ]);
        $body = curl_exec($request);
        if (!is_string($body)) {
            throw new Lab_Unavailable('the server does not answer on ' . self::SOCKET . ': ' . curl_error($request));
        }
        $answer = json_decode(strtok($body, "\n") ?: '', true);
        if (isset($answer['error'])) {
            $problem = $answer['error'];
            throw $problem['code'] === 'unavailable' || $problem['code'] === 'internal'
                ? new Lab_Unavailable($problem['message'])
                : new Lab_Refused("{$problem['code']}: {$problem['message']}");
        }
        return $answer['result'] ?? null;
    }

    /** Be this user from now on; gives the log-in name as the directory writes it. */
    public function logOn(string $user, string $password): string
    {
        $opened = $this->call('logon', ['user' => $user, 'password' => $password]);
        $this->session = $opened['session'];
        return $opened['user'];
    }

    public function logOff(): void
    {
        if ($this->session !== '') {
            $this->call('logoff');
            $this->session = '';
        }
    }
}
