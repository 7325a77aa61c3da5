"""What the lab's server and its clients say to each other over HTTP.

A request is a POST whose body is one line of JSON, `{"method", "params", "session"}`, followed by raw bytes where a
method takes a message. An answer is one line of JSON, `{"result"}` or `{"error": {"code", "message"}}`, followed by
raw bytes where a method gives one.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

MAX_HEAD = 1024 * 1024
STATUS = {
    "bad_request": 400,
    "logon_failed": 401,
    "forbidden": 403,
    "not_found": 404,
    "exists": 409,
    "too_large": 413,
    "misdirected": 421,
    "unavailable": 503,
    "directory_down": 503,
    "over_quota": 507,
}


class Source(Protocol):
    """What a body is read from."""

    def readline(self, size: int, /) -> bytes:
        """Read up to the end of the line, but no more than `size` bytes."""

    def read(self, size: int, /) -> bytes:
        """Read `size` bytes, fewer at the end."""


class RpcError(Exception):
    """An answer that is an error: its code is a key of STATUS."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def pack(head: dict[str, Any]) -> bytes:
    """The line of JSON that a body begins with."""
    return json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def unpack(stream: Source, length: int, most: int = MAX_HEAD) -> tuple[dict[str, Any], int]:
    """Read the line of JSON, `most` bytes at most; gives it and how many bytes of the body follow."""
    line = stream.readline(min(length, most))
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    if not isinstance(head, dict):
        raise RpcError("bad_request", "the body must begin with one line that is a JSON object")
    return head, length - len(line)
