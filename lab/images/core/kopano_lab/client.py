"""Talks to the server: over its sockets, or over HTTP and HTTPS."""

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
    """A connection to the server; `key_file` (key and certificate) is for service log-on over https."""

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
        answer, rest = wire.unpack(io.BytesIO(body), len(body))
        if "error" in answer:
            raise wire.RpcError(answer["error"]["code"], answer["error"]["message"])
        return answer["result"], body[len(body) - rest :]

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
