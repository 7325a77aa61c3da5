"""Starts the calendar service."""

from __future__ import annotations

import os
import signal
import ssl
import threading

from kopano_lab import service
from kopano_lab.client import Client
from kopano_lab.config import Config
from kopano_lab.errors import Refusal, told
from kopano_lab.ical.app import FOLDER, Dav, own
from kopano_lab.ical.web import Web
from kopano_lab.log import notice
from kopano_lab.server import listeners

OPTIONS = {
    "enable_ical_get": "yes",
    "ical_listen": "*%lo:8080",
    "icals_listen": "",
    "ssl_certificate_file": "/etc/kopano/ical/cert.pem",
    "ssl_private_key_file": "/etc/kopano/ical/privkey.pem",
}


def main(arguments: list[str]) -> int:
    """Entry point of kopano-ical."""
    return told("kopano-ical", _run)


def _run() -> int:
    ending = service.Ending()
    config = service.load("ical", OPTIONS)
    Client(config.text("server_socket"))  # An address that is none is refused now.
    own(FOLDER)
    dav = Dav(config.text("server_socket"), FOLDER, "/caldav", "/ical" if config.flag("enable_ical_get") else "")
    for option, context in (("ical_listen", None), ("icals_listen", _context(config))):
        for listener in listeners.tcp(listeners.Address.parse(config.text(option), option)):
            web = Web(listener, dav, context)
            threading.Thread(target=web.serve_forever, daemon=True).start()
            notice("%s: ready on port %d", option, web.server_port)
    while True:
        with ending.waiting():
            signal.pause()


def _context(config: Config) -> ssl.SSLContext | None:
    if not config.text("icals_listen"):
        return None
    files = [config.text(option) for option in ("ssl_certificate_file", "ssl_private_key_file")]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(*files)
    except OSError as problem:
        raise Refusal(
            f"{' and '.join(files)} must hold the certificate and its private key, readable for uid {os.getuid()}, "
            f"for icals_listen: {problem}."
        ) from None
    return context
