"""A call of a method: who calls, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kopano_lab.server.sessions import Session
from kopano_lab.wire import RpcError, Source

Content = bytes | Path | None


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: `admin` by its user on a socket file, or by its key over TLS."""

    where: str
    admin: bool = False
    name: str = ""


@dataclass
class Request:
    """One call of a method."""

    peer: Peer
    params: dict[str, Any]
    session: Session | None = None
    token: str = ""
    payload: Source | None = None
    size: int = 0
    content: Content = None

    @property
    def admin(self) -> bool:
        """Whether the caller may do everything."""
        return self.session.admin if self.session else self.peer.admin

    def text(self, name: str, default: str | None = None) -> str:
        """A parameter that is a text; with a default it may be empty or left out."""
        value = self.params.get(name, default)
        if not isinstance(value, str) or not (value or default is not None):
            raise RpcError("bad_request", f"parameter '{name}' must be a text")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """A parameter that is a number, not negative."""
        value = self.params.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise RpcError("bad_request", f"parameter '{name}' must be a number from 0 on")
        return value

    def optional(self, name: str) -> int | None:
        """A number that may be left out."""
        return None if self.params.get(name) is None else self.number(name)

    def numbers(self, name: str) -> list[int]:
        """A parameter that is a list of numbers."""
        value = self.params.get(name)
        if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
            raise RpcError("bad_request", f"parameter '{name}' must be a list of numbers")
        return value

    def texts(self, name: str) -> list[str]:
        """A parameter that is a list of texts, one at least."""
        value = self.params.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
            raise RpcError("bad_request", f"parameter '{name}' must be a list of texts, one at least")
        return value

    def flag(self, name: str) -> bool:
        """A parameter that is true or false; false when left out."""
        value = self.params.get(name, False)
        if not isinstance(value, bool):
            raise RpcError("bad_request", f"parameter '{name}' must be true or false")
        return value
