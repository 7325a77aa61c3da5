<?php
// One request of a device: ActiveSync, or the question where ActiveSync is.

declare(strict_types=1);
require __DIR__ . '/common.php';

const NOT_KOPANO = "The Kopano lab, a stand-in for tests, not Kopano: here is ActiveSync, for devices alone.\n";

function ended(int $status, string $text, string ...$headers): never
{
    while (ob_get_level()) {
        ob_end_clean();
    }
    http_response_code($status);
    header('Content-Type: text/plain; charset=utf-8');
    array_map(header(...), $headers);
    echo $text;
    exit;
}

$discovery = stripos($_SERVER['REQUEST_URI'], '/autodiscover') === 0;
$method = $_SERVER['REQUEST_METHOD'];
$logger = logger();
ob_start();
try {
    $state = new Horde_ActiveSync_State_Sql(['db' => database()]);
    $driver = new Lab_Driver(['state' => $state, 'logger' => $logger]);
    $server = new Horde_ActiveSync(
        $driver,
        new Horde_ActiveSync_Wbxml_Decoder(fopen('php://input', 'r')),
        new Horde_ActiveSync_Wbxml_Encoder(fopen('php://output', 'w+')),
        $state,
        new Horde_Controller_Request_Http()
    );
    $server->setLogger(new Lab_Logging());
    $server->setSupportedVersion(Horde_ActiveSync::VERSION_FOURTEENONE);
    $known = $server->getGetVars();
    $command = match (true) {
        $discovery => 'Autodiscover',
        $method === 'OPTIONS' => 'Options',
        $method === 'POST' => $known['Cmd'] ?? '',
        default => '',
    };
    if ($command === '') {
        // A browser, or a monitor that wants to know whether a log-in is asked for.
        empty($_SERVER['HTTP_AUTHORIZATION']) && throw new Horde_Exception_AuthenticationFailure();
        ended($method === 'POST' ? 400 : 405, NOT_KOPANO, 'Allow: OPTIONS,POST');
    }
    $result = $server->handleRequest($command, $discovery ? null : ($known['DeviceId'] ?? null));
    $result === false && ended(500, "The command '$command' failed.\n");
    $type = is_string($result) ? $result : 'application/vnd.ms-sync.wbxml';
    header("Content-Type: $type");
    header('Content-Length: ' . ob_get_length());
    ob_end_flush();
    $driver->clearAuthentication();
} catch (Horde_Exception_AuthenticationFailure) {
    ended(401, NOT_KOPANO, 'WWW-Authenticate: Basic realm="Kopano lab"');
} catch (Horde_ActiveSync_Exception_InvalidRequest $problem) {
    ended(400, $problem->getMessage() . "\n");
} catch (Lab_Unavailable | Horde_Imap_Client_Exception $problem) {
    $logger->err($problem->getMessage());
    ended(503, "The mail system does not answer: try again later.\n", 'Retry-After: 60');
} catch (Throwable $problem) {
    $logger->err(get_class($problem) . ': ' . $problem->getMessage() . ' in ' . $problem->getFile() . ':' . $problem->getLine());
    ended(500, "The request failed: see the log.\n");
}
