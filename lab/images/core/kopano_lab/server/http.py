"""HTTP on the server's sockets: POST is a call, everything else is refused."""

from __future__ import annotations

import logging
import shutil
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

from kopano_lab.server import clientkeys, listeners
from kopano_lab.server.mail import MAX_MESSAGE
from kopano_lab.server.rpc import Content, Peer, Request, Server
from kopano_lab.wire import MAX_HEAD, STATUS, RpcError, pack, unpack


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "kopano-lab"
    sys_version = ""
    # Sent in one piece: after the first of two small ones TCP would wait for the peer.
    wbufsize = 64 * 1024
    server: Listener

    def setup(self) -> None:
        """Name the peer before the first request."""
        self.request.settimeout(self.server.serving.idle)
        self.peer = self.server.identify(self.request)
        super().setup()

    def handle_one_request(self) -> None:
        """Idle connections hold a thread each, so they are closed soon."""
        self.connection.settimeout(self.server.serving.idle)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Answer methods other than POST here: the base class would call them not implemented."""
        if not super().parse_request():
            return False
        if self.command != "POST":
            self.send_response(405)
            self.send_header("Allow", "POST")
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            return False
        return True

    def do_POST(self) -> None:
        """A call of a method."""
        content: Content = None
        self.connection.settimeout(self.server.serving.patience)
        try:
            result, content = self._called()
            status, head = 200, pack({"result": result})
        except RpcError as problem:
            status, head = STATUS[problem.code], pack({"error": {"code": problem.code, "message": str(problem)}})
        except (TimeoutError, ConnectionError, ssl.SSLError):
            self.close_connection = True
            return
        except Exception:
            logging.exception("A call failed for a reason that the server does not know")
            status, head = 500, pack({"error": {"code": "internal", "message": "the server failed: see its log"}})
        if status != 200:
            self.close_connection = True  # Part of the request may not have been read.
        self._answer(status, head, content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged one by one."""

    def _called(self) -> tuple[Any, Content]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise RpcError("bad_request", "the request needs a Content-Length")
        if int(length) > MAX_MESSAGE + MAX_HEAD:
            raise RpcError("too_large", f"a request may have {MAX_MESSAGE} bytes")
        head, rest = unpack(self.rfile, int(length))
        params = head.get("params", {})
        if not isinstance(params, dict):
            raise RpcError("bad_request", "'params' must be a JSON object")
        request = Request(self.peer, params, token=str(head.get("session", "")), payload=self.rfile, size=rest)
        result = self.server.serving.rpc.call(str(head.get("method", "")), request)
        if rest and head.get("method") not in ("message.add", "message.submit"):
            self.close_connection = True
        return result, request.content

    def _answer(self, status: int, head: bytes, content: Content) -> None:
        size = content.stat().st_size if isinstance(content, Path) else len(content or b"")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(head) + size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(head)
        if isinstance(content, Path):
            with content.open("rb") as file:
                shutil.copyfileobj(file, self.wfile)
        elif content:
            self.wfile.write(content)


@dataclass(frozen=True)
class Serving:
    """What all listeners share: the server, the number of threads, and seconds of patience with a peer."""

    rpc: Server
    limit: threading.Semaphore
    idle: int
    patience: int


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves one listening socket, each connection in a thread of its own, up to a common limit."""

    daemon_threads = True
    where = "http"

    def __init__(self, listening: socket.socket, serving: Serving) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.serving = serving

    def identify(self, connection: socket.socket) -> Peer:
        """Who has connected."""
        return Peer(self.where)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for a free thread first."""
        self.serving.limit.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.serving.limit.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Free the thread afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.serving.limit.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away or fails the handshake is its own affair."""
        logging.debug("Connection on %s ended early", self.where, exc_info=True)


class SocketListener(Listener):
    """A socket file: root, kopano and the local administrators may do everything."""

    where = "socket"

    def __init__(self, listening: socket.socket, serving: Serving, admins: frozenset[int]) -> None:
        super().__init__(listening, serving)
        self._admins = admins

    def identify(self, connection: socket.socket) -> Peer:
        """The kernel tells the user."""
        uid = listeners.peer_uid(connection)
        return Peer(self.where, uid in self._admins, f"uid {uid}")


class TlsListener(Listener):
    """TLS: a client whose public key is known may do everything."""

    where = "https"

    def __init__(self, listening: socket.socket, serving: Serving, context: ssl.SSLContext, keys: Path) -> None:
        super().__init__(listening, serving)
        self._context = context
        self._keys = keys

    def get_request(self) -> tuple[socket.socket, Any]:
        """Leave the handshake to the connection's own thread."""
        connection, address = super().get_request()
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def identify(self, connection: socket.socket) -> Peer:
        """The certificate tells the key."""
        over_tls = cast(ssl.SSLSocket, connection)
        over_tls.do_handshake()
        certificate = over_tls.getpeercert(binary_form=True)
        name = clientkeys.name_of(certificate, self._keys) if certificate else None
        if certificate and not name:
            logging.warning("A client certificate is valid, but its public key is not in %s", self._keys)
        return Peer(self.where, name is not None, name or "")
