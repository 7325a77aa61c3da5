"""The grants of the provider, on Authlib: which token is given to whom, and what is in it."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, InvalidRequestError, TokenMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode, OpenIDHybridGrant, OpenIDImplicitGrant
from flask import Flask

from konnect_lab.clients import Application, Registry
from konnect_lab.keys import Keys, Seal
from konnect_lab.people import Person

ACCESS_SECONDS = 600
ID_SECONDS = 3600
REFRESH_SECONDS = 30 * 24 * 3600
CODE_SECONDS = 120
BASE_SCOPES = ("openid", "profile", "email", "offline_access")
OWN_SCOPES = ("konnect/id", "konnect/uuid", "konnect/raw_sub", "konnect/guestok")
_GUEST_SCOPES = {"openid", "profile", "email", "konnect/guestok"}


class Tokens:
    """What is in the tokens. The claims that begin with `kc.` are those by which Kopano's services know a user."""

    def __init__(self, keys: Keys, seal: Seal, scopes: list[str]) -> None:
        self.keys = keys
        self.scopes = scopes
        self._seal = seal

    def allowed(self, client: Application, person: Person, scope: str) -> str:
        """The scopes that the person may pass on to the client; others are left out without a word, as with Konnect."""
        known = [one for one in dict.fromkeys(scope.split()) if one in self.scopes]
        if person.guest:
            known = [one for one in known if one in _GUEST_SCOPES or one in client.trusted_scopes]
        return " ".join(known)

    def access(self, client: Application, person: Person, scope: str) -> str:
        """An access token."""
        now = int(time.time())
        claims = {
            "iss": self.keys.issuer,
            "sub": subject(person, scope),
            "aud": client.id,
            "iat": now,
            "exp": now + ACCESS_SECONDS,
            "jti": secrets.token_urlsafe(18),
            "kc.isAccessToken": True,
            "kc.authorizedScopes": scope.split(),
            "kc.identity": identity(person),
            "kc.provider": "guest" if person.guest else "identifier-kc",
        }
        if person.passthru is not None:
            claims["kc.authorizedClaims"] = {"passthru": person.passthru}
        return self.keys.sign(claims)

    def refresh(self, client: Application, person: Person, scope: str) -> str:
        """A refresh token: nothing about it needs to be kept."""
        return self._seal.close("refresh", {"client": client.id, "person": person.record(), "scope": scope}, REFRESH_SECONDS)

    def refreshed(self, token: str) -> Grant | None:
        """What a refresh token stands for."""
        content = self._seal.open("refresh", token)
        return Grant(content["client"], Person.stored(content["person"]), content["scope"]) if content else None

    def profile(self, person: Person, scope: str) -> dict[str, Any]:
        """What the ID token and the userinfo endpoint say, by scope."""
        wanted = scope.split()
        said: dict[str, Any] = {"sub": subject(person, scope)}
        if "profile" in wanted:
            said |= {"name": person.name, "given_name": person.given_name, "family_name": person.family_name}
            if person.username:
                said["preferred_username"] = person.username
        if "email" in wanted and person.email:
            said |= {"email": person.email, "email_verified": False}
        if "konnect/id" in wanted and person.username:
            said["username"] = person.username
        if "konnect/uuid" in wanted:
            said["kc.uuid"] = person.id
        return said

    def id_token_settings(self) -> dict[str, Any]:
        """What Authlib signs ID tokens with."""
        return {"key": self.keys.signing, "alg": self.keys.algorithm, "iss": self.keys.issuer, "exp": ID_SECONDS}


