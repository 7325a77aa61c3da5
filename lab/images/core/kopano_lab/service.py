"""What the services beside the server share: options, the way to the server, and their end."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from kopano_lab import VERSION, log, privileges, waits
from kopano_lab.client import Client
from kopano_lab.config import Config, known_options
from kopano_lab.errors import Refusal
from kopano_lab.log import notice
from kopano_lab.wire import RpcError

FOLDER = Path("/tmp/kopano")
PATIENCE = 360
SOCKET = "/run/kopano/server.sock"
DEFAULTS = {"log_level": "3", "log_timestamp": "1", "server_socket": "default:"}
"""Options that every service has, with the published defaults."""
KEY = {"sslkey_file": ""}
"""Options of a service that logs on by its key."""


def prepare(name: str, environ: Mapping[str, str], checks: bool) -> None:
    """Drop to kopano and wait for the server, as the published entry point does before it starts a service."""
    privileges.drop()
    if checks:
        wait_for_server(environ.get(f"KCCONF_{name.upper()}_SERVER_SOCKET", ""), f"KCCONF_{name.upper()}_SERVER_SOCKET")


def wait_for_server(url: str, variable: str) -> None:
    """Wait until the server's socket file is there, or something listens on its port."""
    parts = urlsplit(url if url not in ("", "default:") else f"file://{SOCKET}")
    if parts.scheme == "file":
        waits.for_sockets([parts.path], PATIENCE)
    elif parts.scheme in ("http", "https") and parts.hostname:
        port = parts.port or (236 if parts.scheme == "http" else 237)
        waits.for_tcp(parts.hostname, str(port), PATIENCE, f"the server ({variable})")
    else:
        raise Refusal(
            f"{variable}='{url}' is no address of a server: allowed are default:, file:///PATH, http://HOST:236/ and "
            "https://HOST:237/."
        )


def load(name: str, defaults: Mapping[str, str]) -> Config:
    """Read the service's options, set up its log, and say that it starts."""
    defaults = DEFAULTS | dict(defaults)
    try:
        config = Config.load(FOLDER / f"{name}.cfg", defaults, known_options(name))
        # Wrong numbers and flags show up now and not at the first use.
        for option, default in defaults.items():
            if default in ("yes", "no"):
                config.flag(option)
            elif default.isdigit():
                config.number(option)
    except Refusal as refusal:
        raise Refusal(str(refusal)) from refusal
    log.setup(config.number("log_level"), config.flag("log_timestamp"))
    notice("Starting kopano-%s %s, a stand-in and not Kopano (pid %d uid %d)", name, VERSION, os.getpid(), os.getuid())
    if idle := config.without_effect():
        notice("%s: accepted, but without effect in the lab: %s", config.file, ", ".join(idle))
    return config


def client(config: Config) -> Client:
    """A connection to the server with the service's rights: by its user on a socket file, or by its key."""
    url = config.text("server_socket")
    return Client(url, config.text("sslkey_file") if url.startswith("https:") else "")


class Ending:
    """SIGTERM and SIGINT: a service ends at once where it waits, and else when the work in hand is done."""

    def __init__(self) -> None:
        self._asked = self._waits = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ask())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _ask(self) -> None:
        self._asked = True
        if self._waits:
            raise SystemExit(0)

    def check(self) -> None:
        """A place between two pieces of work."""
        if self._asked:
            raise SystemExit(0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A place where nothing is lost by an end."""
        self._waits = True
        try:
            self.check()
            yield
        finally:
            self._waits = False

    def sleep(self, seconds: float) -> None:
        """Wait so long."""
        with self.waiting():
            time.sleep(seconds)

    def repeat(self, action: Callable[[], None], pause: float) -> NoReturn:
        """Repeat the action for ever; a server that does not answer is told once, and asked again after the pause."""
        told = ""
        while True:
            try:
                action()
                if told:
                    notice("The server answers again")
                told = ""
            except (Refusal, RpcError) as problem:
                if str(problem) != told:
                    logging.error("%s - trying again every %g s", str(problem).rstrip("."), pause)
                told = str(problem)
                self.sleep(pause)
            self.check()
