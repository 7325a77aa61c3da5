"""Serves a WSGI application on sockets, each request in a thread of its own."""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

_TIMEOUT = 30
_THREADS = 20


class Web(socketserver.ThreadingMixIn, WSGIServer):
    """One listening socket, with TLS if there is a context."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, application: Any, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = socket.gethostname(), listening.getsockname()[1]
        self.setup_environ()
        self.set_app(application)
        self._context = context
        self._limit = threading.Semaphore(_THREADS)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Leave the handshake to the request's own thread."""
        connection, address = super().get_request()
        connection.settimeout(_TIMEOUT)
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for a free thread first."""
        self._limit.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Free the thread afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._limit.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away or fails the handshake is its own affair."""
        logging.debug("A connection ended early", exc_info=True)


class _Handler(WSGIRequestHandler):
    server_version = "kopano-lab"
    sys_version = ""
    timeout = _TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:
        """The proxy in front logs requests."""
