"""POP3 on the server's Inbox."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from twisted.cred.error import LoginDenied, LoginFailed
from twisted.internet import defer, threads
from twisted.logger import Logger
from twisted.mail import pop3
from zope.interface import implementer

from kopano_lab.errors import Refusal
from kopano_lab.gateway.account import Account
from kopano_lab.wire import RpcError

_LOG = Logger()

Accounts = Callable[[str, str], Account]


@implementer(pop3.IMailbox)
class Inbox:
    """The messages that were there at log-in; deletions are carried out at the end."""

    def __init__(self, account: Account) -> None:
        self._account = account
        folder = next(folder for folder in account.call("folder.list")[0] if folder["kind"] == "inbox")
        self._validity = folder["uidvalidity"]
        self._rows: list[dict[str, Any]] = account.call("message.list", folder=folder["id"])[0]
        self._deleted: set[int] = set()

    def listMessages(self, index: int | None = None) -> Any:
        """Sizes, 0 for deleted ones."""
        sizes = [0 if place in self._deleted else row["size"] for place, row in enumerate(self._rows)]
        return sizes if index is None else sizes[self._place(index)]

    def getMessage(self, index: int) -> Any:
        """The message; Twisted makes the ends of the lines."""
        row = self._rows[self._place(index)]
        found = threads.deferToThread(self._account.call, "message.read", message=row["id"])
        return found.addCallback(lambda answer: io.BytesIO(answer[1].replace(b"\r\n", b"\n")))

    def getUidl(self, index: int) -> bytes:
        """What tells a message from all others, for ever."""
        return b"%d.%d" % (self._validity, self._rows[self._place(index)]["uid"])

    def deleteMessage(self, index: int) -> None:
        """Mark for deletion."""
        place = self._place(index)
        if place in self._deleted:
            raise ValueError("deleted already")
        self._deleted.add(place)

    def undeleteMessages(self) -> None:
        """Take all marks back."""
        self._deleted.clear()

    def sync(self) -> Any:
        """Delete what is marked."""
        ids = [self._rows[place]["id"] for place in self._deleted]
        return threads.deferToThread(self._account.call, "message.delete", messages=ids) if ids else None

    def _place(self, index: int) -> int:
        if not 0 <= index < len(self._rows):
            raise ValueError("no such message")
        return index


class Pop(pop3.POP3):
    """One connection."""

    magic = b"Kopano lab POP3 ready, a stand-in for tests and not Kopano"
    MAX_LENGTH = 4096
    _BASE = (b"TOP", b"USER", b"UIDL", b"PIPELINING")
    _userIs: bytes | None = None

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def listCapabilities(self) -> list[bytes]:
        """What this server can do."""
        return list(self._BASE)

    def do_APOP(self, user: bytes, digest: bytes) -> None:
        """The directory does not tell passwords, so this way is closed."""
        self.failResponse(b"APOP is not possible here: use USER and PASS")

    def do_PASS(self, password: bytes, *words: bytes) -> Any:
        """Log in; what follows waits for the outcome."""
        if self._userIs is None:
            self.failResponse(b"USER comes before PASS")
            return None
        user, self._userIs = self._userIs, None
        done = defer.ensureDeferred(self._logged_in(user, b" ".join((password, *words))))
        done.addCallbacks(self._cbMailbox, self._ebMailbox, callbackArgs=(user,))
        done.addErrback(self._ebUnexpected)
        return self._longOperation(done)

    async def _logged_in(self, user: bytes, password: bytes) -> tuple[Any, Inbox, Callable[[], Any]]:
        try:
            account = self._accounts(user.decode(), password.decode())
        except UnicodeDecodeError:
            raise LoginFailed from None
        try:
            await threads.deferToThread(account.log_on)
            inbox = await threads.deferToThread(Inbox, account)
        except RpcError as problem:
            if problem.code == "forbidden":
                raise LoginDenied(str(problem)) from None
            if problem.code == "logon_failed":
                raise LoginFailed from None
            raise
        return pop3.IMailbox, inbox, lambda: threads.deferToThread(account.log_off).addErrback(lambda _: None)

    def _ebMailbox(self, failure: Any) -> None:
        failure.trap(LoginFailed)
        self.failResponse(str(failure.value).encode() if failure.check(LoginDenied) else b"[AUTH] unknown user or wrong password")

    def _ebUnexpected(self, failure: Any) -> None:
        if failure.check(Refusal, RpcError):
            _LOG.error("{problem}", problem=failure.value)
        else:
            _LOG.failure("Log-in failed", failure)
        self.failResponse(b"[SYS/TEMP] the server does not answer: try again later")
