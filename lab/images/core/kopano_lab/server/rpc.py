"""The methods of the server, and who may call them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kopano_lab import VERSION
from kopano_lab.log import notice
from kopano_lab.server import accounts
from kopano_lab.server.people import plan
from kopano_lab.server.sessions import Session, Sessions
from kopano_lab.wire import RpcError, Source

if TYPE_CHECKING:
    from kopano_lab.server.database import Database
    from kopano_lab.server.directory import Directory
    from kopano_lab.server.mail import Mail

Content = bytes | Path | None


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: `admin` by its user on a socket file, or by its key over TLS."""

    where: str
    admin: bool = False
    name: str = ""


@dataclass
class Request:
    """One call of a method."""

    peer: Peer
    params: dict[str, Any]
    session: Session | None = None
    token: str = ""
    payload: Source | None = None
    size: int = 0
    content: Content = None

    @property
    def admin(self) -> bool:
        """Whether the caller may do everything."""
        return self.session.admin if self.session else self.peer.admin

    def text(self, name: str) -> str:
        """A parameter that is a text."""
        value = self.params.get(name)
        if not isinstance(value, str) or not value:
            raise RpcError("bad_request", f"parameter '{name}' must be a text")
        return value

    def number(self, name: str) -> int:
        """A parameter that is a number, not negative."""
        value = self.params.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise RpcError("bad_request", f"parameter '{name}' must be a number from 0 on")
        return value


