"""How much a store may hold, and how much it holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kopano_lab.wire import RpcError

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database

LEVELS = ("warn", "soft", "hard")
_TOLD = "quota_mail"


class Quota:
    """The limits in bytes: a user's own from the directory, else the server's; 0 is no limit."""

    def __init__(self, database: Database, default: dict[str, int]) -> None:
        self._database = database
        self.default = default

    def refuse(self, cursor: Cursor, store_id: int, level: str) -> None:
        """Refuse what adds to a store that has reached this limit."""
        cursor.execute("SELECT user_id FROM stores WHERE id = %s", (store_id,))
        row = cursor.fetchone()
        limit = self._limits(cursor, row["user_id"] if row else None)[level]
        if limit and (held := size(cursor, store_id)) >= limit:
            raise RpcError("over_quota", f"the mailbox is full: it holds {held} bytes, and its {level} limit is {limit}")

    def listing(self) -> list[dict[str, Any]]:
        """Every user with a store: size, limits, the limit that is reached, and when the user was last told."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT users.id, stores.id AS store, name AS user, fullname, email FROM users "
                "JOIN stores ON stores.user_id = users.id WHERE class <> 'system' ORDER BY name"
            )
            rows = list(cursor.fetchall())
            for row in rows:
                held, limits = size(cursor, row["store"]), self._limits(cursor, row.pop("id"))
                row |= {"size": held, "quota": limits, "reached": reached(held, limits), "told": _told(cursor, row.pop("store"))}
            return rows

    def told(self, user_id: int) -> None:
        """Keep that the user has been told now."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "REPLACE INTO properties (owner, owner_id, tag, value) "
                "SELECT 'store', id, %s, UNIX_TIMESTAMP() FROM stores WHERE user_id = %s",
                (_TOLD, user_id),
            )

    def _limits(self, cursor: Cursor, user_id: int | None) -> dict[str, int]:
        cursor.execute("SELECT value FROM properties WHERE owner = 'user' AND owner_id = %s AND tag = 'quota'", (user_id,))
        row = cursor.fetchone()
        return json.loads(row["value"]) if row else self.default


def size(cursor: Cursor, store_id: int) -> int:
    """What the messages of a store hold, without the deleted ones."""
    cursor.execute(
        "SELECT COALESCE(SUM(size), 0) AS size FROM messages JOIN folders ON folders.id = folder_id "
        "WHERE store_id = %s AND messages.deleted IS NULL",
        (store_id,),
    )
    return int((cursor.fetchone() or {"size": 0})["size"])


def reached(held: int, limits: dict[str, int]) -> str:
    """The highest limit that a mailbox has reached; empty if none."""
    return next((level for level in reversed(LEVELS) if limits[level] and held >= limits[level]), "")


def _told(cursor: Cursor, store_id: int) -> int:
    cursor.execute("SELECT value FROM properties WHERE owner = 'store' AND owner_id = %s AND tag = %s", (store_id, _TOLD))
    row = cursor.fetchone()
    return int(json.loads(row["value"])) if row else 0
