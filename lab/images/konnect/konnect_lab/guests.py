"""Guests: a client signs a request object and so vouches for somebody without an account."""

from __future__ import annotations

import time
from typing import Any

from authlib.jose import JsonWebKey, JsonWebToken
from authlib.jose.errors import JoseError

from konnect_lab.clients import Application
from konnect_lab.people import Person

_ALGORITHMS = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]


def vouched_for(client: Application, request_object: str, scope: str) -> Person | None:
    """The guest that the request object names, if it is signed by the client's key and the client asks for a guest."""
    if "konnect/guestok" not in scope.split() or not client.jwks or client.request_algorithm not in _ALGORITHMS:
        return None
    try:
        # Only the algorithm that the client registered.
        claims = JsonWebToken([client.request_algorithm]).decode(request_object, JsonWebKey.import_key_set(client.jwks))
        claims.validate()
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    asked = claims.get("claims")
    wanted = asked.get("id_token") if isinstance(asked, dict) else None
    guest = _value(wanted, "guest")
    if not guest or claims.get("client_id") != client.id:
        return None
    passthru = asked.get("passthru")
    return Person(
        id=guest,
        username="",
        name=_value(wanted, "name") or "Guest",
        email=_value(wanted, "email"),
        since=int(time.time()),
        guest=True,
        passthru=passthru if isinstance(passthru, dict) else None,
    )


def _value(wanted: Any, claim: str) -> str:
    entry = wanted.get(claim) if isinstance(wanted, dict) else None
    value = entry.get("value") if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""
