"""Folders and messages: small messages in the database, large ones on the data volume."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kopano_lab.wire import RpcError, Source

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database

MAX_MESSAGE = 128 * 1024 * 1024
_BLOCK = 256 * 1024
_BATCH = 500


class Mail:
    """What is in the stores."""

    def __init__(self, database: Database, folder: Path, embedded: int, fsync: bool) -> None:
        self._database = database
        self._folder = folder
        self._embedded = embedded
        self._fsync = fsync

    def folders(self, store_id: int) -> list[dict[str, Any]]:
        """The folders of a store, with the number of messages in each."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT folders.id, parent_id AS parent, name, kind, uidvalidity, uidnext, "
                "COUNT(messages.id) AS messages FROM folders "
                "LEFT JOIN messages ON messages.folder_id = folders.id AND deleted IS NULL "
                "WHERE store_id = %s GROUP BY folders.id ORDER BY folders.id",
                (store_id,),
            )
            return list(cursor.fetchall())

    def messages(self, store_id: int, folder_id: int) -> list[dict[str, Any]]:
        """The messages of a folder that are not deleted."""
        with self._database.transaction() as cursor:
            _owned(cursor, store_id, folder_id)
            cursor.execute(
                "SELECT id, uid, flags, UNIX_TIMESTAMP(received) AS received, sender, subject, size "
                "FROM messages WHERE folder_id = %s AND deleted IS NULL ORDER BY uid",
                (folder_id,),
            )
            return list(cursor.fetchall())

    def add(
        self, store_id: int, folder_id: int, stream: Source, size: int, sender: str, subject: str, flags: str
    ) -> dict[str, int]:
        """Keep a message; gives its id and its uid in the folder."""
        if not 0 < size <= MAX_MESSAGE:
            raise RpcError("too_large", f"a message must have 1 to {MAX_MESSAGE} bytes, this one has {size}")
        with self._kept(stream, size) as (content, file), self._database.transaction() as cursor:
            _owned(cursor, store_id, folder_id)
            cursor.execute("SELECT uidnext FROM folders WHERE id = %s FOR UPDATE", (folder_id,))
            uid = int((cursor.fetchone() or {"uidnext": 1})["uidnext"])
            cursor.execute("UPDATE folders SET uidnext = uidnext + 1 WHERE id = %s", (folder_id,))
            cursor.execute(
                "INSERT INTO messages (folder_id, uid, flags, received, sender, subject, size, content, "
                "file) VALUES (%s, %s, %s, UTC_TIMESTAMP(), %s, %s, %s, %s, %s)",
                (folder_id, uid, flags[:255], sender[:255], subject[:255], size, content, file),
            )
            return {"id": int(cursor.lastrowid or 0), "uid": uid}

    def read(self, store_id: int, message_id: int) -> tuple[dict[str, Any], bytes | Path]:
        """A message: what is known of it, and its bytes or the file that has them."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "SELECT messages.id, folder_id AS folder, uid, flags, sender, subject, size, content, file "
                "FROM messages JOIN folders ON folders.id = folder_id "
                "WHERE messages.id = %s AND store_id = %s AND deleted IS NULL",
                (message_id, store_id),
            )
            row = cursor.fetchone()
        if not row:
            raise RpcError("not_found", f"there is no message {message_id} in this store")
        content, file = row.pop("content"), row.pop("file")
        return row, self._path(file) if file else content

    def delete(self, store_id: int, message_ids: list[int]) -> int:
        """Soft-delete: the messages are out of sight and go at the next purge; gives how many."""
        if not message_ids:
            return 0
        with self._database.transaction() as cursor:
            return int(
                cursor.execute(
                    "UPDATE messages JOIN folders ON folders.id = folder_id SET deleted = UTC_TIMESTAMP() "
                    "WHERE deleted IS NULL AND store_id = %s AND messages.id IN %s",
                    (store_id, tuple(message_ids)),
                )
            )

    def purge(self, days: int) -> int:
        """Remove for good what has been soft-deleted for so many days; gives how many messages."""
        total = 0
        while True:
            with self._database.transaction() as cursor:
                cursor.execute(
                    "SELECT id, file FROM messages WHERE deleted <= UTC_TIMESTAMP() - INTERVAL %s DAY LIMIT %s FOR UPDATE",
                    (days, _BATCH),
                )
                rows = list(cursor.fetchall())
                if rows:
                    cursor.execute("DELETE FROM messages WHERE id IN %s", (tuple(row["id"] for row in rows),))
            # After the commit: a file without a row is waste, a row without its file is a lost message.
            for row in rows:
                if row["file"]:
                    self._path(row["file"]).unlink(missing_ok=True)
            total += len(rows)
            if len(rows) < _BATCH:
                return total

    def _path(self, file: str) -> Path:
        return self._folder / file[:2] / file

    @contextmanager
    def _kept(self, stream: Source, size: int) -> Iterator[tuple[bytes | None, str | None]]:
        if size <= self._embedded:
            content = stream.read(size)
            if len(content) < size:
                raise RpcError("bad_request", "the message ends early")
            yield content, None
            return
        file = secrets.token_hex(16)
        path = self._path(file)
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("xb") as target:
                _copy(stream, target, size)
                target.flush()
                if self._fsync:
                    os.fsync(target.fileno())
            yield None, file
        except OSError as problem:
            path.unlink(missing_ok=True)
            raise RpcError("unavailable", f"the message cannot be kept below {self._folder}: {problem.strerror}") from problem
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _copy(stream: Source, target: BinaryIO, size: int) -> None:
    while size:
        block = stream.read(min(size, _BLOCK))
        if not block:
            raise RpcError("bad_request", "the message ends early")
        target.write(block)
        size -= len(block)


def _owned(cursor: Cursor, store_id: int, folder_id: int) -> None:
    cursor.execute("SELECT id FROM folders WHERE id = %s AND store_id = %s", (folder_id, store_id))
    if not cursor.fetchone():
        raise RpcError("not_found", f"there is no folder {folder_id} in this store")
