"""What clients are told of the TURN server that relays their media."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

SECONDS = 3600


@dataclass(frozen=True)
class Turn:
    """A TURN server with which we share a secret, or a service that gives credentials."""

    uris: list[str] = field(default_factory=list)
    secret: bytes = field(default=b"", repr=False)
    service: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    async def config(self, user: str) -> dict[str, Any] | None:
        """Credentials for this user; none if the service does not give any."""
        return await self._asked(user) if self.service else self._made(user)

    def _made(self, user: str) -> dict[str, Any]:
        # The name says until when the password is good, and the TURN server computes the same one.
        name = f"{int(time.time()) + SECONDS}:{user}"
        digest = hmac.new(self.secret, name.encode(), hashlib.sha1).digest()
        return {"username": name, "password": base64.b64encode(digest).decode(), "ttl": SECONDS, "uris": self.uris}

    async def _asked(self, user: str) -> dict[str, Any] | None:
        # The service need not know who it is, only that it is the same one.
        known_as = base64.urlsafe_b64encode(hashlib.sha256(user.encode()).digest()).decode()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(
                    self.service,
                    auth=aiohttp.BasicAuth(self.user, self.password),
                    headers={"X-Kopano-KWM-User": known_as},
                ) as answer,
            ):
                found = await answer.json(content_type=None) if answer.status == 200 else {}
            return {
                "username": str(found["username"]),
                "password": str(found["password"]),
                "ttl": max(60, int(found["ttl"])),
                "uris": [str(uri) for uri in found["uris"]],
            }
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as problem:
            logging.error("The TURN service gives no credentials: %s", problem or type(problem).__name__)
            return None
