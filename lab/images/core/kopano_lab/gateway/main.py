"""Starts the gateway."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import protocol, reactor
from twisted.logger import STDLibLogObserver, globalLogBeginner

from kopano_lab import service
from kopano_lab.client import Client
from kopano_lab.config import Config
from kopano_lab.errors import Refusal, told
from kopano_lab.gateway.account import Account
from kopano_lab.gateway.imap import Imap, Limits
from kopano_lab.gateway.pop import Pop
from kopano_lab.log import notice
from kopano_lab.server import listeners

OPTIONS = {
    "disable_plaintext_auth": "no",
    "imap_capability_idle": "yes",
    "imap_listen": "*%lo:143",
    "imap_max_fail_commands": "10",
    "imap_max_messagesize": "128M",
    "imap_only_mailfolders": "yes",
    "imaps_listen": "",
    "pop3_listen": "*%lo:110",
    "pop3s_listen": "",
    "ssl_certificate_file": "/etc/kopano/gateway/cert.pem",
    "ssl_private_key_file": "/etc/kopano/gateway/privkey.pem",
}
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_THREADS = 20


def main(arguments: list[str]) -> int:
    """Entry point of kopano-gateway."""
    return told("kopano-gateway", _run)


def _run() -> int:
    config = service.load("gateway", OPTIONS)
    limits = Limits(
        size(config.text("imap_max_messagesize")),
        config.number("imap_max_fail_commands"),
        config.flag("imap_capability_idle"),
        config.flag("disable_plaintext_auth"),
    )
    globalLogBeginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False, discardBuffer=True)
    context = _context(config)
    only_mail = config.flag("imap_only_mailfolders")

    def accounts(name: str, user: str, secret: str, token: bool = False) -> Account:
        return Account(Client(config.text("server_socket")), name, user, secret, only_mail, token)

    def imap() -> Imap:
        return Imap(partial(accounts, "imap"), limits, context)

    def pop() -> Pop:
        return Pop(partial(accounts, "pop3"))

    Client(config.text("server_socket"))  # An address that is none is refused now.
    for option, make, secure in (
        ("imap_listen", imap, False),
        ("pop3_listen", pop, False),
        ("imaps_listen", imap, True),
        ("pop3s_listen", pop, True),
    ):
        for listener in listeners.tcp(listeners.Address.parse(config.text(option), option)):
            notice("%s: ready on port %d", option, listener.getsockname()[1])
            _serve(listener, make, context if secure else None)
    reactor.suggestThreadPoolSize(_THREADS)
    reactor.run()
    return 0


class _Factory(protocol.Factory):
    noisy = False

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def buildProtocol(self, address: Any) -> Any:
        made = self._make()
        made.factory = self
        return made


def _serve(listener: socket.socket, make: Callable[[], Any], context: Any) -> None:
    factory: Any = _Factory(make)
    if context:
        from twisted.protocols.tls import TLSMemoryBIOFactory

        factory = TLSMemoryBIOFactory(context, False, factory)
    listener.setblocking(False)
    reactor.adoptStreamPort(listener.fileno(), listener.family, factory)
    listener.close()  # Twisted has a copy.


def _context(config: Config) -> Any:
    """TLS, if the options name a key and a certificate that are there."""
    wanted = [option for option in ("imaps_listen", "pop3s_listen") if config.text(option)]
    files = [config.text(option) for option in ("ssl_private_key_file", "ssl_certificate_file")]
    missing = [path for path in files if not os.access(path, os.R_OK)]
    if missing:
        if wanted or any(option in config.given for option in ("ssl_private_key_file", "ssl_certificate_file")):
            raise Refusal(
                f"{missing[0]} cannot be read by uid {os.getuid()}: give key and certificate in "
                "KCCONF_GATEWAY_SSL_PRIVATE_KEY_FILE and KCCONF_GATEWAY_SSL_CERTIFICATE_FILE."
            )
        return None
    # Only with TLS: the library takes memory.
    from OpenSSL import SSL
    from twisted.internet import ssl

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    try:
        context.use_certificate_chain_file(files[1])
        context.use_privatekey_file(files[0])
        context.check_privatekey()
    except SSL.Error:
        raise Refusal(f"{files[0]} and {files[1]} must hold a private key and its certificate in PEM form.") from None

    class Ready(ssl.ContextFactory):
        def getContext(self) -> Any:
            return context

    return Ready()


def size(text: str) -> int:
    """A number of bytes, such as 128M."""
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].upper() in "KMG" and text else (text, "")
    if not number.isascii() or not number.isdigit():
        raise Refusal(f"gateway.cfg: imap_max_messagesize = '{text}' must be a number of bytes, such as 128M.")
    return int(number) * _UNITS[unit]
