"""Users and their stores in the database."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from kopano_lab.server import quota
from kopano_lab.server.people import Person, Plan
from kopano_lab.wire import RpcError

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor

SYSTEM = Person(b"SYSTEM", "SYSTEM", "SYSTEM", "", "system", 2, True)
_FOLDERS = (
    ("inbox", "Inbox"),
    ("outbox", "Outbox"),
    ("wastebasket", "Deleted Items"),
    ("sentmail", "Sent Items"),
    ("drafts", "Drafts"),
    ("junk", "Junk E-mail"),
    ("calendar", "Calendar"),
    ("contacts", "Contacts"),
    ("tasks", "Tasks"),
    ("notes", "Notes"),
    ("journal", "Journal"),
)
_PUBLIC_FOLDERS = (("public", "Public Folders"),)


def known(cursor: Cursor) -> dict[bytes, Person]:
    """All users that came from the directory, by identity."""
    cursor.execute("SELECT * FROM users WHERE class <> 'system'")
    rows = list(cursor.fetchall())
    cursor.execute("SELECT owner_id, tag, value FROM properties WHERE owner = 'user'")
    found: dict[int, dict[str, Any]] = {}
    for row in cursor.fetchall():
        found.setdefault(row["owner_id"], {})[row["tag"]] = json.loads(row["value"])
    return {row["externid"]: _person(row, found.get(row["id"], {})) for row in rows}


def prepare(cursor: Cursor) -> None:
    """The account that every server has."""
    cursor.execute("SELECT id FROM users WHERE class = 'system'")
    if not cursor.fetchone():
        create(cursor, SYSTEM)


def apply(cursor: Cursor, plan: Plan, remove: bool) -> None:
    """Carry out what a synchronisation found; a vanished user's store stays, as an orphan."""
    if remove:
        for externid in plan.vanished:
            cursor.execute("SELECT id FROM users WHERE externid = %s", (externid,))
            row = cursor.fetchone()
            if row:
                detach(cursor, row["id"])
                cursor.execute("DELETE FROM properties WHERE owner = 'user' AND owner_id = %s", (row["id"],))
                cursor.execute("DELETE FROM users WHERE id = %s", (row["id"],))
    for person in plan.update:
        cursor.execute("SELECT id FROM users WHERE externid = %s", (person.externid,))
        row = cursor.fetchone()
        if row:
            _write(cursor, row["id"], person)
    for person in plan.create:
        create(cursor, person)


def create(cursor: Cursor, person: Person) -> None:
    """A new user with a new store."""
    cursor.execute(
        "INSERT INTO users (externid, name, fullname, email, class) VALUES (%s, %s, '', '', '')", (person.externid, person.name)
    )
    user_id = int(cursor.lastrowid or 0)
    _write(cursor, user_id, person)
    _create_store(cursor, "private", user_id, person.name)


def listing(cursor: Cursor) -> list[dict[str, Any]]:
    """Log-in name and full name of every user."""
    cursor.execute("SELECT name, fullname FROM users ORDER BY class <> 'system', name")
    return list(cursor.fetchall())


def user_row(cursor: Cursor, name: str) -> dict[str, Any]:
    """The row of a user by log-in name."""
    cursor.execute("SELECT * FROM users WHERE name = %s ORDER BY id LIMIT 1", (name,))
    row: dict[str, Any] | None = cursor.fetchone()
    if not row:
        raise RpcError("not_found", f"there is no user '{name}': a new one is known after kopano-admin --sync")
    return row


def by_identity(cursor: Cursor, externid: bytes) -> dict[str, Any] | None:
    """The row of a user by identity."""
    cursor.execute("SELECT * FROM users WHERE externid = %s", (externid,))
    row: dict[str, Any] | None = cursor.fetchone()
    return row


def details(cursor: Cursor, name: str) -> dict[str, Any]:
    """All that is known of a user."""
    row = user_row(cursor, name)
    cursor.execute("SELECT id, guid FROM stores WHERE user_id = %s", (row["id"],))
    store = cursor.fetchone()
    return {
        "id": row["id"],
        "externid": row["externid"].decode("utf-8", "backslashreplace"),
        "name": row["name"],
        "fullname": row["fullname"],
        "email": row["email"],
        "class": row["class"],
        "admin": row["admin"],
        "hidden": bool(row["hidden"]),
        "properties": properties(cursor, row["id"]),
        "store": store["guid"] if store else None,
        "size": quota.size(cursor, store["id"]) if store else 0,
    }


