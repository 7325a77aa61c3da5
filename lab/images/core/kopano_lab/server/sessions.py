"""Who is logged on."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass

from kopano_lab.wire import RpcError


@dataclass
class Session:
    """A logged-on user."""

    user_id: int
    name: str
    admin: bool
    used: float


class Sessions:
    """Sessions end when nobody has used them for a while, and with the server."""

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def open(self, user_id: int, name: str, admin: bool) -> str:
        """A new session; gives its secret id."""
        token = secrets.token_hex(16)
        now = time.monotonic()
        with self._lock:
            self._sessions = {key: one for key, one in self._sessions.items() if now - one.used < self._timeout}
            self._sessions[token] = Session(user_id, name, admin, now)
        return token

    def use(self, token: str) -> Session:
        """The session with this id."""
        now = time.monotonic()
        with self._lock:
            session = self._sessions.get(token)
            if not session or now - session.used >= self._timeout:
                self._sessions.pop(token, None)
                raise RpcError("logon_failed", "the session has ended: log on again")
            session.used = now
        return session

    def close(self, token: str) -> None:
        """End the session, if there is one."""
        with self._lock:
            self._sessions.pop(token, None)
