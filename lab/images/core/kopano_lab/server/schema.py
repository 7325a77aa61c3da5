"""The tables of the lab's server, and how a database gets them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from kopano_lab.errors import Refusal

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database

MARK = "made by the Kopano lab"
_ENGINE = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"

_SETTINGS = f"""CREATE TABLE IF NOT EXISTS settings (
    name VARCHAR(64) NOT NULL PRIMARY KEY, value TEXT NOT NULL) {_ENGINE} COMMENT='{MARK}'"""

# Each entry is one version; a change of the schema is one more entry, and none is ever edited.
VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        f"""CREATE TABLE IF NOT EXISTS users (
        id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        externid VARBINARY(255) NOT NULL UNIQUE,
        name VARCHAR(255) NOT NULL, KEY (name),
        fullname VARCHAR(255) NOT NULL,
        email VARCHAR(255) NOT NULL, KEY (email),
        class VARCHAR(16) NOT NULL COMMENT 'user, shared, room, equipment, system',
        admin TINYINT NOT NULL DEFAULT 0,
        hidden TINYINT NOT NULL DEFAULT 0) {_ENGINE}""",
        f"""CREATE TABLE IF NOT EXISTS stores (
        id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        guid CHAR(32) CHARACTER SET ascii NOT NULL UNIQUE,
        type VARCHAR(16) NOT NULL COMMENT 'private, public',
        user_id INT UNSIGNED NULL UNIQUE COMMENT 'none: the public store, or an orphan',
        user_name VARCHAR(255) NOT NULL COMMENT 'the last owner',
        created DATETIME NOT NULL,
        FOREIGN KEY (user_id) REFERENCES users (id)) {_ENGINE}""",
        f"""CREATE TABLE IF NOT EXISTS folders (
        id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        store_id INT UNSIGNED NOT NULL,
        parent_id INT UNSIGNED NOT NULL DEFAULT 0,
        name VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
        kind VARCHAR(16) NOT NULL DEFAULT '' COMMENT 'inbox, outbox, ...: folders that every store has',
        uidvalidity INT UNSIGNED NOT NULL,
        uidnext INT UNSIGNED NOT NULL DEFAULT 1,
        UNIQUE (store_id, parent_id, name),
        FOREIGN KEY (store_id) REFERENCES stores (id)) {_ENGINE}""",
        f"""CREATE TABLE IF NOT EXISTS messages (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        folder_id INT UNSIGNED NOT NULL,
        uid INT UNSIGNED NOT NULL,
        flags VARCHAR(255) NOT NULL DEFAULT '',
        received DATETIME NOT NULL,
        sender VARCHAR(255) NOT NULL,
        subject VARCHAR(255) NOT NULL,
        size BIGINT UNSIGNED NOT NULL,
        content MEDIUMBLOB NULL COMMENT 'a small message',
        file VARCHAR(64) CHARACTER SET ascii NULL COMMENT 'a large one, below the attachment path',
        deleted DATETIME NULL COMMENT 'since when it is soft-deleted', KEY (deleted),
        UNIQUE (folder_id, uid),
        FOREIGN KEY (folder_id) REFERENCES folders (id)) {_ENGINE}""",
        f"""CREATE TABLE IF NOT EXISTS properties (
        owner VARCHAR(16) NOT NULL COMMENT 'user, store, folder, message',
        owner_id BIGINT UNSIGNED NOT NULL,
        tag VARCHAR(64) NOT NULL,
        value MEDIUMTEXT NOT NULL COMMENT 'JSON',
        PRIMARY KEY (owner, owner_id, tag)) {_ENGINE}""",
    ),
    # Each change has a number, in the order of the commits: services learn from it what is new since they last looked.
    (
        "ALTER TABLE messages ADD COLUMN IF NOT EXISTS change_number BIGINT UNSIGNED NOT NULL DEFAULT 0, "
        "ADD KEY IF NOT EXISTS (change_number)",
        "ALTER TABLE folders ADD COLUMN IF NOT EXISTS change_number BIGINT UNSIGNED NOT NULL DEFAULT 0, "
        "ADD COLUMN IF NOT EXISTS subscribed TINYINT NOT NULL DEFAULT 1, "
        "ADD COLUMN IF NOT EXISTS deleted DATETIME NULL",
        f"""CREATE TABLE IF NOT EXISTS feed (
        id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
        last BIGINT UNSIGNED NOT NULL) {_ENGINE} COMMENT='one row: the number of the last change'""",
        "UPDATE messages SET change_number = id WHERE change_number = 0",
        "INSERT IGNORE INTO feed (id, last) SELECT 1, COALESCE(MAX(id), 0) FROM messages",
        f"""CREATE TABLE IF NOT EXISTS outgoing (
        message_id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
        recipients MEDIUMTEXT NULL COMMENT 'JSON; none: those in the header',
        attempts INT UNSIGNED NOT NULL DEFAULT 0,
        next_try DATETIME NULL,
        FOREIGN KEY (message_id) REFERENCES messages (id) ON DELETE CASCADE) {_ENGINE}""",
    ),
)


def populate(database: Database) -> None:
    """Bring the database to this version's tables; one with foreign tables is left alone."""
    with database.transaction() as cursor:
        _refuse_foreign(cursor, database)
        cursor.execute(_SETTINGS)
        cursor.execute("SELECT value FROM settings WHERE name = 'schema'")
        row = cursor.fetchone()
        present = int(row["value"]) if row else 0
        if present > len(VERSIONS):
            raise Refusal(
                f"Database '{database.name}' was made by a newer lab (version {present}, this one knows "
                f"{len(VERSIONS)}): use the newer image, or an empty database.",
                255,
            )
        for number, statements in enumerate(VERSIONS[present:], present + 1):
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("REPLACE INTO settings (name, value) VALUES ('schema', %s)", (str(number),))
        # By this name a service knows again whose data it has; a new database has another one.
        cursor.execute("INSERT IGNORE INTO settings (name, value) VALUES ('instance', %s)", (secrets.token_hex(16),))


def instance(cursor: Cursor) -> str:
    """What tells this database from all others."""
    cursor.execute("SELECT value FROM settings WHERE name = 'instance'")
    return str((cursor.fetchone() or {"value": ""})["value"])


def _refuse_foreign(cursor: Cursor, database: Database) -> None:
    # Names are Kopano's, so the tables of a genuine server would otherwise be taken for the lab's own.
    cursor.execute(
        "SELECT table_name AS name, table_comment AS comment FROM information_schema.tables "
        "WHERE table_schema = %s ORDER BY table_name",
        (database.name,),
    )
    tables = {row["name"]: row["comment"] for row in cursor.fetchall()}
    if tables and tables.get("settings") != MARK:
        raise Refusal(
            f"Database '{database.name}' at {database.place} holds tables that the lab did not make "
            f"({', '.join(list(tables)[:3])}): give the lab's server a database of its own.",
            255,
        )