def properties(cursor: Cursor, user_id: int) -> dict[str, Any]:
    """What else the directory says of a user: features, aliases, quota."""
    cursor.execute("SELECT tag, value FROM properties WHERE owner = 'user' AND owner_id = %s", (user_id,))
    return {item["tag"]: json.loads(item["value"]) for item in cursor.fetchall()}


def create_public(cursor: Cursor) -> str:
    """The public store; gives its GUID."""
    cursor.execute("SELECT guid FROM stores WHERE type = 'public'")
    if cursor.fetchone():
        raise RpcError("exists", "Public store already exists")
    return _create_store(cursor, "public", None, "Everyone")


def create_store(cursor: Cursor, user: dict[str, Any]) -> str:
    """A new store for a user who has none; gives its GUID."""
    _refuse_second(cursor, user)
    return _create_store(cursor, "private", user["id"], user["name"])


def orphans(cursor: Cursor) -> list[dict[str, Any]]:
    """Stores without a user."""
    cursor.execute("SELECT guid, user_name, type FROM stores WHERE user_id IS NULL AND type <> 'public' ORDER BY guid")
    return list(cursor.fetchall())


def detach(cursor: Cursor, user_id: int) -> str | None:
    """Take the store from the user; gives its GUID."""
    cursor.execute("SELECT guid FROM stores WHERE user_id = %s", (user_id,))
    row = cursor.fetchone()
    cursor.execute("UPDATE stores SET user_id = NULL WHERE user_id = %s", (user_id,))
    return row["guid"] if row else None


def attach(cursor: Cursor, guid: str, user: dict[str, Any]) -> None:
    """Give an orphan to a user who has no store."""
    _refuse_second(cursor, user)
    cursor.execute(
        "UPDATE stores SET user_id = %s, user_name = %s WHERE guid = %s AND user_id IS NULL AND type = 'private'",
        (user["id"], user["name"], guid.upper()),
    )
    if not cursor.rowcount:
        raise RpcError("not_found", f"there is no orphaned store {guid}: kopano-storeadm -O lists them")


def _refuse_second(cursor: Cursor, user: dict[str, Any]) -> None:
    cursor.execute("SELECT guid FROM stores WHERE user_id = %s", (user["id"],))
    row = cursor.fetchone()
    if row:
        raise RpcError("exists", f"user '{user['name']}' has store {row['guid']}: detach it first, with kopano-storeadm -D")


def _create_store(cursor: Cursor, kind: str, user_id: int | None, name: str) -> str:
    guid = secrets.token_hex(16).upper()
    cursor.execute(
        "INSERT INTO stores (guid, type, user_id, user_name, created) VALUES (%s, %s, %s, %s, UTC_TIMESTAMP())",
        (guid, kind, user_id, name),
    )
    store_id = cursor.lastrowid
    cursor.executemany(
        "INSERT INTO folders (store_id, kind, name, uidvalidity) VALUES (%s, %s, %s, UNIX_TIMESTAMP())",
        [(store_id, *folder) for folder in (_PUBLIC_FOLDERS if kind == "public" else _FOLDERS)],
    )
    return guid


def _person(row: dict[str, Any], known: dict[str, Any]) -> Person:
    return Person(
        row["externid"], row["name"], row["fullname"], row["email"], row["class"], row["admin"], bool(row["hidden"]), known
    )


def _write(cursor: Cursor, user_id: int, person: Person) -> None:
    cursor.execute(
        "UPDATE users SET name = %s, fullname = %s, email = %s, class = %s, admin = %s, hidden = %s WHERE id = %s",
        (person.name, person.fullname, person.email, person.kind, person.admin, int(person.hidden), user_id),
    )
    cursor.execute("UPDATE stores SET user_name = %s WHERE user_id = %s", (person.name, user_id))
    cursor.execute("DELETE FROM properties WHERE owner = 'user' AND owner_id = %s", (user_id,))
    if person.properties:
        cursor.executemany(
            "INSERT INTO properties (owner, owner_id, tag, value) VALUES ('user', %s, %s, %s)",
            [(user_id, tag, json.dumps(value)) for tag, value in person.properties.items()],
        )