class Server:
    """Answers calls."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        mail: Mail,
        sessions: Sessions,
        *,
        realtime: bool,
        safe_mode: bool,
        quota: dict[str, int],
    ) -> None:
        self._database = database
        self._directory = directory
        self._mail = mail
        self._sessions = sessions
        self._realtime = realtime
        self._safe_mode = safe_mode
        self._quota = quota
        self._sync_lock = threading.Lock()
        self._open: dict[str, Callable[[Request], Any]] = {
            "server.status": self._status,
            "logon": self._logon,
            "logoff": self._logoff,
        }
        self._of_users: dict[str, Callable[[Request], Any]] = {
            "user.details": self._details,
            "folder.list": self._folders,
            "message.list": self._messages,
            "message.add": self._add,
            "message.read": self._read,
            "message.delete": self._delete,
        }
        self._of_admins: dict[str, Callable[[Request], Any]] = {
            "user.list": self._list,
            "user.sync": self._sync,
            "user.resolve": self._resolve,
            "store.create": self._create_store,
            "store.create_public": self._create_public,
            "store.orphans": self._orphans,
            "store.attach": self._attach,
            "store.detach": self._detach,
            "purge.softdelete": self._purge,
        }

    def call(self, method: str, request: Request) -> Any:
        """Check that the caller may, and answer."""
        if request.token:
            request.session = self._sessions.use(request.token)
        if method in self._open:
            return self._open[method](request)
        if method not in self._of_users | self._of_admins:
            raise RpcError("bad_request", f"there is no method '{method}'")
        if not request.session and not request.peer.admin:
            raise self._no_service(request.peer)
        if method in self._of_users:
            return self._of_users[method](request)
        if not request.admin:
            raise RpcError("forbidden", f"'{method}' is for administrators")
        return self._of_admins[method](request)

    def sync(self) -> None:
        """Bring users and stores to what the directory says."""
        with self._sync_lock:
            found = self._directory.people()
            with self._database.transaction() as cursor:
                known = accounts.known(cursor)
                if known and not found:
                    raise RpcError(
                        "unavailable",
                        f"the directory shows no user at all, while {len(known)} are known: "
                        "nothing was changed, check KCCONF_LDAP_LDAP_SEARCH_BASE and the account's rights",
                    )
                changes = plan(known, found)
                accounts.apply(cursor, changes, remove=not self._safe_mode)
        for name in changes.doubtful:
            logging.warning("User '%s' is left out: another entry has the same identity or log-in name", name)
        notice(
            "Synchronisation: %d new, %d changed, %d vanished%s",
            len(changes.create),
            len(changes.update),
            len(changes.vanished),
            " (kept: user_safe_mode)" if self._safe_mode else "",
        )

    def _status(self, request: Request) -> dict[str, str]:
        return {"version": VERSION}

    def _logon(self, request: Request) -> dict[str, Any]:
        name = request.text("user")
        if "password" not in request.params:
            if not request.peer.admin:
                raise self._no_service(request.peer)
            return self._opened(self._user(name))
        person = self._directory.authenticate(name, request.text("password"))
        if person and self._realtime:
            self._sync_if_possible()
        row = None
        if person:
            with self._database.transaction() as cursor:
                row = accounts.by_identity(cursor, person.externid)
        if not row or row["class"] != "user":
            logging.warning("Log-on of '%s' over %s failed", name, request.peer.where)
            raise RpcError("logon_failed", "unknown user or wrong password")
        return self._opened(row)

    def _opened(self, row: dict[str, Any]) -> dict[str, Any]:
        admin = row["admin"] > 0
        return {"session": self._sessions.open(row["id"], row["name"], admin), "user": row["name"], "admin": admin}

    def _logoff(self, request: Request) -> None:
        self._sessions.close(request.token)

    def _list(self, request: Request) -> list[dict[str, Any]]:
        if self._realtime:
            self._sync_if_possible()
        with self._database.transaction() as cursor:
            return accounts.listing(cursor)

    def _sync(self, request: Request) -> None:
        self.sync()

    def _resolve(self, request: Request) -> dict[str, Any]:
        """A user by log-in name, made known now if only the directory knows it: mail may be waiting."""
        name = request.text("user")
        with self._database.transaction() as cursor:
            try:
                return accounts.details(cursor, name)
            except RpcError:
                person = self._directory.person(name)
                if not person:
                    raise
                row = accounts.by_identity(cursor, person.externid)
                if not row:
                    accounts.create(cursor, person)
                return accounts.details(cursor, row["name"] if row else person.name)

    def _details(self, request: Request) -> dict[str, Any]:
        name = request.text("user")
        if not request.admin and request.session and name.lower() != request.session.name.lower():
            raise RpcError("forbidden", "a user may see the own details only")
        with self._database.transaction() as cursor:
            found = accounts.details(cursor, name)
        return found | {"default_quota": self._quota}

    def _create_store(self, request: Request) -> str:
        user = self._user(request.text("user"))
        with self._database.transaction() as cursor:
            return accounts.create_store(cursor, user)

    def _create_public(self, request: Request) -> str:
        with self._database.transaction() as cursor:
            return accounts.create_public(cursor)

    def _orphans(self, request: Request) -> list[dict[str, Any]]:
        with self._database.transaction() as cursor:
            return accounts.orphans(cursor)

    def _attach(self, request: Request) -> None:
        user = self._user(request.text("user"))
        with self._database.transaction() as cursor:
            accounts.attach(cursor, request.text("guid"), user)

    def _detach(self, request: Request) -> str:
        user = self._user(request.text("user"))
        with self._database.transaction() as cursor:
            guid = accounts.detach(cursor, user["id"])
        if not guid:
            raise RpcError("not_found", f"user '{user['name']}' has no store")
        return guid

    def _folders(self, request: Request) -> list[dict[str, Any]]:
        return self._mail.folders(self._store(request))

    def _messages(self, request: Request) -> list[dict[str, Any]]:
        return self._mail.messages(self._store(request), request.number("folder"))

    def _add(self, request: Request) -> dict[str, int]:
        texts = {name: str(request.params.get(name, "")) for name in ("sender", "subject", "flags")}
        if not request.payload:
            raise RpcError("bad_request", "the message must follow the line of JSON")
        return self._mail.add(self._store(request), request.number("folder"), request.payload, request.size, **texts)

    def _read(self, request: Request) -> dict[str, Any]:
        found, request.content = self._mail.read(self._store(request), request.number("message"))
        return found

    def _delete(self, request: Request) -> int:
        ids = request.params.get("messages")
        if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
            raise RpcError("bad_request", "parameter 'messages' must be a list of numbers")
        return self._mail.delete(self._store(request), ids)

    def _purge(self, request: Request) -> int:
        removed = self._mail.purge(request.number("days"))
        notice("Purge: %d soft-deleted messages removed", removed)
        return removed

    def _store(self, request: Request) -> int:
        """The store that a call is about: a user's own, or for administrators that of the user they name."""
        named = request.params.get("user")
        if named is not None and request.admin:
            user_id = self._user(request.text("user"))["id"]
        elif request.session and named is None:
            user_id = request.session.user_id
        else:
            raise RpcError(
                "forbidden" if request.session else "bad_request",
                "a user works in the own store; an administrator names the user in parameter 'user'",
            )
        with self._database.transaction() as cursor:
            cursor.execute("SELECT id FROM stores WHERE user_id = %s", (user_id,))
            row = cursor.fetchone()
        if not row:
            raise RpcError("not_found", "the user has no store")
        return int(row["id"])

    def _user(self, name: str) -> dict[str, Any]:
        with self._database.transaction() as cursor:
            return accounts.user_row(cursor, name)

    def _sync_if_possible(self) -> None:
        try:
            self.sync()
        except RpcError as problem:
            logging.warning("No synchronisation: %s", problem)

    @staticmethod
    def _no_service(peer: Peer) -> RpcError:
        if peer.where == "socket":
            return RpcError("forbidden", "this local user is no administrator: log on with user and password")
        return RpcError(
            "misdirected",
            f"service log-on is not possible over {peer.where} without a known key: use "
            "server.sock, or https with a client key whose public key is in sslkeys_path",
        )