@dataclass
class Grant(AuthorizationCodeMixin, TokenMixin):  # type: ignore[misc]
    """What a code or a refresh token stands for."""

    client_id: str
    person: Person
    scope: str
    redirect_uri: str = ""
    nonce: str | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None
    until: float = 0
    code: str = ""

    def get_redirect_uri(self) -> str:
        """Where the code was sent to."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """What was granted."""
        return self.scope

    def get_nonce(self) -> str | None:
        """What the client wants to find in the ID token."""
        return self.nonce

    def get_auth_time(self) -> int:
        """When the person has logged in."""
        return self.person.since

    def get_expires_in(self) -> int:
        """How long a new access token is good."""
        return ACCESS_SECONDS

    def check_client(self, client: Application) -> bool:
        """Whether it was given to that client."""
        return self.client_id == client.id


class Codes:
    """Codes are good once and for two minutes, and so live in memory."""

    def __init__(self) -> None:
        self._codes: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def keep(self, code: str, request: Any) -> None:
        """Keep what was granted."""
        now = time.monotonic()
        granted = Grant(
            request.client.id,
            request.user,
            request.scope or "",
            request.redirect_uri,
            request.data.get("nonce"),
            request.data.get("code_challenge"),
            request.data.get("code_challenge_method"),
            now + CODE_SECONDS,
            code,
        )
        with self._lock:
            self._codes = {key: one for key, one in self._codes.items() if one.until > now}
            self._codes[code] = granted

    def take(self, code: str, client: Application) -> Grant | None:
        """What the code stands for. It is gone then, also when the client turns out not to be the right one."""
        with self._lock:
            found = self._codes.pop(code, None)
        return found if found and found.until > time.monotonic() and found.check_client(client) else None


class _Generator(BearerTokenGenerator):  # type: ignore[misc]
    def __init__(self, tokens: Tokens) -> None:
        super().__init__(None)
        self._tokens = tokens

    def generate(
        self,
        grant_type: str,
        client: Application,
        user: Person,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        allowed = self._tokens.allowed(client, user, scope or "")
        token: dict[str, Any] = {
            "token_type": "Bearer",
            "access_token": self._tokens.access(client, user, allowed),
            "expires_in": ACCESS_SECONDS,
            "scope": allowed,
        }
        if include_refresh_token and "offline_access" in allowed.split():
            token["refresh_token"] = self._tokens.refresh(client, user, allowed)
        return token


class _Challenge(CodeChallenge):  # type: ignore[misc]
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any) -> None:
        asked = grant.request.data
        if asked.get("code_challenge") and not asked.get("code_challenge_method"):
            raise InvalidRequestError('"code_challenge_method" must be S256', state=grant.request.state)
        # A client that is not registered is known by nothing but its address: there a stolen code must be of no use.
        client = grant.request.client
        if not client.registered and not client.secret and not asked.get("code_challenge"):
            raise InvalidRequestError('Missing "code_challenge"', state=grant.request.state)
        super().validate_code_challenge(grant)


def server_for(app: Flask, registry: Registry, tokens: Tokens) -> AuthorizationServer:
    """Authlib's server with all grants."""
    codes = Codes()
    methods = ["client_secret_basic", "client_secret_post", "none"]

    class Code(AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = methods

        def save_authorization_code(self, code: str, request: Any) -> None:
            codes.keep(code, request)

        def query_authorization_code(self, code: str, client: Application) -> Grant | None:
            return codes.take(code, client)

        def delete_authorization_code(self, authorization_code: Grant) -> None:
            """It is gone since it was looked up."""

        def authenticate_user(self, authorization_code: Grant) -> Person:
            return authorization_code.person

    class IdToken(OpenIDCode):  # type: ignore[misc]
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return False  # the code is good once, which is what the nonce of this flow would add

        def get_jwt_config(self, grant: Any) -> dict[str, Any]:
            return tokens.id_token_settings()

        def get_audiences(self, request: Any) -> str:
            return str(request.client.id)

        def generate_user_info(self, user: Person, scope: str) -> dict[str, Any]:
            return tokens.profile(user, scope)

    class _Implicit:
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return False  # it is the client that must see to that

        def get_jwt_config(self) -> dict[str, Any]:
            return {**tokens.id_token_settings(), "auth_time": self.request.user.since or None}  # type: ignore[attr-defined]

        def get_audiences(self, request: Any) -> str:
            return str(request.client.id)

        def generate_user_info(self, user: Person, scope: str) -> dict[str, Any]:
            return tokens.profile(user, scope)

    class Implicit(_Implicit, OpenIDImplicitGrant):  # type: ignore[misc]
        pass

    class Hybrid(_Implicit, OpenIDHybridGrant):  # type: ignore[misc]
        def save_authorization_code(self, code: str, request: Any) -> None:
            codes.keep(code, request)

    class Refresh(RefreshTokenGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = methods

        def authenticate_refresh_token(self, refresh_token: str) -> Grant | None:
            return tokens.refreshed(refresh_token)

        def authenticate_user(self, credential: Grant) -> Person:
            return credential.person

        def revoke_old_credential(self, credential: Grant) -> None:
            """It ends by itself."""

    server = AuthorizationServer(app, query_client=registry.find, save_token=lambda token, request: None)
    server.register_token_generator("default", _Generator(tokens))
    server.register_grant(Code, [_Challenge(required=False), IdToken(require_nonce=False)])
    server.register_grant(Implicit)
    server.register_grant(Hybrid, [_Challenge(required=False)])
    server.register_grant(Refresh)
    return server


def subject(person: Person, scope: str) -> str:
    """The name of the person towards clients: it says nothing about the person, and stays the same for all clients."""
    if "konnect/raw_sub" in scope.split():
        return person.id
    kind = "guest" if person.guest else "user"
    digest = hashlib.sha256(f"konnect-lab {kind} {person.id}".encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() + "@konnect"


def identity(person: Person) -> dict[str, Any]:
    """The claim by which Kopano's services know the person."""
    if person.guest:
        return {"kc.i.id": person.id, "kc.i.dn": person.name, "kc.i.guest": True}
    data = {"e": person.email} if person.email else {}
    return {"kc.i.id": person.id, "kc.i.un": person.username, "kc.i.dn": person.name, "kc.i.da": data}
