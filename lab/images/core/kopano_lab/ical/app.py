"""Radicale as a WSGI application, with the directory's passwords.

Collections are files below one folder of the data volume, a folder for each user. Two containers may serve the same folder at
the same time: Radicale locks it for each request.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from radicale import config
from radicale.app import Application

from kopano_lab.client import Client
from kopano_lab.errors import Refusal
from kopano_lab.wire import RpcError

FOLDER = Path("/kopano/data/dav")
DEFAULTS = {
    "Calendar": {"tag": "VCALENDAR", "D:displayname": "Calendar", "C:supported-calendar-component-set": "VEVENT,VTODO,VJOURNAL"},
    "Contacts": {"tag": "VADDRESSBOOK", "D:displayname": "Contacts"},
}
"""The collections that a user has from the first log-in on."""

Environ = dict[str, Any]
Start = Callable[..., Any]


class Dav:
    """The application; `prefix` is the path that it is reached under, `whole` one under which a calendar is got as one file."""

    def __init__(self, server: str, folder: Path, prefix: str, whole: str = "") -> None:
        self._server = server
        self._prefix = prefix
        self._whole = whole
        self._local = threading.local()
        self._known: set[str] = set()
        settings = config.load()
        settings.update(
            {
                "auth": {"type": "remote_user"},
                "storage": {"filesystem_folder": str(folder)},
                "web": {"type": "none"},
                "rights": {"type": "owner_only"},
            },
            "the lab",
        )
        self._radicale = Application(settings)

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """One request."""
        path = environ.get("PATH_INFO", "")
        prefix = next((one for one in (self._prefix, self._whole) if one and (path == one or path.startswith(one + "/"))), None)
        if prefix is None:
            return _said(start, "404 Not Found", f"calendars are at {self._prefix}/USER/")
        try:
            user = self._user(environ)
            if user:
                self._prepare(user)
        except RpcError as problem:
            if problem.code == "logon_failed":
                user = ""
            else:
                return _said(start, "503 Service Unavailable", str(problem))
        except Refusal as problem:
            logging.error("%s", problem)
            return _said(start, "503 Service Unavailable", "the server does not answer: try again later")
        except OSError as problem:
            logging.error("The collections cannot be kept: %s", problem)
            return _said(start, "503 Service Unavailable", "the data volume cannot be written")
        if not user:
            return _said(start, "401 Unauthorized", "user and password", ("WWW-Authenticate", 'Basic realm="Kopano lab"'))
        inner = path.removeprefix(prefix) or "/"
        if prefix == self._whole:
            if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                return _said(start, "405 Method Not Allowed", "here a calendar can only be read")
            names = [name for name in inner.split("/") if name]
            inner = f"/{names[0] if names else user}/{names[1] if len(names) > 1 else 'Calendar'}/"
        environ |= {"SCRIPT_NAME": self._prefix, "PATH_INFO": inner, "REMOTE_USER": user}
        # The name under which the proxy reaches this service is no part of the addresses.
        environ.pop("HTTP_X_SCRIPT_NAME", None)
        answer: Iterable[bytes] = self._radicale(environ, start)
        return answer

    def _user(self, environ: Environ) -> str:
        """Who shows a right password; nobody, if none is shown. Asked anew each time: a changed password counts at once."""
        kind, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind.lower() != "basic":
            return ""
        try:
            name, found, password = base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        if not (name and found and password):
            return ""
        if not hasattr(self._local, "server"):
            self._local.server = Client(self._server)
        server: Client = self._local.server
        user: str = server.log_on(name, password)["user"]
        server.log_off()
        return user

    def _prepare(self, user: str) -> None:
        """The first time, give the user a calendar and an address book."""
        if user in self._known:
            return
        storage = self._radicale._storage
        with storage.acquire_lock("w", user):
            if not next(iter(storage.discover(f"/{user}/")), None):
                storage.create_collection(f"/{user}/")
                for name, properties in DEFAULTS.items():
                    storage.create_collection(f"/{user}/{name}/", props=properties)
        self._known.add(user)


def own(folder: Path) -> None:
    """Make the folder of the collections, as the user that serves them."""
    try:
        os.umask(0o077)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Refusal(f"{folder} cannot be made ({problem.strerror}): mount the data volume there, writable.") from problem


def _said(start: Start, status: str, text: str, *headers: tuple[str, str]) -> list[bytes]:
    body = f"{text}\n".encode()
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *headers])
    return [body]
