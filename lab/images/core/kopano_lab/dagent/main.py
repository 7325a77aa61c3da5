"""Takes mails over LMTP; a mail is acknowledged only when the server has it for good."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import Envelope, Session

from kopano_lab import header, service
from kopano_lab.client import Client
from kopano_lab.config import Config
from kopano_lab.errors import Refusal, told
from kopano_lab.log import notice
from kopano_lab.server import listeners
from kopano_lab.wire import RpcError

OPTIONS = service.KEY | {
    "lmtp_listen": "*%lo:2003",
    "lmtp_max_threads": "20",
    "spam_header_name": "X-Spam-Status",
    "spam_header_value": "Yes,",
}
_LARGEST = 128 * 1024 * 1024
_LAST_DELIVERIES = 30


def main(arguments: list[str]) -> int:
    """Entry point of kopano-dagent."""
    return told("kopano-dagent", lambda: asyncio.run(_run()))


async def _run() -> int:
    config = service.load("dagent", OPTIONS)
    service.client(config)  # A wrong address or key ends the service now.
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    with ThreadPoolExecutor(max(config.number("lmtp_max_threads"), 1)) as pool:
        loop.set_default_executor(pool)
        handler = Handler(config)
        servers = [
            await loop.create_server(lambda: Protocol(handler, data_size_limit=_LARGEST, hostname=socket.gethostname()), sock=one)
            for one in listeners.tcp(listeners.Address.parse(config.text("lmtp_listen"), "lmtp_listen"))
        ]
        notice("LMTP: ready on %s", config.text("lmtp_listen"))
        await ended.wait()
        for server in servers:
            server.close()
        await handler.finish(_LAST_DELIVERIES)
    return 0


class Protocol(LMTP):
    """One connection."""

    __ident__ = "Kopano lab"
    # Many programs send lines that are longer than the standard allows; a refusal would lose their mails.
    line_length_limit = 1024 * 1024


class Handler:
    """Answers RCPT and DATA by what the server says."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._spam = (config.text("spam_header_name"), config.text("spam_header_value").lower())
        self._local = threading.local()
        self._running: set[asyncio.Task[Any]] = set()

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        """Whether there is such a user, as the directory says now."""
        try:
            user = await self._asked(lambda client: client.call("user.resolve", address=address)[0])
        except RpcError as problem:
            if problem.code == "not_found":
                return "503 5.1.1 User does not exist"
            # Measured: the genuine dagent answers so too when only the directory is away, and not with a temporary code.
            answer = "503 5.1.1" if problem.code == "directory_down" else "421 4.3.0"
            logging.error("Recipient %s cannot be looked up: %s", address, problem)
            return _line(f"{answer} Connection error: {problem}")
        except Refusal as problem:
            logging.error("%s", problem)
            return "421 4.3.0 Connection error: the server does not answer"
        envelope.rcpt_tos.append(user["name"])
        envelope.rcpt_options.append(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        """Deliver to each recipient; each gets an answer of its own."""
        content = envelope.original_content or b""
        kind = "junk" if self._is_spam(content) else "inbox"
        work = asyncio.ensure_future(self._delivered(content, kind, envelope.rcpt_tos, envelope.mail_from or ""))
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        return "\r\n".join(await asyncio.shield(work))

    async def finish(self, seconds: float) -> None:
        """Let deliveries end that have begun."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def _delivered(self, content: bytes, kind: str, users: list[str], sender: str) -> list[str]:
        return [await self._deliver(content, kind, user, sender) for user in users]

    async def _deliver(self, content: bytes, kind: str, user: str, sender: str) -> str:
        try:
            await self._asked(lambda client: client.call("message.add", content or b"\r\n", user=user, kind=kind))
        except RpcError as problem:
            logging.error("No delivery to %s: %s", user, problem)
            if problem.code == "over_quota":
                return _line(f"552 5.2.2 {problem}")
            if problem.code == "too_large":
                return _line(f"552 5.3.4 {problem}")
            return _line(f"421 4.3.0 {problem}")
        except Refusal as problem:
            logging.error("No delivery to %s: %s", user, problem)
            return "421 4.3.0 the server does not answer"
        notice("Delivered to %s (%s): from <%s>, %d bytes", user, kind, sender, len(content))
        return "250 2.1.5 Ok"

    def _is_spam(self, content: bytes) -> bool:
        name, value = self._spam
        return bool(name and value) and header.text(header.parse(content), name).lower().startswith(value)

    async def _asked(self, call: Callable[[Client], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, lambda: call(self._client()))

    def _client(self) -> Client:
        if not hasattr(self._local, "client"):
            self._local.client = service.client(self._config)
        client: Client = self._local.client
        return client


def _line(text: str) -> str:
    return " ".join(text.split()).encode("ascii", "replace").decode()[:500]
