"""The OpenID provider: waits for it, knows its keys, and says what a bearer token is worth."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
from kopano_lab.errors import Refusal

ALGORITHMS = ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
TIMED_OUT = 123
_PATIENCE = aiohttp.ClientTimeout(total=10)
_REFRESH = 30
"""Seconds between two looks for a key that is not known: anybody can send a token that names one."""
_STALE = 60
"""Seconds after which the keys are looked up again, so that one that was taken away is not good for long."""


class Denied(Exception):
    """A token that is no good; the reason is for the log and for the client."""


class TooLittle(Exception):
    """A token that is good, but was not given for this."""


@dataclass(frozen=True)
class Bearer:
    """Whom a token speaks for."""

    subject: str
    client: str
    username: str
    user_id: str
    name: str
    guest: bool
    claims: dict[str, Any]


class Issuer:
    """The provider, as its discovery document describes it."""

    def __init__(self, address: str, insecure: bool) -> None:
        self.address = address
        self._context = _context(insecure)
        self._keys: dict[str, Any] = {}
        self._jwks = ""
        self._looked = 0.0
        self._lock = asyncio.Lock()

    async def wait(self, seconds: int, variable: str) -> None:
        """Wait until the provider is there."""
        deadline = time.monotonic() + seconds
        last = ""
        while True:
            try:
                await self._discover()
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TimeoutError) as problem:
                reason = str(problem) or type(problem).__name__
                if time.monotonic() > deadline:
                    raise Refusal(
                        f"the OpenID provider {self.address} ({variable}) is not ready, also after {seconds} seconds: {reason}.",
                        TIMED_OUT,
                    ) from problem
                if reason != last:
                    logging.warning("OpenID provider %s is not ready yet: %s", self.address, reason)
                last = reason
                await asyncio.sleep(1)
            else:
                logging.info("OpenID provider %s is ready", self.address)
                return

    async def bearer(self, header: str, scopes: tuple[str, ...] = ()) -> Bearer:
        """Whom the token in an Authorization header speaks for, if it was given for all these scopes."""
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Denied("a bearer token is needed")
        claims = await self._claims(token.strip())
        if claims.get("kc.isAccessToken") is not True:
            raise Denied("this is no access token")
        granted = claims.get("kc.authorizedScopes") or []
        missing = [scope for scope in scopes if scope not in granted]
        if missing:
            raise TooLittle(" ".join(scopes))
        identity = claims.get("kc.identity") or {}
        return Bearer(
            subject=claims["sub"],
            client=claims["aud"] if isinstance(claims["aud"], str) else " ".join(claims["aud"]),
            username=identity.get("kc.i.un", ""),
            user_id=identity.get("kc.i.id", ""),
            name=identity.get("kc.i.dn", ""),
            guest=identity.get("kc.i.guest") is True,
            claims=claims,
        )

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self.address,
                # The audience is the client, of which there can be any number: what counts here are the scopes.
                options={"verify_aud": False, "require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        # A header may name an algorithm for which the key is of the wrong kind.
        except (jwt.PyJWTError, TypeError) as problem:
            raise Denied(str(problem)) from problem
        return claims

    async def _key(self, kid: str) -> Any:
        if self._outdated(kid):
            async with self._lock:
                if self._outdated(kid):
                    try:
                        await self._load_keys()
                    except (aiohttp.ClientError, OSError, ValueError, KeyError, TimeoutError) as problem:
                        logging.warning("The keys of %s cannot be had: %s", self.address, problem)
        if kid not in self._keys:
            raise Denied("the provider has no such key")
        return self._keys[kid]

    def _outdated(self, kid: str) -> bool:
        return time.monotonic() - self._looked > (_STALE if kid in self._keys else _REFRESH)

    async def _discover(self) -> None:
        found = await self._json(self.address.rstrip("/") + "/.well-known/openid-configuration")
        if found["issuer"] != self.address:
            raise ValueError(f"it calls itself '{found['issuer']}'")
        self._jwks = found["jwks_uri"]
        if not self._jwks.startswith("https://"):
            raise ValueError("its keys are not at an https address")
        await self._load_keys()

    async def _load_keys(self) -> None:
        self._looked = time.monotonic()
        found = await self._json(self._jwks)
        self._keys = {key["kid"]: jwt.PyJWK(key).key for key in found["keys"] if key.get("kid")}

    async def _json(self, url: str) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE) as session,
            session.get(url, ssl=self._context, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"{url} answers {answer.status}")
            found = await answer.json(content_type=None)
        if not isinstance(found, dict):
            raise ValueError(f"{url} is no JSON object")
        return found


def _context(insecure: bool) -> ssl.SSLContext:
    file = os.environ.get("SSL_CERT_FILE")
    if file and not os.access(file, os.R_OK):
        raise Refusal(f"SSL_CERT_FILE names {file}, which cannot be read: mount it readable.", 64)
    context = ssl.create_default_context()
    if insecure:
        logging.warning("The provider's certificate is not verified (INSECURE)")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
