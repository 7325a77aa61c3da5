"""Guests: this server vouches for them towards the OpenID provider, for one public room each."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import jwt
import yaml
from kopano_lab.errors import Refusal

CLAIM = "kopano/kwm/guest"
_MAX_NAME = 60


class Guests:
    """The rooms that are public, and the keys of the clients that may bring guests."""

    def __init__(self, registration: Path, public: re.Pattern[str] | None) -> None:
        self._public = public
        self._keys = _keys(registration)

    def logon(self, asked: dict[str, str]) -> dict[str, Any]:
        """A signed request with which the client sends the guest to the provider; PermissionError if there is none."""
        path, client = asked.get("path", "").strip(), asked.get("client_id", "")
        if asked.get("guest") != "1":
            raise ValueError("guest must be 1, the only kind of guest")
        if asked.get("token"):
            raise ValueError("invitations by token are not there")
        if not path or not client:
            raise ValueError("client_id and path must be given")
        if not self._public or not self._public.search(path) or client not in self._keys:
            raise PermissionError
        key, algorithm, kid = self._keys[client]
        identifier = f"{secrets.token_urlsafe(24)}@1.kwmguest"
        name = f"(Guest) {' '.join(asked.get('name', '').split())[:_MAX_NAME] or 'Somebody'}"
        claims = {
            "id_token": {"guest": {"essential": True, "value": identifier}, "name": {"value": name}},
            "passthru": {CLAIM: {"type": "1", "path": path}},
        }
        request = {
            "client_id": client,
            "response_type": asked.get("response_type", ""),
            "scope": asked.get("scope", ""),
            "claims": claims,
        }
        signed = jwt.encode(request, key, algorithm=algorithm, headers={"kid": kid} if kid else None)
        return {"ok": True, "eqp": {"request": signed}, "id": identifier, "name": asked.get("name", "")}


def room(claims: dict[str, Any]) -> str:
    """The one room that a guest's token is good for."""
    authorized = claims.get("kc.authorizedClaims") or {}
    granted = (authorized.get("passthru") or {}).get(CLAIM) or {}
    return str(granted.get("path", "")) if granted.get("type") == "1" else ""


def _keys(registration: Path) -> dict[str, tuple[Any, str, str]]:
    where = f"registration_conf names {registration}"
    try:
        content = yaml.safe_load(registration.read_text("utf-8")) or {}
        clients = content.get("clients") or []
        found = {}
        for client in clients:
            keys = (client.get("jwks") or {}).get("keys") or []
            algorithm = client.get("request_object_signing_alg", "")
            if keys and keys[0].get("d") and algorithm:
                found[str(client["id"])] = (jwt.PyJWK(keys[0], algorithm).key, algorithm, str(keys[0].get("kid", "")))
    except OSError as problem:
        raise Refusal(f"{where}, which cannot be read: {problem.strerror}.", 64) from problem
    except (yaml.YAMLError, jwt.PyJWTError, AttributeError, KeyError, TypeError, ValueError) as problem:
        raise Refusal(f"{where}, which is no registration of clients as Konnect has it.", 64) from problem
    if not found:
        raise Refusal(
            f"{where}: no client there has a private key in 'jwks' and a 'request_object_signing_alg', so there can be no "
            "guests: add one, or set enable_guest_api to no.",
            64,
        )
    return found
