"""Waits for files and peers, as the published entry point does."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial

from kopano_lab.errors import Refusal

TIMED_OUT = 123
_PAUSE = 0.2


def for_files(paths: list[str], seconds: float) -> None:
    """Wait until every file is there."""
    for path in paths:
        _until(partial(os.path.isfile, path), seconds, f"file {path} is not there")


def for_sockets(paths: list[str], seconds: float) -> None:
    """Wait until every socket file is there."""
    for path in paths:
        _until(partial(os.path.exists, path), seconds, f"socket {path} is not there")


def for_tcp(host: str, port: str, seconds: float, block: str) -> None:
    """Wait until something listens there."""
    _until(partial(_listens, host, port), seconds, f"{block} does not answer on {host}:{port}")


def _until(there: Callable[[], bool], seconds: float, problem: str) -> None:
    started = time.monotonic()
    announced = False
    while not there():
        if time.monotonic() - started > seconds:
            raise Refusal(f"{problem}, also after {seconds:.0f} seconds.", TIMED_OUT)
        if not announced and time.monotonic() - started > 2:
            print(f"waiting: {problem} yet ...", flush=True)
            announced = True
        time.sleep(_PAUSE)


def _listens(host: str, port: str) -> bool:
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError):
        return False
    return True
