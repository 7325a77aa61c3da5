"""The Outbox: what lies there waits for the spooler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kopano_lab.server import folders

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database
    from kopano_lab.server.mail import Mail


class Outgoing:
    """Messages that users have put into their Outbox."""

    def __init__(self, database: Database, mail: Mail) -> None:
        self._database = database
        self._mail = mail

    def due(self) -> list[dict[str, Any]]:
        """Messages whose time has come, the oldest first, each with its sender and that user's addresses."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT messages.id, store_id AS store, users.id AS user_id, users.name AS user, fullname, email, recipients, "
                "COALESCE(attempts, 0) AS attempts, TIMESTAMPDIFF(SECOND, received, UTC_TIMESTAMP()) AS age "
                "FROM messages JOIN folders ON folders.id = folder_id AND kind = 'outbox' "
                "JOIN stores ON stores.id = store_id JOIN users ON users.id = user_id "
                "LEFT JOIN outgoing ON message_id = messages.id "
                "WHERE messages.deleted IS NULL AND (next_try IS NULL OR next_try <= UTC_TIMESTAMP()) "
                "ORDER BY messages.id LIMIT 100"
            )
            rows = list(cursor.fetchall())
            for row in rows:
                row["attempts"] = int(row["attempts"])
                row["recipients"] = json.loads(row["recipients"]) if row["recipients"] else None
                row["addresses"] = [row["email"], *_aliases(cursor, row.pop("user_id"))]
            return rows

    def next_in(self) -> int | None:
        """Seconds until the next deferred message is due; none if nothing is deferred."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), MIN(next_try)) AS seconds FROM outgoing "
                "JOIN messages ON messages.id = message_id JOIN folders ON folders.id = folder_id AND kind = 'outbox' "
                "WHERE messages.deleted IS NULL"
            )
            row = cursor.fetchone()
        return None if not row or row["seconds"] is None else max(int(row["seconds"]), 0)

    def address(self, cursor: Cursor, message_id: int, recipients: list[str]) -> None:
        """Whom a message is for, when its header does not say so."""
        cursor.execute("REPLACE INTO outgoing (message_id, recipients) VALUES (%s, %s)", (message_id, json.dumps(recipients)))

    def defer(self, message_id: int, seconds: int, recipients: list[str]) -> None:
        """Try again later, for these who have not got it yet."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO outgoing (message_id, recipients, attempts, next_try) "
                "SELECT id, %s, 1, UTC_TIMESTAMP() + INTERVAL %s SECOND FROM messages WHERE id = %s "
                "ON DUPLICATE KEY UPDATE recipients = VALUES(recipients), attempts = attempts + 1, next_try = VALUES(next_try)",
                (json.dumps(recipients), seconds, message_id),
            )

    def done(self, message_id: int) -> None:
        """The message goes to the Sent Items of its store."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT store_id FROM messages JOIN folders ON folders.id = folder_id WHERE messages.id = %s", (message_id,)
            )
            row = cursor.fetchone()
            if not row:
                return
            sent = folders.of_kind(cursor, row["store_id"], "sentmail")
        self._mail.flag(row["store_id"], [message_id], "\\Seen", "\\Draft", None)
        self._mail.move(row["store_id"], [message_id], sent)
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM outgoing WHERE message_id = %s", (message_id,))


def _aliases(cursor: Cursor, user_id: int) -> list[str]:
    cursor.execute("SELECT value FROM properties WHERE owner = 'user' AND owner_id = %s AND tag = 'aliases'", (user_id,))
    row = cursor.fetchone()
    return list(json.loads(row["value"])) if row else []
