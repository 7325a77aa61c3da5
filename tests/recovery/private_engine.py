"""A Docker Engine of a test's own, which may be stopped, filled up and restarted without anybody else noticing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
CLONE_NEWNET = 0x40000000


class PrivateEngine:
    """`dockerd` with folders, a socket and a network namespace of its own: its firewall rules and ports are nobody else's."""

    def __init__(self, folder: Path, options: Collection[str] = ()) -> None:
        self.name = f"kopano-{secrets.token_hex(4)}"
        self.folder = folder
        self._options = options
        self.host = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the engine and wait for it."""
        # Not by `ip netns exec`, which hides the control groups.
        command = ["nsenter", f"--net=/run/netns/{self.name}", "dockerd", "--host", self.host]
        command += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/run", "--pidfile", f"{self.folder}/pid"]
        command += self._options
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 60
        while subprocess.run(["docker", "--host", self.host, "version"], capture_output=True, check=False).returncode:
            assert time.monotonic() < end, (self.folder / "dockerd.log").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.5)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the engine, and with SIGTERM its containers."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(120)
            self._process = None

    def load(self, images: Collection[str]) -> None:
        """Bring images from this machine's engine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            loaded = ["docker", "--host", self.host, "load"]
            subprocess.run(loaded, stdin=saved.stdout, capture_output=True, check=True)
        assert saved.returncode == 0

    def inside(self, work: Callable[[], Result]) -> Result:
        """Do something whose connections are made in the engine's network namespace, where its ports are published."""
        return within(self.name, work)

    def enter(self) -> None:
        """Bring the calling thread into the engine's network namespace, for good."""
        enter(self.name)


def enter(name: str) -> None:
    """Bring the calling thread into a network namespace, for good."""
    with Path(f"/run/netns/{name}").open("rb") as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def within(name: str, work: Callable[[], Result]) -> Result:
    """Do something whose connections are made in a network namespace."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter(name)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@contextlib.contextmanager
def private_engine(*options: str) -> Iterator[PrivateEngine]:
    """An engine that runs while the block lasts, with more options of dockerd. Nothing of it stays."""
    # The paths of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="kpe-", dir="/var/tmp"))
    engine = PrivateEngine(folder, options)
    try:
        subprocess.run(["ip", "netns", "add", engine.name], check=True)
        subprocess.run(["ip", "-n", engine.name, "link", "set", "lo", "up"], check=True)
        engine.start()
        yield engine
    finally:
        engine.stop()
        subprocess.run(["ip", "netns", "delete", engine.name], check=False)
        for mount in sorted(_mounts_below(folder), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [path for path in (line.split()[1] for line in lines) if path.startswith(f"{folder}{os.sep}")]
