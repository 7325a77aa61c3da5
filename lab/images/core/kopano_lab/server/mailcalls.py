"""The methods about folders and messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kopano_lab.log import notice
from kopano_lab.server import accounts
from kopano_lab.server.request import Request
from kopano_lab.wire import RpcError

if TYPE_CHECKING:
    from kopano_lab.server.database import Cursor, Database
    from kopano_lab.server.feed import Feed
    from kopano_lab.server.folders import Folders
    from kopano_lab.server.lookup import Lookup
    from kopano_lab.server.mail import Mail
    from kopano_lab.server.outgoing import Outgoing
    from kopano_lab.server.quota import Quota

_LONGEST_WAIT = 25  # Well below the patience of the clients.
_MANY = 1000


@dataclass(frozen=True)
class Stores:
    """What the methods about stores work with."""

    database: Database
    feed: Feed
    folders: Folders
    mail: Mail
    outgoing: Outgoing
    quota: Quota
    lookup: Lookup


class MailCalls:
    """Answers calls about folders and messages: of users in their own store, of administrators in anyone's."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.of_users: dict[str, Callable[[Request], Any]] = {
            "folder.list": lambda request: stores.folders.all(self._store(request)),
            "folder.state": lambda request: stores.folders.one(self._store(request), request.number("folder")),
            "folder.create": self._create_folder,
            "folder.rename": self._rename_folder,
            "folder.delete": lambda request: stores.folders.delete(self._store(request), request.number("folder")),
            "folder.subscribe": self._subscribe,
            "message.list": self._messages,
            "message.add": self._add,
            "message.submit": self._submit,
            "message.read": self._read,
            "message.flag": self._flag,
            "message.copy": self._copy,
            "message.move": self._move,
            "message.delete": lambda request: stores.mail.delete(self._store(request), request.numbers("messages")),
            "message.search": self._search,
        }
        self.of_admins: dict[str, Callable[[Request], Any]] = {
            "changes.wait": self._wait,
            "changes.list": lambda request: stores.feed.messages(request.number("after"), _MANY),
            "outgoing.list": lambda request: stores.outgoing.due(),
            "outgoing.next": lambda request: stores.outgoing.next_in(),
            "outgoing.defer": self._defer,
            "outgoing.done": lambda request: stores.outgoing.done(request.number("message")),
            "quota.list": lambda request: stores.quota.listing(),
            "quota.told": self._told,
            "purge.softdelete": self._purge,
        }

    def _create_folder(self, request: Request) -> int:
        return self._stores.folders.create(self._store(request), request.number("parent", 0), request.text("name"))

    def _rename_folder(self, request: Request) -> None:
        self._stores.folders.rename(
            self._store(request), request.number("folder"), request.number("parent", 0), request.text("name")
        )

    def _subscribe(self, request: Request) -> None:
        self._stores.folders.subscribe(self._store(request), request.number("folder"), request.flag("subscribed"))

    def _messages(self, request: Request) -> list[dict[str, Any]]:
        return self._stores.mail.messages(self._store(request), request.number("folder"), request.optional("newest"))

    def _add(self, request: Request) -> dict[str, int]:
        """A service that reports a full mailbox to its owner may go over the limit; nobody else may."""
        store = self._store(request)
        outbox = self._stores.folders.of_kind(store, "outbox")
        folder = self._folder(request, store)
        level = "soft" if folder == outbox else "hard"
        exempt = request.admin and request.flag("over_quota")
        return self._kept(request, store, folder, "" if exempt else level, lambda cursor, message: None)

    def _submit(self, request: Request) -> dict[str, int]:
        store, recipients = self._store(request), request.texts("recipients")
        outbox = self._stores.folders.of_kind(store, "outbox")
        return self._kept(
            request, store, outbox, "soft", lambda cursor, message: self._stores.outgoing.address(cursor, message, recipients)
        )

    def _kept(self, request: Request, store: int, folder: int, level: str, then: Callable[[Cursor, int], None]) -> dict[str, int]:
        if not request.payload:
            raise RpcError("bad_request", "the message must follow the line of JSON")

        def check(cursor: Cursor) -> None:
            if level:
                self._stores.quota.refuse(cursor, store, level)

        return self._stores.mail.add(
            store,
            folder,
            request.payload,
            request.size,
            request.text("flags", ""),
            request.optional("received"),
            check,
            then,
        )

    def _read(self, request: Request) -> dict[str, Any]:
        # A service that follows the changes knows the message and not whose it is.
        anyones = request.admin and not request.session and "user" not in request.params
        store = None if anyones else self._store(request)
        found, request.content = self._stores.mail.read(store, request.number("message"), request.flag("header"))
        return found

    def _flag(self, request: Request) -> list[dict[str, Any]]:
        only = None if request.params.get("only") is None else request.text("only", "")
        return self._stores.mail.flag(
            self._store(request), request.numbers("messages"), request.text("add", ""), request.text("remove", ""), only
        )

    def _copy(self, request: Request) -> list[dict[str, int]]:
        store = self._store(request)
        with self._stores.database.transaction() as cursor:
            self._stores.quota.refuse(cursor, store, "hard")
        return self._stores.mail.copy(store, request.numbers("messages"), self._folder(request, store))

    def _move(self, request: Request) -> list[dict[str, int]]:
        store = self._store(request)
        return self._stores.mail.move(store, request.numbers("messages"), self._folder(request, store))

    def _search(self, request: Request) -> list[int]:
        return self._stores.lookup.find(
            self._store(request), request.number("folder"), request.text("field"), request.text("text", "")
        )

    def _wait(self, request: Request) -> int:
        return self._stores.feed.wait(request.number("after"), min(request.number("seconds"), _LONGEST_WAIT))

    def _defer(self, request: Request) -> None:
        self._stores.outgoing.defer(request.number("message"), request.number("seconds"), request.texts("recipients"))

    def _told(self, request: Request) -> None:
        with self._stores.database.transaction() as cursor:
            user = accounts.user_row(cursor, request.text("user"))
        self._stores.quota.told(user["id"])

    def _purge(self, request: Request) -> int:
        removed = self._stores.mail.purge(request.number("days"))
        notice("Purge: %d soft-deleted messages removed", removed)
        return removed

    def _folder(self, request: Request, store: int) -> int:
        """A folder by its id, or by its kind."""
        if "kind" in request.params:
            return self._stores.folders.of_kind(store, request.text("kind"))
        return request.number("folder")

    def _store(self, request: Request) -> int:
        """The store that a call is about: a user's own, or for administrators that of the user they name."""
        named = request.params.get("user") is not None
        if not (request.admin if named else request.session):
            raise RpcError(
                "forbidden" if request.session else "bad_request",
                "a user works in the own store; an administrator names the user in parameter 'user'",
            )
        with self._stores.database.transaction() as cursor:
            user_id = (
                accounts.user_row(cursor, request.text("user"))["id"] if named or not request.session else request.session.user_id
            )
            cursor.execute("SELECT id FROM stores WHERE user_id = %s", (user_id,))
            row = cursor.fetchone()
        if not row:
            raise RpcError("not_found", "the user has no store")
        return int(row["id"])
