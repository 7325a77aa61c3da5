"""Messages: small ones in the database, large ones on the data volume."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kopano_lab import header
from kopano_lab.wire import RpcError, Source

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database
    from kopano_lab.server.feed import Feed

MAX_MESSAGE = 128 * 1024 * 1024
_BLOCK = 256 * 1024
_HEADER = 256 * 1024
_BATCH = 500
_FLAG = re.compile(r"\\?[!#$&'+-\[^-z|}~]+")
_ROW = "messages.id, uid, flags, UNIX_TIMESTAMP(received) AS received, sender, subject, size"
_FROM = "FROM messages JOIN folders ON folders.id = folder_id"

Check = Callable[["Cursor"], None]
"""What is looked at before a message is kept, in the same transaction."""
Then = Callable[["Cursor", int], None]
"""What is written about a message beside it, in the same transaction."""


class Mail:
    """What is in the folders."""

    def __init__(self, database: Database, feed: Feed, folder: Path, embedded: int, fsync: bool) -> None:
        self._database = database
        self._feed = feed
        self._folder = folder
        self._embedded = embedded
        self._fsync = fsync

    def messages(self, store_id: int, folder_id: int, newest: int | None = None) -> list[dict[str, Any]]:
        """The messages of a folder that are not deleted, all or the newest ones, by uid."""
        limit = "" if newest is None else f" LIMIT {newest:d}"
        with self._database.transaction() as cursor:
            _owned(cursor, store_id, folder_id)
            cursor.execute(
                f"SELECT {_ROW} FROM messages WHERE folder_id = %s AND deleted IS NULL ORDER BY uid DESC{limit}",  # noqa: S608 - constants
                (folder_id,),
            )
            return list(reversed(list(cursor.fetchall())))

    def add(
        self,
        store_id: int,
        folder_id: int,
        stream: Source,
        size: int,
        flags: str,
        received: int | None,
        check: Check,
        then: Then = lambda cursor, message_id: None,
    ) -> dict[str, int]:
        """Keep a message; gives its id and its uid in the folder."""
        if not 0 < size <= MAX_MESSAGE:
            raise RpcError("too_large", f"a message must have 1 to {MAX_MESSAGE} bytes, this one has {size}")
        with self._kept(stream, size) as (content, file):
            fields = header.parse(content if content is not None else self._start(str(file)))
            sender, subject = (header.text(fields, name)[:255] for name in ("From", "Subject"))
            with self._feed.change() as (cursor, number):
                _owned(cursor, store_id, folder_id)
                check(cursor)
                uid = _uids(cursor, folder_id, 1)
                cursor.execute(
                    "INSERT INTO messages (folder_id, uid, flags, received, sender, subject, size, content, file, change_number) "
                    "VALUES (%s, %s, %s, COALESCE(FROM_UNIXTIME(%s), UTC_TIMESTAMP()), %s, %s, %s, %s, %s, %s)",
                    (folder_id, uid, _flags(flags.split()), received, sender, subject, size, content, file, number),
                )
                added = {"id": int(cursor.lastrowid or 0), "uid": uid}
                then(cursor, added["id"])
                _touched(cursor, number, [folder_id])
            return added

    def read(self, store_id: int | None, message_id: int, header_only: bool = False) -> tuple[dict[str, Any], bytes | Path]:
        """A message of a store, or of any: what is known of it, and its bytes (or its header's), or the file that has them."""
        with self._database.transaction() as cursor:
            cursor.execute(
                f"SELECT {_ROW}, folder_id AS folder, content, file {_FROM} "
                "WHERE messages.id = %s AND (%s IS NULL OR store_id = %s) AND messages.deleted IS NULL",
                (message_id, store_id, store_id),
            )
            row = cursor.fetchone()
        if not row:
            raise RpcError("not_found", f"there is no message {message_id} in this store")
        content, file = row.pop("content"), row.pop("file")
        if header_only:
            return row, header.cut(self._start(file) if file else content)
        return row, self._path(file) if file else content

    def flag(self, store_id: int, message_ids: list[int], add: str, remove: str, only: str | None) -> list[dict[str, Any]]:
        """Add and remove flags, or set `only` these; gives id and flags of each message."""
        plus, minus = set(add.split()), {flag.lower() for flag in remove.split()}
        with self._feed.change() as (cursor, number):
            rows = _rows(cursor, store_id, message_ids)
            for row in rows:
                before = row["flags"].split() if only is None else only.split()
                row["flags"] = _flags([flag for flag in before if flag.lower() not in minus] + sorted(plus))
                cursor.execute(
                    "UPDATE messages SET flags = %s, change_number = %s WHERE id = %s", (row["flags"], number, row["id"])
                )
            _touched(cursor, number, {row["folder_id"] for row in rows})
        return [{"id": row["id"], "flags": row["flags"]} for row in rows]

    def copy(self, store_id: int, message_ids: list[int], folder_id: int) -> list[dict[str, int]]:
        """Copy messages into a folder; gives for each `from`, and `id` and `uid` of the copy."""
        links: list[Path] = []
        try:
            with self._feed.change() as (cursor, number):
                rows = self._into(cursor, store_id, message_ids, folder_id)
                copies = []
                for row in rows:
                    file = row["file"] and secrets.token_hex(16)
                    if file:
                        self._path(file).parent.mkdir(exist_ok=True)
                        self._path(file).hardlink_to(self._path(row["file"]))
                        links.append(self._path(file))
                    cursor.execute(
                        "INSERT INTO messages (folder_id, uid, flags, received, sender, subject, size, content, file, "
                        "change_number) SELECT %s, %s, flags, received, sender, subject, size, content, %s, %s "
                        "FROM messages WHERE id = %s",
                        (folder_id, row["new_uid"], file, number, row["id"]),
                    )
                    copies.append({"from": row["id"], "id": int(cursor.lastrowid or 0), "uid": row["new_uid"]})
                _touched(cursor, number, [folder_id])
        except OSError as problem:
            _unlinked(links)
            raise RpcError("unavailable", f"a copy cannot be kept below {self._folder}: {problem.strerror}") from problem
        except BaseException:
            _unlinked(links)
            raise
        return copies

    def move(self, store_id: int, message_ids: list[int], folder_id: int) -> list[dict[str, int]]:
        """Move messages into a folder; gives for each `id`, the same as before, and the new `uid`."""
        with self._feed.change() as (cursor, number):
            rows = self._into(cursor, store_id, message_ids, folder_id)
            for row in rows:
                cursor.execute(
                    "UPDATE messages SET folder_id = %s, uid = %s, change_number = %s WHERE id = %s",
                    (folder_id, row["new_uid"], number, row["id"]),
                )
            _touched(cursor, number, {folder_id, *(row["folder_id"] for row in rows)})
        return [{"id": row["id"], "uid": row["new_uid"]} for row in rows]

    def delete(self, store_id: int, message_ids: list[int]) -> int:
        """Soft-delete: the messages are out of sight and go at the next purge; gives how many."""
        with self._feed.change() as (cursor, number):
            rows = _rows(cursor, store_id, message_ids)
            if rows:
                cursor.execute(
                    "UPDATE messages SET deleted = UTC_TIMESTAMP(), change_number = %s WHERE id IN %s",
                    (number, tuple(row["id"] for row in rows)),
                )
                _touched(cursor, number, {row["folder_id"] for row in rows})
        return len(rows)

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
                break
        with self._database.transaction() as cursor:
            cursor.execute(
                "DELETE FROM folders WHERE deleted <= UTC_TIMESTAMP() - INTERVAL %s DAY "
                "AND id NOT IN (SELECT folder_id FROM messages)",
                (days,),
            )
        return total

    def _into(self, cursor: Cursor, store_id: int, message_ids: list[int], folder_id: int) -> list[dict[str, Any]]:
        _owned(cursor, store_id, folder_id)
        rows = _rows(cursor, store_id, message_ids)
        first = _uids(cursor, folder_id, len(rows))
        return [row | {"new_uid": first + place} for place, row in enumerate(rows)]

    def _start(self, file: str) -> bytes:
        with self._path(file).open("rb") as opened:
            return opened.read(_HEADER)

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


def _unlinked(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _flags(flags: Iterable[str]) -> str:
    """Each flag once, as many as fit, and nothing that IMAP could not write."""
    known: dict[str, str] = {}
    for flag in flags:
        if _FLAG.fullmatch(flag):
            known.setdefault(flag.lower(), flag)
    text = ""
    for flag in known.values():
        if len(text) + len(flag) < 255:
            text = f"{text} {flag}".strip()
    return text


def _owned(cursor: Cursor, store_id: int, folder_id: int) -> None:
    cursor.execute("SELECT id FROM folders WHERE id = %s AND store_id = %s AND deleted IS NULL", (folder_id, store_id))
    if not cursor.fetchone():
        raise RpcError("not_found", f"there is no folder {folder_id} in this store")


def _rows(cursor: Cursor, store_id: int, message_ids: list[int]) -> list[dict[str, Any]]:
    if not message_ids:
        return []
    cursor.execute(
        f"SELECT messages.id, folder_id, flags, file {_FROM} WHERE store_id = %s AND messages.deleted IS NULL "
        "AND messages.id IN %s ORDER BY uid FOR UPDATE",
        (store_id, tuple(message_ids)),
    )
    return list(cursor.fetchall())


def _uids(cursor: Cursor, folder_id: int, count: int) -> int:
    """Reserve uids; gives the first."""
    cursor.execute("SELECT uidnext FROM folders WHERE id = %s FOR UPDATE", (folder_id,))
    first = int((cursor.fetchone() or {"uidnext": 1})["uidnext"])
    cursor.execute("UPDATE folders SET uidnext = uidnext + %s WHERE id = %s", (count, folder_id))
    return first


def _touched(cursor: Cursor, number: int, folder_ids: Iterable[int]) -> None:
    for folder_id in folder_ids:
        cursor.execute("UPDATE folders SET change_number = %s WHERE id = %s", (number, folder_id))
