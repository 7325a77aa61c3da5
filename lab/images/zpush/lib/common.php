<?php
// What the programs here share: the library's classes, the log, the database of states and the address book.

declare(strict_types=1);

const STATE_FILE = '/var/lib/z-push/state.db';

spl_autoload_register(function (string $class): void {
    foreach ([__DIR__, '/usr/share/php'] as $folder) {
        $file = $folder . '/' . strtr($class, ['_' => '/', '\\' => '/']) . '.php';
        if (is_file($file)) {
            require_once $file;
            return;
        }
    }
});

function database(): Horde_Db_Adapter
{
    $database = new Horde_Db_Adapter_Pdo_Sqlite(['dbname' => STATE_FILE, 'charset' => 'utf-8']);
    // Workers write at the same time; the log of the database is beside it, so that readers do not wait for writers.
    $database->execute('PRAGMA busy_timeout = 10000');
    $database->execute('PRAGMA journal_mode = WAL');
    return $database;
}

function logger(): Horde_Log_Logger
{
    $format = new Horde_Log_Formatter_Simple(['format' => 'zpush: %levelName%: %message%' . PHP_EOL]);
    $logger = new Horde_ActiveSync_Log_Logger(new Horde_Log_Handler_Stream('php://stderr', 'w', $format));
    $logger->addFilter(new Horde_Log_Filter_Level(Horde_Log::WARN));
    return $logger;
}

function said(string $program, string $sentence): never
{
    fwrite(STDERR, "$program: $sentence\n");
    exit(1);
}
