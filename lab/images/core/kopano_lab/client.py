"""Talks to the server: over its sockets, or over HTTP and HTTPS.

A service uses it like this; other images may take this module with `wire` and `errors`, which need the standard library alone:

    server = Client("https://kopano_server:237/", key_file="/kopano/ssl/kopano_dagent.pem")   # or Client("default:")
    server.log_on("user1")                       # as a user whom an OpenID provider has authenticated: no password
    server.user("user1")                         # log-in name, full name, e-mail address, ...
    inbox = server.folder("inbox")
    for message in server.messages(inbox["id"], newest=10):
        known, content = server.read(message["id"])

Every method raises `wire.RpcError` (its `code` says why) when the server refuses, `errors.Refusal` when it does not answer.
A client is for one thread at a time.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from kopano_lab import wire
from kopano_lab.errors import Refusal

DEFAULT = "file:///var/run/kopano/server.sock"
CA_FILE = "/kopano/ssl/ca.pem"


class Client:
    """A connection to the server; `key_file` (key and certificate) is for service log-on over https.

    Before a log-on, the calls of a trusted service (by its user on server.sock, or by its key) are those of an administrator, who
    names the user in `user=`; after one, they are those of the user who is logged on.
    """

    def __init__(self, url: str = "default:", key_file: str = "", ca_file: str = CA_FILE, timeout: float = 60) -> None:
        self.url = DEFAULT if url in ("", "default:") else url
        self.session = ""
        self._connection = _connection(self.url, key_file, ca_file, timeout)

    def call(self, method: str, payload: bytes = b"", **params: Any) -> tuple[Any, bytes]:
        """Call a method; gives its result and the bytes that follow it."""
        head = {"method": method, "params": params, "session": self.session}
        try:
            body = self._posted(wire.pack(head) + payload)
        except (OSError, http.client.HTTPException) as problem:
            self._connection.close()
            reason = str(problem) or type(problem).__name__
            raise Refusal(f"the server does not answer on {self.url}: {reason}.") from problem
        answer, rest = wire.unpack(io.BytesIO(body), len(body), most=len(body))
        if "error" in answer:
            raise wire.RpcError(answer["error"]["code"], answer["error"]["message"])
        return answer["result"], body[len(body) - rest :]

    def log_on(self, user: str, password: str | None = None, service: str = "", token: str | None = None) -> dict[str, Any]:
        """Be this user from now on; gives `user`, the log-in name as the directory writes it, and `admin`.

        In place of a password there can be an access token of the OpenID provider, and then the user may be empty. With neither
        only a trusted service may do this, for somebody whom another authority has authenticated. `service` (`imap`, `pop3`) is
        refused with `forbidden` to whom that feature is switched off.
        """
        self.session = ""
        params: dict[str, Any] = {"user": user, "service": service}
        params |= {} if password is None else {"password": password}
        params |= {} if token is None else {"token": token}
        opened: dict[str, Any] = self.call("logon", **params)[0]
        self.session = opened["session"]
        return {"user": opened["user"], "admin": opened["admin"]}

    def log_off(self) -> None:
        """End the session, if there is one."""
        if self.session:
            try:
                self.call("logoff")
            finally:
                self.session = ""

    def close(self) -> None:
        """Close the connection; the next call opens it anew."""
        self._connection.close()

    def user(self, name: str) -> dict[str, Any]:
        """What is known of a user: `name`, `fullname`, `email`, `externid`, `class`, `admin`, `size`, `properties`, ...

        A user who is logged on sees the own details alone.
        """
        found: dict[str, Any] = self.call("user.details", user=name)[0]
        return found

    def folders(self, **params: Any) -> list[dict[str, Any]]:
        """The folders of the store: `id`, `parent`, `name`, `kind` (`inbox`, `sentmail`, ... or empty), `messages`, `unseen`."""
        found: list[dict[str, Any]] = self.call("folder.list", **params)[0]
        return found

    def folder(self, kind: str, **params: Any) -> dict[str, Any]:
        """The folder that every store has by this kind, such as `inbox`, `outbox`, `sentmail`, `drafts`, `wastebasket`."""
        return next(folder for folder in self.folders(**params) if folder["kind"] == kind)

    def messages(self, folder: int, newest: int | None = None, **params: Any) -> list[dict[str, Any]]:
        """The messages of a folder in the order of their arrival, all or the newest ones.

        Each has `id`, `uid`, `flags` (as IMAP names them, with spaces between), `received` (seconds since 1970), `sender`,
        `subject`, `size`.
        """
        limit: dict[str, Any] = {} if newest is None else {"newest": newest}
        found: list[dict[str, Any]] = self.call("message.list", folder=folder, **limit, **params)[0]
        return found

    def read(self, message: int, header: bool = False, **params: Any) -> tuple[dict[str, Any], bytes]:
        """A message: what is known of it, and its bytes.

        Known are `id`, `folder`, `uid`, `flags`, `received`, `sender`, `subject`, `size`. With `header` the bytes are those of
        the header alone.
        """
        return self.call("message.read", message=message, header=header, **params)

    def submit(self, content: bytes, recipients: list[str]) -> dict[str, int]:
        """Put a mail into the user's Outbox, from where the spooler sends it to these addresses; gives its id and uid."""
        kept: dict[str, int] = self.call("message.submit", content, recipients=recipients)[0]
        return kept

    def _posted(self, body: bytes) -> bytes:
        kept_open = self._connection.sock is not None
        try:
            self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
            return self._connection.getresponse().read()
        except (BrokenPipeError, ConnectionResetError):
            if not kept_open:
                raise
        # The server closes connections that were idle; it has not seen this call.
        self._connection.close()
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        return self._connection.getresponse().read()


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(url: str, key_file: str, ca_file: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _SocketConnection(parts.path, timeout)
    if parts.scheme == "http" and parts.hostname:
        return http.client.HTTPConnection(parts.hostname, parts.port or 236, timeout=timeout)
    if parts.scheme == "https" and parts.hostname:
        try:
            context = ssl.create_default_context(cafile=ca_file)
            if key_file:
                context.load_cert_chain(key_file)
        except OSError as problem:
            raise Refusal(f"{key_file or ca_file} or {ca_file} cannot be used: {problem}.") from problem
        return http.client.HTTPSConnection(parts.hostname, parts.port or 237, timeout=timeout, context=context)
    raise Refusal(
        f"'{url}' is no address of a server: allowed are default:, file:///PATH, http://HOST:236/ and https://HOST:237/."
    )
