"""SMTP with log-in, on the loopback address; a mail is acknowledged when it is in the Outbox."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import warnings
from base64 import b64decode
from collections.abc import Callable
from functools import partial
from typing import Any

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

from kopano_lab import sasl
from kopano_lab.client import Client
from kopano_lab.errors import Refusal, told
from kopano_lab.wire import RpcError

_LARGEST = 128 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "::1")
_TIMEOUT = 30
_TOKEN_LINE = 16 * 1024


def main(arguments: list[str]) -> int:
    """Entry point of the bridge."""
    return told("lab-bridge", lambda: asyncio.run(_run(arguments)))


async def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="kopano_lab.bridge", description="SMTP into the Outbox of the Kopano lab.")
    parser.add_argument("--listen", default="127.0.0.1:2525", help="loopback address and port (%(default)s)")
    parser.add_argument("--server", default="http://kopano_server:236/", help="address of the server (%(default)s)")
    options = parser.parse_args(arguments)
    host, _, port = options.listen.rpartition(":")
    if host.strip("[]") not in _LOOPBACK or not port.isdigit():
        raise Refusal(f"--listen {options.listen}: passwords come without TLS, so allowed is 127.0.0.1:PORT or [::1]:PORT.")
    Client(options.server)  # An address that is none is refused now.
    # The library warns at each connection of what is meant to be so here.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    bridge = Bridge(options.server)
    try:
        server = await loop.create_server(bridge.connection, host.strip("[]"), int(port))
    except OSError as problem:
        raise Refusal(f"cannot listen on {options.listen}: {problem.strerror}.") from problem
    print(f"lab-bridge: SMTP on {options.listen}, into the Outbox at {options.server}", flush=True)
    async with server:
        await ended.wait()
    return 0


class _Smtp(SMTP):
    # How much of a line is read: tokens are longer than any line of a mail may be.
    line_length_limit = _TOKEN_LINE


class Bridge:
    """Log-in and DATA."""

    def __init__(self, server: str) -> None:
        self._server = server

    def connection(self) -> SMTP:
        """One connection; nothing but the loopback address hears the passwords, so they need no TLS."""
        connection = _Smtp(
            self,
            data_size_limit=_LARGEST,
            auth_required=True,
            auth_require_tls=False,
            authenticator=self.authenticate,
            hostname="localhost",
            ident="Kopano lab",
            loop=asyncio.get_running_loop(),
        )
        connection.line_length_limit = SMTP.line_length_limit  # of a mail
        return connection

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        """The directory's password."""
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False)
        try:
            user, password = data.login.decode(), data.password.decode()
        except UnicodeDecodeError:
            return AuthResult(success=False)
        return self._authenticated(user, password=password)

    async def auth_XOAUTH2(self, server: SMTP, words: list[str]) -> AuthResult:
        """An access token of the OpenID provider."""
        try:
            response = await server.challenge_auth("") if len(words) == 1 else b64decode(words[1], validate=True)
            if response is MISSING:
                return AuthResult(success=False, handled=True)
            user, token = sasl.bearer(sasl.XOAUTH2, response)
        except ValueError:
            return AuthResult(success=False, handled=False, message="501 5.5.2 the log-in cannot be read")
        return await asyncio.to_thread(self._authenticated, user, token=token)

    def _authenticated(self, user: str, **secret: str) -> AuthResult:
        client = Client(self._server, timeout=_TIMEOUT)
        log_on = partial(client.log_on, user, **secret)
        try:
            log_on()
        except RpcError as problem:
            if problem.code == "logon_failed":
                return AuthResult(success=False)
            reason = "OpenID provider" if "token" in secret else "directory"
            return AuthResult(success=False, handled=False, message=f"454 4.7.0 the {reason} does not answer: try again later")
        except Refusal as problem:
            print(f"lab-bridge: {problem}", file=sys.stderr, flush=True)
            return AuthResult(success=False, handled=False, message="454 4.7.0 the server does not answer: try again later")
        # Kept for DATA, as the session at the server may have ended by then.
        return AuthResult(success=True, auth_data=(client, log_on))

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Put the mail into the Outbox."""
        try:
            client, log_on = session.auth_data
            content, recipients = envelope.original_content or b"", list(envelope.rcpt_tos)
            return await asyncio.to_thread(_submitted, client, log_on, content, recipients)
        except RpcError as problem:
            code = {"over_quota": "552 5.2.2", "too_large": "552 5.3.4"}.get(problem.code, "451 4.3.0")
            return f"{code} {problem}".encode("ascii", "replace").decode()
        except Refusal as problem:
            print(f"lab-bridge: {problem}", file=sys.stderr, flush=True)
            return "451 4.3.0 the server does not answer: try again later"


def _submitted(client: Client, log_on: Callable[[], object], content: bytes, recipients: list[str]) -> str:
    try:
        kept = client.submit(content, recipients)
    except RpcError as problem:
        if problem.code != "logon_failed":
            raise
        log_on()
        kept = client.submit(content, recipients)
    return f"250 2.0.0 Ok: in the Outbox as {kept['id']}"
