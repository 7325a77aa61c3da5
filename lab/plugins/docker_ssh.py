"""A Docker Engine over SSH, as a socket on this machine: each connection is one of `docker system dial-stdio` over there."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from lab.plugins.resource import Refusal

CONNECT_SECONDS = 30


def command(address: str) -> list[str]:
    """What is run for a connection to ssh://user@host:port. It asks nobody anything."""
    login, _, host = address.removeprefix("ssh://").rpartition("@")
    host, _, port = host.partition(":")
    words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    words += ["-l", login] if login else []
    words += ["-p", port] if port else []
    return [*words, "--", host, "docker", "system", "dial-stdio"]


class Tunnel:
    """The socket, as long as it is not closed. The library for Docker has a way of its own over SSH, but opens a new connection
    for every request, and starts Python in a copy of this process for it."""

    def __init__(self, address: str) -> None:
        if not shutil.which("ssh"):
            raise Refusal(f"the engine address {address!r} without the command ssh: install it (Debian: openssh-client)")
        self._command = command(address)
        self._folder = Path(tempfile.mkdtemp(prefix="kopano-docker-"))
        self._said = self._folder / "said"
        self._said.touch()
        self._running: list[subprocess.Popen[bytes]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self._folder / "socket"))
        self._socket.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the socket is."""
        return f"unix://{self._folder}/socket"

    @property
    def trouble(self) -> str:
        """What ssh said last, such as why it could not log in."""
        lines = [line.strip() for line in self._said.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def close(self) -> None:
        """End it with all of its connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._running = [process for process in self._running if process.poll() is None]
                with connection, self._said.open("ab") as said:
                    # Of a session of its own, so that an interruption ends it no earlier than the work.
                    process = subprocess.Popen(
                        self._command, stdin=connection.fileno(), stdout=connection.fileno(), stderr=said, start_new_session=True
                    )
                self._running.append(process)
