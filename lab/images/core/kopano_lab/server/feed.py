"""The numbers of changes: each change in a store gets the next one, in the order of the commits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database


class Feed:
    """Numbers changes, and tells those who wait for one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._last = 0

    @contextmanager
    def change(self) -> Iterator[tuple[Cursor, int]]:
        """A transaction that changes folders or messages, and its number."""
        with self._database.transaction() as cursor:
            # The row stays locked until the commit: whoever reads number 5 will never see a 4 appear.
            cursor.execute("UPDATE feed SET last = last + 1 WHERE id = 1")
            number = _last(cursor)
            yield cursor, number
        with self._changed:
            self._last = max(self._last, number)
            self._changed.notify_all()

    def wait(self, after: int, seconds: float) -> int:
        """Wait until there is a later change than this one, or the time is over; gives the number of the last change."""
        with self._database.transaction() as cursor:
            last = _last(cursor)
        with self._changed:
            self._last = max(self._last, last)
            self._changed.wait_for(lambda: self._last > after, seconds)
            return self._last

    def messages(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Messages that changed after this number: whose, where, and whether they are gone."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT messages.id, messages.change_number AS number, folder_id AS folder, kind, guid AS store, "
                "messages.deleted IS NOT NULL AS gone FROM messages "
                "JOIN folders ON folders.id = folder_id JOIN stores ON stores.id = store_id "
                "WHERE messages.change_number > %s ORDER BY messages.change_number, messages.id LIMIT %s",
                (after, limit),
            )
            rows = list(cursor.fetchall())
            if len(rows) < limit:
                return rows
            # One change may be about many messages: the last number is given complete or not at all.
            last = rows[-1]["number"]
            if rows[0]["number"] != last:
                return [row for row in rows if row["number"] != last]
        return self.messages(after, limit * 2)


def _last(cursor: Cursor) -> int:
    cursor.execute("SELECT last FROM feed WHERE id = 1")
    return int((cursor.fetchone() or {"last": 0})["last"])
