"""IMAP4rev1: Twisted reads the commands, and here they are carried out on the server's mailboxes."""

from __future__ import annotations

import re
import time
from base64 import b64decode, b64encode
from calendar import timegm
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from email.utils import parsedate_tz
from typing import Any

from twisted.internet import defer, task, threads
from twisted.logger import Logger
from twisted.mail import imap4

from kopano_lab import BANNER, sasl
from kopano_lab.errors import Refusal
from kopano_lab.gateway.account import DELIMITER, Account, Mailbox
from kopano_lab.gateway.criteria import Search
from kopano_lab.gateway.parts import Item, Part, written
from kopano_lab.gateway.selected import Numbered, Selected, flags_of
from kopano_lab.wire import RpcError

FLAGS = (b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Seen", b"\\Draft")
SPECIAL = {"sentmail": b"\\Sent", "drafts": b"\\Drafts", "wastebasket": b"\\Trash", "junk": b"\\Junk"}
IDLE_SECONDS = 5
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CODES = {
    "directory_down": "UNAVAILABLE",
    "exists": "ALREADYEXISTS",
    "forbidden": "NOPERM",
    "logon_failed": "AUTHENTICATIONFAILED",
    "not_found": "NONEXISTENT",
    "over_quota": "OVERQUOTA",
    "unavailable": "UNAVAILABLE",
}
_BY_TOKEN = (sasl.OAUTHBEARER.encode(), sasl.XOAUTH2.encode())
_LOG = Logger()

Accounts = Callable[..., Account]
"""Makes the account of a user and a password or, with `token=True`, a token; not logged on yet."""


class _TokenRefused(RpcError):
    """A token is no good. The client is told why, and answers, before it is told that the log-on has failed."""


@dataclass(frozen=True)
class Limits:
    """What the options allow: bytes of a message, failed commands in a row (0: any number), IDLE, log-in only under TLS."""

    message: int
    failures: int
    idle: bool
    needs_tls: bool


def _command(work: Callable[..., Coroutine[Any, Any, bytes]]) -> Callable[..., None]:
    """A command of the protocol from a coroutine that gives its last words; later commands wait until it is done."""

    def run(self: Imap, tag: bytes, *arguments: Any, uid: int | None = None) -> None:
        self.blocked = []
        more = {} if uid is None else {"uid": bool(uid)}
        done = defer.ensureDeferred(work(self, *arguments, **more))
        done.addCallbacks(lambda words: self.sendPositiveResponse(tag, words), lambda failure: self.failed(tag, failure))
        done.addErrback(lambda failure: _LOG.failure("A command failed", failure))
        done.addBoth(lambda _: self._unblock())

    return run


class Imap(imap4.IMAP4Server):
    """One connection."""

    IDENT = b"Kopano lab IMAP4rev1 ready. " + BANNER.encode()
    MAX_LENGTH = 1024 * 1024
    account: Account | None = None
    selected: Selected | None = None
    _idle: task.LoopingCall | None = None
    _failures = 0

    def __init__(self, accounts: Accounts, limits: Limits, context: Any) -> None:
        super().__init__({b"PLAIN": imap4.PLAINCredentials, b"LOGIN": imap4.LOGINCredentials}, context)
        self._accounts = accounts
        self._limits = limits

    # What the client is told.

    def capabilities(self) -> dict[bytes, Any]:
        """What this server can do, and before TLS whether it takes passwords."""
        secure = self.startedTLS or imap4.interfaces.ISSLTransport(self.transport, None) is not None
        plain = secure or not self._limits.needs_tls
        found: dict[bytes, Any] = {b"AUTH": [*self.challengers, *_BY_TOKEN] if plain else []}
        if self.ctx and self.canStartTLS and not secure:
            found[b"STARTTLS"] = None
        if not plain:
            found[b"LOGINDISABLED"] = None
        names = [b"CHILDREN", b"MOVE", b"NAMESPACE", b"SASL-IR", b"SPECIAL-USE", b"UIDPLUS", b"UNSELECT"]
        return found | dict.fromkeys(names + [b"IDLE"] * self._limits.idle)

    def failed(self, tag: bytes, failure: Any) -> None:
        """Say in one line why a command failed."""
        problem = failure.value
        if isinstance(problem, imap4.IllegalClientResponse):
            self.sendBadResponse(tag, str(problem).encode("utf-8", "replace"))
        elif isinstance(problem, _TokenRefused):
            refusal = f"[AUTHENTICATIONFAILED] {problem}".encode()
            self._ask(sasl.REFUSED, tag, lambda _: self.sendNegativeResponse(tag, refusal))
        elif isinstance(problem, RpcError):
            words = str(problem)
            code = _CODES.get(problem.code, "")
            self.sendNegativeResponse(tag, (words if words[:1] == "[" or not code else f"[{code}] {words}").encode())
        elif isinstance(problem, Refusal):
            _LOG.error("{problem}", problem=problem)
            self.sendNegativeResponse(tag, b"[UNAVAILABLE] the server does not answer: try again later")
        else:
            _LOG.failure("A command failed", failure)
            self.sendNegativeResponse(tag, b"[SERVERBUG] the gateway failed: see its log")

    def _respond(self, state: bytes, tag: bytes | None, message: bytes | None) -> None:
        super()._respond(state, tag, message)
        if tag in (None, b"*") or state not in (b"OK", b"NO", b"BAD"):
            return
        self._failures = 0 if state == b"OK" else self._failures + 1
        if self._failures >= self._limits.failures > 0:
            self.sendLine(b"* BYE too many commands have failed")
            self.transport.loseConnection()

    def _tell(self, answers: Iterable[bytes]) -> None:
        for answer in answers:
            self.sendUntaggedResponse(answer)

    def connectionLost(self, reason: Any = None) -> None:
        """End the session at the server."""
        self._stop_idling()
        self.mbox = None
        super().connectionLost(reason)

    # Arguments that Twisted reads differently.

    def arg_astring(self, line: bytes, final: bool = False) -> Any:
        """A text; in a quoted one a backslash makes the next character part of it."""
        quoted = re.match(rb'\s*"((?:[^"\\]|\\.)*)" ?', line)
        if not quoted:
            return super().arg_astring(line, final)
        return re.sub(rb"\\(.)", rb"\1", quoted[1]), line[quoted.end() :]

    def arg_searchkeys(self, line: bytes) -> Any:
        """The words of a search; a text may come as a literal."""
        literal = re.search(rb"\{(\d+)\}$", line)
        if not literal:
            try:
                return imap4.parseNestedParens(line, 0), b""
            except Exception as problem:
                raise imap4.IllegalClientResponse("the search cannot be read") from problem

        def go_on(received: tuple[bytes, bytes]) -> Any:
            text = re.sub(rb'(["\\])', rb"\\\1", received[0])
            return self.arg_searchkeys(line[: literal.start()] + b'"' + text + b'"' + received[1])

        return self._stringLiteral(int(literal[1])).addCallback(go_on)

    def arg_fetchatt(self, line: bytes) -> Any:
        """What to fetch."""
        try:
            return super().arg_fetchatt(line)
        except Exception as problem:
            raise imap4.IllegalClientResponse(f"cannot read what to fetch: {problem}") from problem

    def arg_literal(self, line: bytes) -> Any:
        """A message, up to the allowed size."""
        size = re.fullmatch(rb"\{(\d+)\}", line)
        if size and int(size[1]) > self._limits.message:
            raise imap4.IllegalOperation(f"[TOOBIG] a message may have {self._limits.message} bytes")
        return super().arg_literal(line)

    # Log-on.

    def arg_mechanism(self, line: bytes | None) -> Any:
        """The name of a mechanism, and the client's first response where it comes at once (RFC 4959): `=` is an empty one."""
        words = (line or b"").split()
        if not 1 <= len(words) <= 2:
            raise imap4.IllegalClientResponse("AUTHENTICATE has a mechanism and at most one response")
        response = None if len(words) == 1 else b"" if words[1] == b"=" else words[1]
        return (words[0].upper(), response), b""

    async def _opened(self, account: Account) -> bytes:
        await self._later(account.log_on)
        self.account, self.state = account, "auth"
        self._onLogout = lambda: threads.deferToThread(account.log_off).addErrback(lambda _: None)
        self.setTimeout(self.POSTAUTH_TIMEOUT)
        return b"[CAPABILITY %b] logged on" % b" ".join(self.listCapabilities())

    @_command
    async def _log_on(self, user: bytes, password: bytes) -> bytes:
        try:
            account = self._accounts(user.decode(), password.decode())
        except UnicodeDecodeError:
            raise RpcError("logon_failed", "unknown user or wrong password") from None
        return await self._opened(account)

    @_command
    async def _log_on_by_token(self, mechanism: bytes, response: bytes) -> bytes:
        try:
            user, token = sasl.bearer(mechanism.decode(), response)
        except ValueError as problem:
            raise imap4.IllegalClientResponse(f"the log-in cannot be read: {problem}") from None
        try:
            return await self._opened(self._accounts(user, token, token=True))
        except RpcError as problem:
            if problem.code != "logon_failed":
                raise
            raise _TokenRefused(problem.code, str(problem)) from None

    def do_LOGIN(self, tag: bytes, user: bytes, password: bytes) -> None:
        """LOGIN."""
        if self._may_log_on(tag):
            self._log_on(tag, user, password)

    def do_AUTHENTICATE(self, tag: bytes, asked: tuple[bytes, bytes | None]) -> None:
        """AUTHENTICATE."""
        mechanism, response = asked
        if not self._may_log_on(tag):
            return
        if mechanism in _BY_TOKEN:
            self._respond_to(b"", tag, response, lambda given: self._log_on_by_token(tag, mechanism, given))
        elif mechanism in self.challengers:
            self._challenge(tag, self.challengers[mechanism](), response)
        else:
            names = b", ".join([*self.challengers, *_BY_TOKEN])
            self.sendNegativeResponse(tag, b"[CANNOT] the mechanisms are %b" % names)

    unauth_LOGIN = (do_LOGIN, arg_astring, imap4.IMAP4Server.arg_finalastring)
    unauth_AUTHENTICATE = (do_AUTHENTICATE, arg_mechanism)

    def _may_log_on(self, tag: bytes) -> bool:
        closed = b"LOGINDISABLED" in self.capabilities()
        if closed:
            self.sendNegativeResponse(tag, b"[PRIVACYREQUIRED] log-in needs TLS")
        return not closed

    def _challenge(self, tag: bytes, credentials: Any, response: bytes | None = None) -> None:
        challenge = credentials.getChallenge()

        def answered(given: bytes) -> None:
            credentials.setResponse(given)
            if credentials.moreChallenges():
                self._challenge(tag, credentials)
            else:
                self._log_on(tag, credentials.username, credentials.password)

        self._respond_to(challenge, tag, response, answered)

    def _respond_to(self, challenge: bytes, tag: bytes, response: bytes | None, go_on: Callable[[bytes], None]) -> None:
        """Go on with the client's response to a challenge: the one that has come already, or the one that is asked for now."""

        def decoded(line: bytes) -> None:
            try:
                given = b64decode(line, validate=True)
            except ValueError:
                raise imap4.IllegalClientResponse("the log-in was given up, or is not in base64") from None
            go_on(given)

        if response is None:
            self._ask(challenge, tag, decoded)
        else:
            defer.maybeDeferred(decoded, response).addErrback(lambda failure: self.failed(tag, failure))

    def _ask(self, challenge: bytes, tag: bytes, answered: Callable[[bytes], None]) -> None:
        self.parseState, self._pendingLiteral = "pending", defer.Deferred()
        self._pendingLiteral.addCallback(answered)
        self._pendingLiteral.addErrback(lambda failure: self.failed(tag, failure))
        self.sendContinuationRequest(b64encode(challenge))

    # Mailboxes.

    async def _later(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        return await threads.deferToThread(work, *arguments, **more)

    async def _call(self, method: str, **params: Any) -> Any:
        return (await self._later(self._account.call, method, **params))[0]

    @property
    def _account(self) -> Account:
        assert self.account  # noqa: S101 - the state says so
        return self.account

    @property
    def _mailbox(self) -> Selected:
        assert self.selected  # noqa: S101 - the state says so
        return self.selected

    def _leave(self) -> None:
        self.selected = None
        self.state = "auth"

    async def _select(self, name: bytes, writable: bool) -> bytes:
        self._leave()
        mailbox = await self._later(self._account.needed, _name(name))
        self.selected = chosen = await self._later(Selected, self._account, mailbox, writable)
        self.state = "select"
        self._tell([b"FLAGS (%b)" % b" ".join(FLAGS), b"%d EXISTS" % len(chosen.rows), b"0 RECENT"])
        unseen = next((number for number, row in enumerate(chosen.rows, 1) if not _has(row, "\\Seen")), 0)
        if unseen:
            self.sendPositiveResponse(None, b"[UNSEEN %d] first unseen" % unseen)
        permanent = b" ".join((*FLAGS, b"\\*")) if writable else b""
        self.sendPositiveResponse(None, b"[PERMANENTFLAGS (%b)] flags that are kept" % permanent)
        self.sendPositiveResponse(None, b"[UIDVALIDITY %d] uids are valid" % chosen.folder["uidvalidity"])
        self.sendPositiveResponse(None, b"[UIDNEXT %d] next uid" % chosen.folder["uidnext"])
        return b"[READ-WRITE] SELECT completed" if writable else b"[READ-ONLY] EXAMINE completed"

    @_command
    async def do_SELECT(self, name: bytes) -> bytes:
        """SELECT."""
        return await self._select(name, True)

    @_command
    async def do_EXAMINE(self, name: bytes) -> bytes:
        """EXAMINE."""
        return await self._select(name, False)

    auth_SELECT = select_SELECT = (do_SELECT, imap4.IMAP4Server.arg_finalastring)
    auth_EXAMINE = select_EXAMINE = (do_EXAMINE, imap4.IMAP4Server.arg_finalastring)

    @_command
    async def do_CREATE(self, name: bytes) -> bytes:
        """CREATE."""
        await self._later(self._account.create, _name(name))
        return b"CREATE completed"

    @_command
    async def do_DELETE(self, name: bytes) -> bytes:
        """DELETE."""
        await self._later(self._account.delete, _name(name))
        return b"DELETE completed"

    @_command
    async def do_RENAME(self, old: bytes, new: bytes) -> bytes:
        """RENAME."""
        await self._later(self._account.rename, _name(old), _name(new))
        return b"RENAME completed"

    @_command
    async def do_SUBSCRIBE(self, name: bytes) -> bytes:
        """SUBSCRIBE."""
        await self._later(self._account.subscribe, _name(name), True)
        return b"SUBSCRIBE completed"

    @_command
    async def do_UNSUBSCRIBE(self, name: bytes) -> bytes:
        """UNSUBSCRIBE."""
        await self._later(self._account.subscribe, _name(name), False)
        return b"UNSUBSCRIBE completed"

    auth_CREATE = select_CREATE = (do_CREATE, imap4.IMAP4Server.arg_finalastring)
    auth_DELETE = select_DELETE = (do_DELETE, imap4.IMAP4Server.arg_finalastring)
    auth_RENAME = select_RENAME = (do_RENAME, arg_astring, imap4.IMAP4Server.arg_finalastring)
    auth_SUBSCRIBE = select_SUBSCRIBE = (do_SUBSCRIBE, imap4.IMAP4Server.arg_finalastring)
    auth_UNSUBSCRIBE = select_UNSUBSCRIBE = (do_UNSUBSCRIBE, imap4.IMAP4Server.arg_finalastring)

    async def _list(self, word: bytes, reference: bytes, pattern: bytes, chosen: Callable[[Mailbox], bool]) -> bytes:
        if not pattern:
            self._tell([b'LIST (\\Noselect) "%b" ""' % DELIMITER.encode()])
            return b"LIST completed"
        wanted = _pattern(_name(reference) + _name(pattern))
        for mailbox in await self._later(self._account.mailboxes):
            if wanted.fullmatch(mailbox.name) and chosen(mailbox):
                marks = [b"\\HasChildren" if mailbox.children else b"\\HasNoChildren"]
                marks += [SPECIAL[mailbox.folder["kind"]]] if mailbox.folder["kind"] in SPECIAL else []
                name = written(mailbox.name.encode("imap4-utf-7"))
                self._tell([b'%b (%b) "%b" %b' % (word, b" ".join(marks), DELIMITER.encode(), name)])
        return word + b" completed"

    @_command
    async def do_LIST(self, options: list[bytes] | None, reference: bytes, pattern: bytes) -> bytes:
        """LIST, also of the special mailboxes alone."""
        if options and [option.upper() for option in options] != [b"SPECIAL-USE"]:
            raise imap4.IllegalClientResponse("the one selection of LIST that there is here is SPECIAL-USE")
        return await self._list(b"LIST", reference, pattern, lambda mailbox: not options or mailbox.folder["kind"] in SPECIAL)

    @_command
    async def do_LSUB(self, reference: bytes, pattern: bytes) -> bytes:
        """LSUB."""
        return await self._list(b"LSUB", reference, pattern, lambda mailbox: mailbox.folder["subscribed"])

    auth_LIST = select_LIST = (
        do_LIST,
        imap4.IMAP4Server.opt_plist,
        arg_astring,
        imap4.IMAP4Server.arg_finalastring,
    )
    auth_LSUB = select_LSUB = (do_LSUB, arg_astring, imap4.IMAP4Server.arg_finalastring)

    @_command
    async def do_NAMESPACE(self) -> bytes:
        """NAMESPACE."""
        self._tell([b'NAMESPACE (("" "%b")) NIL NIL' % DELIMITER.encode()])
        return b"NAMESPACE completed"

    auth_NAMESPACE = select_NAMESPACE = (do_NAMESPACE,)

    @_command
    async def do_STATUS(self, name: bytes, items: list[bytes]) -> bytes:
        """STATUS."""
        folder = (await self._later(self._account.needed, _name(name))).folder
        known = {key.upper().encode(): folder[key] for key in ("messages", "unseen", "uidnext", "uidvalidity")}
        known[b"RECENT"] = 0
        wanted = [item.upper() for item in items]
        if not set(wanted) <= set(known):
            raise imap4.IllegalClientResponse("STATUS knows MESSAGES, RECENT, UIDNEXT, UIDVALIDITY and UNSEEN")
        values = b" ".join(b"%b %d" % (item, known[item]) for item in wanted)
        self._tell([b"STATUS %b (%b)" % (written(name), values)])
        return b"STATUS completed"

    auth_STATUS = select_STATUS = (do_STATUS, arg_astring, imap4.IMAP4Server.arg_plist)

    # Messages.

    async def _refresh(self) -> None:
        if self.selected:
            self._tell(await self._later(self.selected.refresh))

    @_command
    async def do_APPEND(self, name: bytes, flags: list[bytes] | None, date: bytes | None, message: Any) -> bytes:
        """APPEND."""
        folder = (await self._later(self._account.needed, _name(name), "TRYCREATE")).folder
        content = message.read()
        if not content:
            raise imap4.IllegalClientResponse("an empty message")
        added, _ = await self._later(
            self._account.call,
            "message.add",
            content,
            folder=folder["id"],
            flags=" ".join(flag.decode("ascii", "replace") for flag in flags or []),
            received=_moment(date) if date else None,
        )
        await self._refresh()
        return b"[APPENDUID %d %d] APPEND completed" % (folder["uidvalidity"], added["uid"])

    auth_APPEND = select_APPEND = (
        do_APPEND,
        arg_astring,
        imap4.IMAP4Server.opt_plist,
        imap4.IMAP4Server.opt_datetime,
        arg_literal,
    )

    @_command
    async def do_NOOP(self) -> bytes:
        """NOOP: a chance to hear what is new."""
        await self._refresh()
        return b"NOOP completed"

    unauth_NOOP = auth_NOOP = select_NOOP = (do_NOOP,)

    @_command
    async def do_CHECK(self) -> bytes:
        """CHECK."""
        await self._refresh()
        return b"CHECK completed"

    select_CHECK = (do_CHECK,)

    async def _expunge(self, uids: Any = None) -> None:
        if not self._mailbox.writable:
            return
        rows = [row for _, row in self._mailbox.pick(uids, True)] if uids is not None else self._mailbox.rows
        ids = [row["id"] for row in rows if _has(row, "\\Deleted")]
        if ids:
            await self._call("message.delete", messages=ids)

    @_command
    async def do_EXPUNGE(self, uids: Any = None, uid: bool = False) -> bytes:
        """EXPUNGE, and UID EXPUNGE of a set."""
        if not self._mailbox.writable:
            raise RpcError("forbidden", "[READ-ONLY] the mailbox was opened by EXAMINE")
        await self._expunge(uids)
        await self._refresh()
        return b"EXPUNGE completed"

    select_EXPUNGE = (do_EXPUNGE,)
    select_UIDEXPUNGE = (do_EXPUNGE, imap4.IMAP4Server.arg_seqset)

    @_command
    async def do_CLOSE(self) -> bytes:
        """CLOSE: expunge without telling, and leave."""
        await self._expunge()
        self._leave()
        return b"CLOSE completed"

    @_command
    async def do_UNSELECT(self) -> bytes:
        """UNSELECT: leave."""
        self._leave()
        return b"UNSELECT completed"

    select_CLOSE = (do_CLOSE,)
    select_UNSELECT = (do_UNSELECT,)

    @_command
    async def do_SEARCH(self, charset: bytes | None, words: list[Any], uid: bool = False) -> bytes:
        """SEARCH."""
        name = (charset or b"utf-8").decode("ascii", "replace").strip('"').lower()
        if name not in ("utf-8", "us-ascii", "iso-8859-1"):
            raise RpcError("bad_request", "[BADCHARSET (UTF-8 US-ASCII ISO-8859-1)] this charset is not known")
        search = Search(self._account, self._mailbox, "utf-8" if name == "us-ascii" else name)
        found = await self._later(search.found, words)
        self._tell([b" ".join([b"SEARCH", *(b"%d" % (pair[1] if uid else pair[0]) for pair in found)])])
        return b"SEARCH completed"

    select_SEARCH = (do_SEARCH, imap4.IMAP4Server.opt_charset, arg_searchkeys)

    @_command
    async def do_STORE(self, messages: Any, mode: bytes, flags: list[bytes], uid: bool = False) -> bytes:
        """STORE."""
        picked, how = self._changeable(messages, uid), mode.upper()
        if how.removesuffix(b".SILENT") not in (b"FLAGS", b"+FLAGS", b"-FLAGS"):
            raise imap4.IllegalClientResponse("STORE takes FLAGS, +FLAGS or -FLAGS, each also with .SILENT")
        key = {b"+": "add", b"-": "remove"}.get(how[:1], "only")
        text = " ".join(flag.decode("ascii", "replace") for flag in flags)
        changed = await self._call("message.flag", messages=[row["id"] for _, row in picked], **{key: text})
        self._mailbox.flagged(changed)
        if not how.endswith(b".SILENT"):
            self._tell(flags_of(number, row, uid) for number, row in picked)
        return b"STORE completed"

    select_STORE = (do_STORE, imap4.IMAP4Server.arg_seqset, imap4.IMAP4Server.arg_atom, imap4.IMAP4Server.arg_flaglist)

    def _changeable(self, messages: Any, uid: bool) -> list[Numbered]:
        if not self._mailbox.writable:
            raise RpcError("forbidden", "[READ-ONLY] the mailbox was opened by EXAMINE")
        return self._mailbox.pick(messages, uid)

    async def _carry(self, method: str, picked: list[Numbered], name: bytes) -> bytes:
        """Copy or move; gives the code that tells old and new uids."""
        folder = (await self._later(self._account.needed, _name(name), "TRYCREATE")).folder
        if not picked:
            return b""
        done = await self._call(method, messages=[row["id"] for _, row in picked], folder=folder["id"])
        old = {row["id"]: row["uid"] for _, row in picked}
        pairs = [(old[one.get("from", one["id"])], one["uid"]) for one in done]
        sets = (b",".join(b"%d" % pair[side] for pair in pairs) for side in (0, 1))
        return b"[COPYUID %d %b %b] " % (folder["uidvalidity"], *sets) if pairs else b""

    @_command
    async def do_COPY(self, messages: Any, name: bytes, uid: bool = False) -> bytes:
        """COPY."""
        code = await self._carry("message.copy", self._mailbox.pick(messages, uid), name)
        return code + b"COPY completed"

    @_command
    async def do_MOVE(self, messages: Any, name: bytes, uid: bool = False) -> bytes:
        """MOVE."""
        code = await self._carry("message.move", self._changeable(messages, uid), name)
        if code:
            self.sendPositiveResponse(None, code + b"moved")
        await self._refresh()
        return b"MOVE completed"

    select_COPY = (do_COPY, imap4.IMAP4Server.arg_seqset, imap4.IMAP4Server.arg_finalastring)
    select_MOVE = (do_MOVE, imap4.IMAP4Server.arg_seqset, imap4.IMAP4Server.arg_finalastring)

    def do_UID(self, tag: bytes, command: bytes, line: bytes) -> None:
        """UID before another command."""
        command = command.upper()
        if command not in (b"COPY", b"MOVE", b"FETCH", b"STORE", b"SEARCH", b"EXPUNGE"):
            raise imap4.IllegalClientResponse("UID takes COPY, EXPUNGE, FETCH, MOVE, SEARCH or STORE")
        self.dispatchCommand(tag, b"UIDEXPUNGE" if command == b"EXPUNGE" else command, line, uid=1)

    select_UID = (do_UID, imap4.IMAP4Server.arg_atom, imap4.IMAP4Server.arg_line)

    @_command
    async def do_FETCH(self, messages: Any, query: list[Any], uid: bool = False) -> bytes:
        """FETCH; reading a text marks the message as seen, unless the client only peeks."""
        picked = self._mailbox.pick(messages, uid)
        reads = any(part.type in ("rfc822", "rfc822text") or (_is_section(part) and not part.peek) for part in query)
        unseen = [row["id"] for _, row in picked if not _has(row, "\\Seen")] if reads and self._mailbox.writable else []
        if unseen:
            self._mailbox.flagged(await self._call("message.flag", messages=unseen, add="\\Seen"))
        whole = any(part.type in ("rfc822", "rfc822text", "bodystructure") or _needs_body(part) for part in query)
        header = any(part.type in ("envelope", "rfc822header", "body") for part in query)
        for number, row in picked:
            content = b""
            if whole or header:
                try:
                    content = (await self._later(self._account.call, "message.read", message=row["id"], header=not whole))[1]
                except RpcError as problem:
                    if problem.code == "not_found":
                        continue  # Deleted meanwhile: the next refresh tells so.
                    raise
            mail = Part(content)
            items = [_fetched(part, row, mail, content) for part in query]
            if uid and not any(part.type == "uid" for part in query):
                items.append(b"UID %d" % row["uid"])
            if row["id"] in unseen and not any(part.type == "flags" for part in query):
                items.append(b"FLAGS (%b)" % row["flags"].encode("ascii", "replace"))
            self._tell([b"%d FETCH (%b)" % (number, b" ".join(items))])
        return b"FETCH completed"

    select_FETCH = (do_FETCH, imap4.IMAP4Server.arg_seqset, arg_fetchatt)

    # IDLE.

    def do_IDLE(self, tag: bytes) -> None:
        """IDLE: look for news until the client has enough."""
        super().do_IDLE(tag)
        self._idle = task.LoopingCall(lambda: defer.ensureDeferred(self._refresh()))
        self._idle.start(IDLE_SECONDS, now=True).addErrback(self._idle_failed)

    auth_IDLE = select_IDLE = (do_IDLE,)

    def parse_idle(self, *_: Any) -> None:
        """DONE."""
        self._stop_idling()
        super().parse_idle()

    def sendContinuationRequest(self, msg: bytes | None = b"go ahead") -> None:
        """A plus alone is not understood by all."""
        super().sendContinuationRequest(b"idling" if msg is None else msg)

    def _stop_idling(self) -> None:
        idle, self._idle = self._idle, None
        if idle and idle.running:
            idle.stop()

    def _idle_failed(self, failure: Any) -> None:
        self._idle = None
        _LOG.error("IDLE ends: {problem}", problem=failure.value)
        self.sendLine(b"* BYE the server does not answer: try again later")
        self.transport.loseConnection()


def _name(name: bytes) -> str:
    try:
        return imap4._parseMbox(name)  # type: ignore[no-any-return]
    except imap4.IllegalMailboxEncoding:
        raise imap4.IllegalClientResponse("the mailbox name is not in modified UTF-7") from None


def _pattern(text: str) -> re.Pattern[str]:
    pieces = re.split(r"([*%])", text)
    parts = {"*": ".*", "%": f"[^{DELIMITER}]*"}
    pattern = "".join(parts.get(piece) or re.escape(piece) for piece in pieces)
    # INBOX is the same in whatever case, and the other names are not.
    return re.compile(pattern, re.IGNORECASE if text.upper() == "INBOX" else 0)


def _has(row: dict[str, Any], flag: str) -> bool:
    return flag.lower() in row["flags"].lower().split()


def _is_section(part: Any) -> bool:
    return part.type == "body" and bool(part.header or part.text or part.mime or part.empty)


def _needs_body(part: Any) -> bool:
    return part.type == "body" and not (part.header and not part.part)


def _moment(date: bytes) -> int:
    found = parsedate_tz(date.decode("ascii", "replace").replace("-", " ", 2))
    if not found:
        raise imap4.IllegalClientResponse("the date cannot be read")
    return max(timegm((*found[:6], 0, 1, 0)) - (found[9] or 0), 0)


def _fetched(part: Any, row: dict[str, Any], mail: Part, content: bytes) -> bytes:
    if part.type == "flags":
        return b"FLAGS (%b)" % row["flags"].encode("ascii", "replace")
    if part.type == "internaldate":
        moment = time.gmtime(row["received"])
        text = time.strftime(f"%d-{_MONTHS[moment.tm_mon - 1]}-%Y %H:%M:%S +0000", moment)
        return b'INTERNALDATE "%b"' % text.encode()
    simple: dict[str, Callable[[], tuple[bytes, Item]]] = {
        "uid": lambda: (b"UID", row["uid"]),
        "rfc822size": lambda: (b"RFC822.SIZE", row["size"]),
        "envelope": lambda: (b"ENVELOPE", mail.envelope()),
        "bodystructure": lambda: (b"BODYSTRUCTURE", mail.structure(True)),
    }
    if part.type in simple:
        word, item = simple[part.type]()
        return word + b" " + written(item)
    texts = {
        "rfc822": (b"RFC822", content),
        "rfc822text": (b"RFC822.TEXT", mail.body),
        "rfc822header": (b"RFC822.HEADER", mail.header),
    }
    if part.type in texts:
        word, whole = texts[part.type]
        return word + b" " + _literal(whole)
    return _body(part, mail, content)


def _body(part: Any, mail: Part, content: bytes) -> bytes:
    if not _is_section(part):
        return b"BODY " + written(mail.structure(False))
    text = _section(part, mail, content)
    begin, length = part.partialBegin, part.partialLength
    part.partialBegin = None
    label = bytes(part)
    part.partialBegin = begin
    if begin is not None:
        label += b"<%d>" % begin
        text = text and text[begin : begin + length]
    return label + b" " + (b"NIL" if text is None else _literal(text))


def _section(part: Any, mail: Part, content: bytes) -> bytes | None:
    there = mail.at(part.part)
    if there is None:
        return None
    if part.mime:
        return there.header
    if part.empty:
        return there.body if part.part else content
    holder = there.inner if part.part else mail
    if holder is None:
        return None
    if part.text:
        return holder.body
    if part.header.fields:
        return holder.chosen(part.header.fields, part.header.negate)
    return holder.header


def _literal(text: bytes) -> bytes:
    return b"{%d}\r\n%b" % (len(text), text)
