<?php
// Lists the server's users with an address, one JSON object a line.

declare(strict_types=1);
require __DIR__ . '/common.php';

try {
    $server = new Lab_Server();
    foreach ($server->call('user.list') as $user) {
        $known = $server->call('user.details', ['user' => $user['name']]);
        if ($known['email'] !== '' && $known['name'] !== 'SYSTEM') {
            $told = array_intersect_key($known, array_flip(['name', 'fullname', 'email']));
            echo json_encode($told, JSON_THROW_ON_ERROR), "\n";
        }
    }
} catch (Lab_Unavailable | Lab_Refused $problem) {
    said('z-push-gabsync', $problem->getMessage() . '.');
}
