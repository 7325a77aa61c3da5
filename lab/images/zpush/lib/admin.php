<?php
// z-push-admin: the devices that have synchronised, and the removal of what is known of one.

declare(strict_types=1);
error_reporting(E_ERROR | E_PARSE);
require __DIR__ . '/common.php';

$usage = "give '-a list', or '-a remove -d DEVICE' with '-u USER' for one user of it alone.";
$options = getopt('a:d:u:', [], $rest);
if ($rest !== $argc) {
    said('z-push-admin', "'{$argv[$rest]}' is refused: $usage");
}
$state = new Horde_ActiveSync_State_Sql(['db' => database()]);
$state->setLogger(logger());
switch ($options['a'] ?? '') {
    case 'list':
        $devices = $state->listDevices($options['u'] ?? null);
        if (!$devices) {
            echo "no devices found\n";
            break;
        }
        printf("%-34s %-20s %-16s %s\n", 'Device id', 'User', 'Type', 'Last synchronisation');
        foreach ($devices as $device) {
            $last = (int) $state->getLastSyncTimestamp($device['device_id'], $device['device_user']);
            printf(
                "%-34s %-20s %-16s %s\n",
                $device['device_id'], $device['device_user'], $device['device_type'], $last ? date('Y-m-d H:i:s', $last) : 'never'
            );
        }
        break;
    case 'remove':
        $device = strtoupper((string) ($options['d'] ?? '')) ?: said('z-push-admin', "-d is missing: $usage");
        $user = $options['u'] ?? null;
        $whose = $user ? " of user '$user'" : '';
        $state->deviceExists($device, $user) || said('z-push-admin', "there is no device '$device'$whose.");
        $state->removeState(array_filter(['devId' => $device, 'user' => $user]));
        echo "removed: $device\n";
        break;
    default:
        said('z-push-admin', "the action '" . ($options['a'] ?? '') . "' is refused: $usage");
}
