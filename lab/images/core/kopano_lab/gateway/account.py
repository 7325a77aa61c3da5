"""A user's mailboxes: the folders of the store under the names that IMAP gives them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from kopano_lab.client import Client
from kopano_lab.wire import RpcError

DELIMITER = "/"
NOT_MAIL = frozenset({"calendar", "contacts", "tasks", "notes", "journal"})


@dataclass(frozen=True)
class Mailbox:
    """A folder under its IMAP name."""

    name: str
    folder: dict[str, Any]
    children: bool


class Account:
    """A user who is logged on by a password or, with `token`, by an access token; for one call at a time, in whatever thread."""

    def __init__(self, server: Client, service: str, user: str, secret: str, only_mail: bool, token: bool = False) -> None:
        self.user = user
        self._server = server
        self._service = service
        self._secret = {"token" if token else "password": secret}
        self._only_mail = only_mail
        self._lock = threading.Lock()

    def log_on(self) -> None:
        """Show password or token to the server."""
        with self._lock:
            self.user = self._server.log_on(self.user, service=self._service, **self._secret)["user"]

    def log_off(self) -> None:
        """End the session."""
        with self._lock:
            try:
                self._server.log_off()
            finally:
                self._server.close()

    def call(self, method: str, content: bytes = b"", **params: Any) -> tuple[Any, bytes]:
        """Call the server; a session that has ended is opened anew."""
        with self._lock:
            try:
                return self._server.call(method, content, **params)
            except RpcError as problem:
                if problem.code != "logon_failed":
                    raise
            self._server.log_on(self.user, service=self._service, **self._secret)
            return self._server.call(method, content, **params)

    def mailboxes(self) -> list[Mailbox]:
        """All that is shown, sorted by name."""
        folders = {folder["id"]: folder for folder in self.call("folder.list")[0]}
        parents = {folder["parent"] for folder in folders.values()}
        found = []
        for folder in folders.values():
            names, top = [], folder
            while True:
                names.append("INBOX" if top["kind"] == "inbox" else top["name"])
                if top["parent"] not in folders:
                    break
                top = folders[top["parent"]]
            if not (self._only_mail and top["kind"] in NOT_MAIL):
                found.append(Mailbox(DELIMITER.join(reversed(names)), folder, folder["id"] in parents))
        return sorted(found, key=lambda mailbox: (mailbox.name != "INBOX", mailbox.name.casefold()))

    def mailbox(self, name: str) -> Mailbox | None:
        """The mailbox with this name."""
        name = canonical(name)
        return next((mailbox for mailbox in self.mailboxes() if mailbox.name == name), None)

    def needed(self, name: str, code: str = "NONEXISTENT") -> Mailbox:
        """The mailbox with this name, which must be there; `code` is what IMAP says when it is not."""
        mailbox = self.mailbox(name)
        if not mailbox:
            raise RpcError("not_found", f"[{code}] there is no mailbox '{name}'")
        return mailbox

    def create(self, name: str) -> None:
        """A new mailbox, and those above it."""
        names = canonical(name).strip(DELIMITER).split(DELIMITER)
        parent, known = 0, {mailbox.name: mailbox.folder["id"] for mailbox in self.mailboxes()}
        for depth, one in enumerate(names, 1):
            path = DELIMITER.join(names[:depth])
            if path in known and depth < len(names):
                parent = known[path]
            else:
                parent = self.call("folder.create", parent=parent, name=one)[0]

    def rename(self, old: str, new: str) -> None:
        """Another name for a mailbox, or another place."""
        folder = self.needed(old).folder
        above, _, name = canonical(new).strip(DELIMITER).rpartition(DELIMITER)
        parent = 0
        if above:
            if not self.mailbox(above):
                self.create(above)
            parent = self.needed(above).folder["id"]
        self.call("folder.rename", folder=folder["id"], parent=parent, name=name)

    def delete(self, name: str) -> None:
        """Delete a mailbox."""
        self.call("folder.delete", folder=self.needed(name).folder["id"])

    def subscribe(self, name: str, subscribed: bool) -> None:
        """Whether mail programs show the mailbox."""
        self.call("folder.subscribe", folder=self.needed(name).folder["id"], subscribed=subscribed)


def canonical(name: str) -> str:
    """INBOX is the same in whatever case."""
    first, slash, rest = name.partition(DELIMITER)
    return ("INBOX" if first.upper() == "INBOX" else first) + slash + rest
