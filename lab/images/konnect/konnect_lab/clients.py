"""Applications that may send users here to log in."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.rfc6749 import ClientMixin
from kopano_lab.errors import Refusal

from konnect_lab.keys import Seal
from konnect_lab.settings import LOCAL, Settings, read_yaml, unusable

_KNOWN = {
    "id", "secret", "trusted", "trusted_scopes", "insecure", "contacts", "name", "uri", "grant_types", "application_type",
    "redirect_uris", "origins", "jwks", "id_token_signed_response_alg", "userinfo_signed_response_alg",
    "request_object_signing_alg", "token_endpoint_auth_method", "token_endpoint_auth_signing_alg",
    "post_logout_redirect_uris",
}  # fmt: skip
DYNAMIC = "dyn."


@dataclass
class Application(ClientMixin):  # type: ignore[misc]
    """A client in the sense of OAuth. Trusted ones need no consent."""

    id: str
    name: str = ""
    secret: str = ""
    trusted: bool = False
    insecure: bool = False
    native: bool = False
    registered: bool = True
    redirects: list[str] = field(default_factory=list)
    signed_out: list[str] = field(default_factory=list)
    trusted_scopes: list[str] = field(default_factory=list)
    jwks: dict[str, Any] = field(default_factory=dict)
    request_algorithm: str = ""
    home: str = ""
    """The origin that an application which is not registered must be at home at."""

    def get_client_id(self) -> str:
        """Its id."""
        return self.id

    def get_default_redirect_uri(self) -> str | None:
        """Every request must name its own."""
        return None

    def get_allowed_scope(self, scope: str) -> str:
        """What a person may be given is decided with the token."""
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether users may be sent there."""
        return self._may(redirect_uri, self.redirects)

    def check_signed_out_uri(self, uri: str) -> bool:
        """Whether users may be sent there after they have signed out."""
        return self._may(uri, self.signed_out or self.redirects)

    def check_client_secret(self, client_secret: str) -> bool:
        """A client that has no secret may send any, as with Konnect."""
        return not self.secret or hmac.compare_digest(self.secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """A client that has a secret must show it, but not where no secret is ever sent."""
        return method != "none" or not self.secret

    def check_response_type(self, response_type: str) -> bool:
        """All flows."""
        return True

    def check_grant_type(self, grant_type: str) -> bool:
        """All grants that there are."""
        return True

    def _may(self, uri: str, listed: list[str]) -> bool:
        try:
            parts = urlsplit(uri)
            bare = parts._replace(query="", fragment="")
        except ValueError:
            return False
        if parts.fragment or not parts.scheme or parts.scheme in ("javascript", "data", "vbscript", "file"):
            return False
        if self.home:
            return f"{parts.scheme}://{parts.netloc}" == self.home
        if self.insecure and not listed:
            return bool(parts.netloc)
        if self.native and parts.scheme == "http" and parts.hostname in LOCAL:
            return any(_same_but_port(parts.path, urlsplit(one)) for one in listed)
        return bare.geturl() in listed


class Registry:
    """The registered clients, and those that need not be."""

    def __init__(self, settings: Settings, seal: Seal) -> None:
        parts = urlsplit(settings.issuer)
        self._home = f"{parts.scheme}://{parts.netloc}"
        self._seal = seal
        self._dynamic = settings.registering
        self._secret_key = settings.encryption_key
        self._clients = _registered(settings)
        meet = f"kpop-{self._home}/meet/"
        if settings.guests and not self._clients.get(meet, Application("")).jwks:
            raise Refusal(
                f"allow_client_guests is 'yes', but {settings.registration} has no client '{meet}' with 'jwks' and "
                "'request_object_signing_alg': add it, or set allow_client_guests to no.",
                64,
            )

    def find(self, client_id: str) -> Application | None:
        """A registered client, a dynamic one, or else one that is trusted because it lives where the provider lives."""
        if client_id in self._clients:
            return self._clients[client_id]
        if client_id.startswith(DYNAMIC):
            record = self._seal.open("client", client_id[len(DYNAMIC) :]) if self._dynamic else None
            return self._dynamic_client(client_id, record) if record else None
        return Application(client_id, name=client_id, trusted=True, registered=False, home=self._home) if client_id else None

    def register(self, metadata: dict[str, Any], seconds: int) -> Application:
        """A new dynamic client: its id is a sealed copy of what it said, so that nothing needs to be kept."""
        redirects = metadata.get("redirect_uris")
        native = metadata.get("application_type", "web") == "native"
        if not isinstance(redirects, list) or not redirects or not all(_registrable(one, native) for one in redirects):
            raise ValueError("redirect_uris must list https addresses (a native application: http://localhost)")
        record = {"name": str(metadata.get("client_name", ""))[:200], "redirects": redirects, "native": native}
        client_id = DYNAMIC + self._seal.close("client", record, seconds)
        return self._dynamic_client(client_id, record)

    def _dynamic_client(self, client_id: str, record: dict[str, Any]) -> Application:
        secret = hmac.new(self._secret_key, client_id.encode(), hashlib.sha256).hexdigest()
        return Application(
            client_id, record["name"], secret, native=record["native"], registered=False, redirects=record["redirects"]
        )


def _registrable(uri: object, native: bool) -> bool:
    if not isinstance(uri, str):
        return False
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if parts.fragment:
        return False
    if native:
        return parts.scheme == "http" and parts.hostname in LOCAL
    return parts.scheme == "https" and bool(parts.hostname) and parts.hostname not in LOCAL


def _same_but_port(path: str, registered: Any) -> bool:
    return registered.scheme == "http" and registered.hostname in LOCAL and registered.path in ("", path)


def _registered(settings: Settings) -> dict[str, Application]:
    where = f"identifier_registration_conf names {settings.registration}"
    content = read_yaml(settings.registration, "identifier_registration_conf")
    if content.get("authorities"):
        raise Refusal(f"{where}: 'authorities' is set: the lab has no other provider behind it: remove it.", 64)
    listed = content.get("clients") or []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) and entry.get("id") for entry in listed):
        raise Refusal(f"{where}: 'clients' must be a list of mappings that have an 'id'.", 64)
    found = {}
    for entry in listed:
        unknown = sorted(set(entry) - _KNOWN)
        if unknown:
            raise Refusal(f"{where}: client '{entry['id']}' has '{unknown[0]}': allowed are {', '.join(sorted(_KNOWN))}.", 64)
        for name in ("redirect_uris", "origins", "trusted_scopes", "post_logout_redirect_uris"):
            if not isinstance(entry.get(name) or [], list):
                raise Refusal(f"{where}: client '{entry['id']}': '{name}' must be a list.", 64)
        if trouble := unusable(entry):
            raise Refusal(f"{where}: client '{entry['id']}': {trouble}.", 64)
        found[str(entry["id"])] = Application(
            id=str(entry["id"]),
            name=str(entry.get("name") or entry["id"]),
            secret=str(entry.get("secret") or ""),
            trusted=bool(entry.get("trusted")),
            insecure=bool(entry.get("insecure")),
            native=entry.get("application_type") == "native",
            redirects=[str(one) for one in entry.get("redirect_uris") or []],
            signed_out=[str(one) for one in entry.get("post_logout_redirect_uris") or []],
            trusted_scopes=[str(one) for one in entry.get("trusted_scopes") or []],
            jwks=entry.get("jwks") or {},
            request_algorithm=str(entry.get("request_object_signing_alg") or ""),
        )
    return found
