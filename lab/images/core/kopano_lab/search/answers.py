"""Answers on the service's socket, in the way of the server: `search.find` for the core's own services alone."""

from __future__ import annotations

import os
import socketserver
import sqlite3
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from kopano_lab import texts
from kopano_lab.search.index import Index
from kopano_lab.server import listeners
from kopano_lab.wire import MAX_HEAD, STATUS, RpcError, pack, unpack


class Answers(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The socket file; one that a killed predecessor left behind is replaced."""

    daemon_threads = True

    def __init__(self, path: Path, index: Index) -> None:
        super().__init__(str(path), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listeners.unix(path, 0o666)
        self.index = index

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away is its own affair."""


class _Handler(BaseHTTPRequestHandler):
    server: Answers
    server_version = "kopano-lab"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        """Calls are POST."""
        self._answer(405, b"")

    def do_POST(self) -> None:
        """A call."""
        try:
            self._answer(200, pack({"result": self._called()}))
        except RpcError as problem:
            self._answer(STATUS[problem.code], pack({"error": {"code": problem.code, "message": str(problem)}}))

    def _called(self) -> dict[str, Any]:
        if listeners.peer_uid(self.connection) not in (0, os.getuid()):
            raise RpcError("forbidden", "only the core's own services may search in all mailboxes")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and int(length) <= MAX_HEAD):
            raise RpcError("bad_request", "the request needs a Content-Length")
        head, _ = unpack(self.rfile, int(length))
        params = head.get("params")
        if head.get("method") != "search.find" or not isinstance(params, dict):
            raise RpcError("bad_request", "the one method is search.find")
        store, field, wanted = (str(params.get(name, "")) for name in ("store", "field", "text"))
        if field not in (*texts.FIELDS, "text"):
            raise RpcError("bad_request", f"parameter 'field' must be text or one of {', '.join(texts.FIELDS)}")
        try:
            found, upto = self.server.index.find(store, field, wanted)
        except sqlite3.Error as problem:
            raise RpcError("unavailable", f"the index cannot be read: {problem}") from problem
        return {"messages": found, "upto": upto}

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged one by one."""

    def address_string(self) -> str:
        """A socket file has no addresses."""
        return "local"

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
