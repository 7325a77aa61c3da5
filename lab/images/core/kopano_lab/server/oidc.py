"""The OpenID provider: waits for it, knows its keys, and says whom an access token speaks for."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

try:
    import jwt
except ImportError:  # an image without the library: the server runs, as long as nothing asks for OpenID
    jwt = None  # type: ignore[assignment]

from kopano_lab.errors import Refusal
from kopano_lab.log import notice

ALGORITHMS = ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
SCOPE = "kopano/gc"
"""What a token must have been given for."""
_PATIENCE = 5
_REFRESH, _RETRY = 30, 5
"""Seconds until the next look for the keys, after one and after one in vain: anybody can send a token of an unknown key."""


class Denied(Exception):
    """A token that is no good; the reason is for the log."""


class Unreachable(Exception):
    """The provider's keys cannot be had."""


class Issuer:
    """The provider at an address; `insecure` leaves its certificate unchecked."""

    def __init__(self, address: str, insecure: bool) -> None:
        if jwt is None:
            raise Refusal("kcoidc_issuer_identifier is set, but this image has no library for OpenID (python3-jwt).", 255)
        if urlsplit(address).scheme != "https":
            raise Refusal(f"kcoidc_issuer_identifier = '{address}' must be an https:// address.", 255)
        self.address = address
        self._context = ssl.create_default_context()
        if insecure:
            logging.warning("OpenID provider %s: its certificate is not verified (kcoidc_insecure_skip_verify)", address)
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        self._keys: dict[str, Any] = {}
        self._next_look = float("-inf")
        self._lock = threading.Lock()

    def wait(self, seconds: int) -> None:
        """Wait until the provider is there; without it in time the server ends. 0 seconds: do not wait at all."""
        if seconds == 0:
            logging.warning("OpenID provider %s: not waited for", self.address)
            return
        deadline = time.monotonic() + seconds
        last = ""
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._load_keys(min(left, _PATIENCE))
            except (OSError, ValueError, KeyError, jwt.PyJWTError) as problem:
                reason = _reason(problem)
                if reason != last:
                    logging.warning("OpenID provider %s is not ready: %s", self.address, reason)
                last = reason
                time.sleep(min(1, max(left, 0)))
            else:
                notice("OpenID provider %s is ready", self.address)
                return
        raise Refusal(
            f"OpenID provider {self.address} (KCCONF_SERVER_KCOIDC_ISSUER_IDENTIFIER) was not ready within {seconds} seconds: "
            f"{last}.",
            255,
        )

    def identity(self, token: str) -> str:
        """The identity of the user whom an access token speaks for; raises Denied or Unreachable."""
        try:
            key = self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self.address,
                # The audience is the client, of which there can be any number: what counts here is the scope.
                options={"verify_aud": False, "require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        # A header may name an algorithm for which the key is of the wrong kind.
        except (jwt.PyJWTError, TypeError) as problem:
            raise Denied(str(problem)) from problem
        if claims.get("kc.isAccessToken") is not True:
            raise Denied("this is no access token")
        if SCOPE not in (claims.get("kc.authorizedScopes") or []):
            raise Denied(f"it was not given for {SCOPE}")
        who = claims.get("kc.identity") or {}
        if who.get("kc.i.guest") or not isinstance(who.get("kc.i.id"), str):
            raise Denied("it speaks for no user")
        return str(who["kc.i.id"])

    def _key(self, kid: str) -> Any:
        with self._lock:
            if kid not in self._keys and time.monotonic() >= self._next_look:
                try:
                    self._load_keys(_PATIENCE)
                    self._next_look = time.monotonic() + _REFRESH
                except (OSError, ValueError, KeyError, jwt.PyJWTError) as problem:
                    self._next_look = time.monotonic() + _RETRY
                    raise Unreachable(f"the keys of {self.address} cannot be had: {_reason(problem)}") from problem
            if not self._keys:
                raise Unreachable(f"the keys of {self.address} could not be had a moment ago")
            if kid not in self._keys:
                raise Denied("the provider has no such key")
            return self._keys[kid]

    def _load_keys(self, timeout: float) -> None:
        found = self._json(self.address.rstrip("/") + "/.well-known/openid-configuration", timeout)
        if found["issuer"] != self.address:
            raise ValueError(f"it calls itself '{found['issuer']}'")
        listed = self._json(found["jwks_uri"], timeout)["keys"]
        self._keys = {key["kid"]: jwt.PyJWK(key).key for key in listed if key.get("kid")}

    def _json(self, url: str, timeout: float) -> dict[str, Any]:
        if urlsplit(url).scheme != "https":
            raise ValueError(f"{url} is no https:// address")
        with urllib.request.urlopen(url, timeout=timeout, context=self._context) as answer:  # noqa: S310 - https alone
            document = json.load(answer)
        if not isinstance(document, dict):
            raise ValueError(f"{url} is not a JSON object")
        return document


def _reason(problem: Exception) -> str:
    return str(getattr(problem, "reason", problem)) or type(problem).__name__
