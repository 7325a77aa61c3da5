"""The methods of the server, and who may call them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kopano_lab import VERSION
from kopano_lab.log import notice
from kopano_lab.server import accounts, oidc, schema
from kopano_lab.server.mailcalls import MailCalls, Stores
from kopano_lab.server.people import enabled, plan
from kopano_lab.server.request import Content, Peer, Request
from kopano_lab.server.sessions import Sessions
from kopano_lab.wire import RpcError

if TYPE_CHECKING:
    from kopano_lab.server.directory import Directory

__all__ = ["Content", "Peer", "Request", "Server"]


class Server:
    """Answers calls."""

    def __init__(
        self,
        stores: Stores,
        directory: Directory,
        sessions: Sessions,
        *,
        realtime: bool,
        safe_mode: bool,
        disabled_features: frozenset[str],
        issuer: oidc.Issuer | None = None,
    ) -> None:
        self._database = stores.database
        self._quota = stores.quota
        self._directory = directory
        self._sessions = sessions
        self._realtime = realtime
        self._safe_mode = safe_mode
        self._disabled_features = disabled_features
        self._issuer = issuer
        self._sync_lock = threading.Lock()
        calls = MailCalls(stores)
        self._open: dict[str, Callable[[Request], Any]] = {
            "server.status": self._status,
            "logon": self._logon,
            "logoff": self._logoff,
        }
        self._of_users: dict[str, Callable[[Request], Any]] = calls.of_users | {"user.details": self._details}
        self._of_admins: dict[str, Callable[[Request], Any]] = calls.of_admins | {
            "user.list": self._list,
            "user.sync": self._sync,
            "user.resolve": self._resolve,
            "store.create": self._create_store,
            "store.create_public": self._create_public,
            "store.orphans": self._orphans,
            "store.attach": self._attach,
            "store.detach": self._detach,
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
        with self._database.transaction() as cursor:
            return {"version": VERSION, "instance": schema.instance(cursor)}

    def _logon(self, request: Request) -> dict[str, Any]:
        service = request.text("service", "")
        if "token" in request.params:
            return self._opened(self._bearer(request), service)
        name = request.text("user")
        if "password" not in request.params:
            if not request.peer.admin:
                raise self._no_service(request.peer)
            return self._opened(self._user(name), service)
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
        return self._opened(row, service)

    def _bearer(self, request: Request) -> dict[str, Any]:
        """The user of an access token; who else is named must be the same."""
        name, token = request.text("user", ""), request.text("token")
        row = None
        try:
            if not self._issuer:
                raise oidc.Denied("tokens are not taken: enable_sso is off, or there is no kcoidc_issuer_identifier")
            identity = self._issuer.identity(token)
            with self._database.transaction() as cursor:
                row = accounts.by_identity(cursor, identity.encode())
            if not row or row["class"] != "user" or (name and name.lower() != row["name"].lower()):
                raise oidc.Denied("it is for somebody else, or for nobody who is known")
        except oidc.Denied as problem:
            logging.warning("Log-on of '%s' by a token over %s failed: %s", name, request.peer.where, problem)
            raise RpcError("logon_failed", "this token is not good here") from None
        except oidc.Unreachable as problem:
            logging.error("Log-on by a token is not possible: %s", problem)
            raise RpcError("unavailable", "the OpenID provider does not answer") from None
        return row

    def _opened(self, row: dict[str, Any], service: str) -> dict[str, Any]:
        if service:
            with self._database.transaction() as cursor:
                properties = accounts.properties(cursor, row["id"])
            if not enabled(service, properties, self._disabled_features):
                logging.warning("Log-on of '%s' to %s refused: that feature is off", row["name"], service)
                raise RpcError("forbidden", f"{service} is switched off for this user")
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
        """Who gets mail for an address. The directory decides; a user whom it alone knows is made known: mail is waiting."""
        address = request.text("address")
        person = self._directory.recipient(address)
        if not person:
            raise RpcError("not_found", f"there is no user with the address '{address}'")
        with self._sync_lock, self._database.transaction() as cursor:
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
        return found | {"default_quota": self._quota.default}

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
