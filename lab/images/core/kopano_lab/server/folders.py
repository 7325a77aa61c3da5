"""Folders of the stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kopano_lab.wire import RpcError

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database
    from kopano_lab.server.feed import Feed

_LONGEST = 255
_COUNTED = (
    "SELECT folders.id, parent_id AS parent, name, kind, uidvalidity, uidnext, subscribed, "
    "folders.change_number AS changed, COUNT(messages.id) AS messages, "
    r"COALESCE(SUM(CONCAT(' ', flags, ' ') NOT LIKE '%% \\\\Seen %%'), 0) AS unseen "
    "FROM folders LEFT JOIN messages ON messages.folder_id = folders.id AND messages.deleted IS NULL "
    "WHERE store_id = %s AND folders.deleted IS NULL {more} GROUP BY folders.id ORDER BY folders.id"
)


class Folders:
    """The folders of a store; those that have a kind are the store's own and stay."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._feed = feed

    def all(self, store_id: int) -> list[dict[str, Any]]:
        """The folders of a store, with the number of messages in each."""
        with self._database.transaction() as cursor:
            cursor.execute(_COUNTED.format(more=""), (store_id,))
            return [_plain(row) for row in cursor.fetchall()]

    def one(self, store_id: int, folder_id: int) -> dict[str, Any]:
        """One folder; its `changed` tells whether anything in it is not as before."""
        with self._database.transaction() as cursor:
            cursor.execute(_COUNTED.format(more="AND folders.id = %s"), (store_id, folder_id))
            row = cursor.fetchone()
        if not row:
            raise _missing(folder_id)
        return _plain(row)

    def create(self, store_id: int, parent_id: int, name: str) -> int:
        """A new folder; gives its id."""
        with self._feed.change() as (cursor, number):
            _check(cursor, store_id, parent_id, name)
            # A new folder with the name of a deleted one must not be taken for it by mail programs.
            cursor.execute(
                "INSERT INTO folders (store_id, parent_id, name, uidvalidity, change_number) "
                "SELECT %s, %s, %s, GREATEST(UNIX_TIMESTAMP(), MAX(uidvalidity) + 1), %s FROM folders WHERE store_id = %s",
                (store_id, parent_id, name, number, store_id),
            )
            return int(cursor.lastrowid or 0)

    def rename(self, store_id: int, folder_id: int, parent_id: int, name: str) -> None:
        """Give a folder another name, or another place."""
        with self._feed.change() as (cursor, number):
            _own(cursor, store_id, folder_id)
            ancestor = parent_id
            while ancestor:
                if ancestor == folder_id:
                    raise RpcError("bad_request", "a folder cannot be moved into itself")
                cursor.execute("SELECT parent_id FROM folders WHERE id = %s", (ancestor,))
                ancestor = (cursor.fetchone() or {"parent_id": 0})["parent_id"]
            _check(cursor, store_id, parent_id, name, folder_id)
            cursor.execute(
                "UPDATE folders SET parent_id = %s, name = %s, change_number = %s WHERE id = %s",
                (parent_id, name, number, folder_id),
            )

    def delete(self, store_id: int, folder_id: int) -> None:
        """Delete a folder without folders in it; its messages are soft-deleted."""
        with self._feed.change() as (cursor, number):
            _own(cursor, store_id, folder_id)
            cursor.execute("SELECT id FROM folders WHERE parent_id = %s AND deleted IS NULL LIMIT 1", (folder_id,))
            if cursor.fetchone():
                raise RpcError("bad_request", "the folder has folders in it: delete those first")
            cursor.execute(
                "UPDATE messages SET deleted = UTC_TIMESTAMP(), change_number = %s WHERE folder_id = %s AND deleted IS NULL",
                (number, folder_id),
            )
            # Its name is free again at once: no user can name a folder so.
            cursor.execute(
                "UPDATE folders SET deleted = UTC_TIMESTAMP(), name = CONCAT(CHAR(1), id), change_number = %s WHERE id = %s",
                (number, folder_id),
            )

    def subscribe(self, store_id: int, folder_id: int, subscribed: bool) -> None:
        """Whether mail programs show the folder."""
        with self._database.transaction() as cursor:
            _exists(cursor, store_id, folder_id)
            cursor.execute("UPDATE folders SET subscribed = %s WHERE id = %s", (int(subscribed), folder_id))

    def of_kind(self, store_id: int, kind: str) -> int:
        """The id of the folder that every store has by this kind."""
        with self._database.transaction() as cursor:
            return of_kind(cursor, store_id, kind)


def of_kind(cursor: Cursor, store_id: int, kind: str) -> int:
    """The id of the folder that every store has by this kind."""
    cursor.execute("SELECT id FROM folders WHERE store_id = %s AND kind = %s AND kind <> ''", (store_id, kind))
    row = cursor.fetchone()
    if not row:
        raise RpcError("not_found", f"this store has no folder of the kind '{kind}'")
    return int(row["id"])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"unseen": int(row["unseen"]), "subscribed": bool(row["subscribed"])}


def _missing(folder_id: int) -> RpcError:
    return RpcError("not_found", f"there is no folder {folder_id} in this store")


def _exists(cursor: Cursor, store_id: int, folder_id: int) -> dict[str, Any]:
    cursor.execute("SELECT kind FROM folders WHERE id = %s AND store_id = %s AND deleted IS NULL", (folder_id, store_id))
    row: dict[str, Any] | None = cursor.fetchone()
    if not row:
        raise _missing(folder_id)
    return row


def _own(cursor: Cursor, store_id: int, folder_id: int) -> None:
    if _exists(cursor, store_id, folder_id)["kind"]:
        raise RpcError("forbidden", "this folder belongs to every store: it can be neither renamed nor deleted")


def _check(cursor: Cursor, store_id: int, parent_id: int, name: str, folder_id: int = 0) -> None:
    if not name.strip() or len(name) > _LONGEST or "/" in name or any(ord(one) < 32 or ord(one) == 127 for one in name):
        raise RpcError("bad_request", f"a folder's name has 1 to {_LONGEST} characters, without / and control characters")
    if parent_id:
        _exists(cursor, store_id, parent_id)
    cursor.execute(
        "SELECT id FROM folders WHERE store_id = %s AND parent_id = %s AND name = %s AND id <> %s",
        (store_id, parent_id, name, folder_id),
    )
    if cursor.fetchone():
        raise RpcError("exists", f"there is a folder '{name}' already")
