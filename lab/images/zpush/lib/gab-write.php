<?php
// Makes the address book what standard input lists.

declare(strict_types=1);
error_reporting(E_ERROR | E_PARSE);
require __DIR__ . '/common.php';

$people = [];
foreach (file('php://stdin', FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES) as $line) {
    $person = json_decode($line, true, 4, JSON_THROW_ON_ERROR);
    $people[$person['name']] = $person;
}
$people || said('z-push-gabsync', 'the server lists no user, so the address book stays as it is: run kopano-admin --sync there.');
$database = database();
$known = array_column($database->selectAll('SELECT name, fullname, email FROM lab_gab'), null, 'name');
$database->beginDbTransaction();
foreach (array_diff_key($known, $people) as $name => $gone) {
    $database->delete('DELETE FROM lab_gab WHERE name = ?', [$name]);
}
foreach ($people as $name => $person) {
    $database->insert(
        'INSERT INTO lab_gab (name, fullname, email) VALUES (?, ?, ?)'
        . ' ON CONFLICT (name) DO UPDATE SET fullname = excluded.fullname, email = excluded.email',
        [$name, $person['fullname'], $person['email']]
    );
}
$database->commitDbTransaction();
printf(
    "Global address book: %d entries, %d new, %d removed.\n",
    count($people), count(array_diff_key($people, $known)), count(array_diff_key($known, $people))
);
