<?php
// Makes the database of the devices' states, or brings it to what the library of this image expects.

declare(strict_types=1);
error_reporting(E_ERROR | E_PARSE);
require __DIR__ . '/common.php';

$database = database();
$migrator = new Horde_Db_Migration_Migrator($database, null, [
    'migrationsPath' => '/usr/share/php/data/Horde_ActiveSync/migration',
    'schemaTableName' => 'horde_activesync_schema_info',
]);
$migrator->up();
$database->execute('CREATE TABLE IF NOT EXISTS lab_gab (name TEXT PRIMARY KEY, fullname TEXT NOT NULL, email TEXT NOT NULL)');
