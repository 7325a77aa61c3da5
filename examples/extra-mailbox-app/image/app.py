"""Users of a Kopano stack log in by OpenID, with their consent, and see who they are and their newest mails."""

from __future__ import annotations

import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, redirect, render_template, session, url_for
from waitress import serve
from werkzeug.wrappers import Response

PORT = 8090
NEWEST = 10
SECONDS = 10
"""How long the stack may take for an answer."""
SCOPE = "openid profile email kopano/gc"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class User:
    """Somebody who is logged in. The token stays here: a browser only ever has a number that means nothing elsewhere."""

    name: str
    mail: str
    token: str = field(repr=False)
    until: float


class ExpiredError(Exception):
    """The token is not good any more."""


def newest(issuer: str, user: User) -> list[dict[str, str]]:
    """The user's newest mails. Raises ExpiredError, or RequestException where the stack does not answer as it should."""
    answer = requests.get(
        f"{issuer}/api/gc/v1/me/messages",
        params={"$top": str(NEWEST)},
        headers={"Authorization": f"Bearer {user.token}"},
        timeout=SECONDS,
    )
    if answer.status_code == 401:
        raise ExpiredError
    answer.raise_for_status()
    return [
        {
            "received": str(mail.get("receivedDateTime") or ""),
            "sender": str(((mail.get("from") or {}).get("emailAddress") or {}).get("address") or ""),
            "subject": str(mail.get("subject") or ""),
        }
        for mail in answer.json()["value"]
    ]


def application(issuer: str, client: str, url: str) -> Flask:
    """The app: `issuer` is the provider, which knows the app as `client`; `url` is where browsers reach the app."""
    app = Flask(__name__)
    # Of this process alone: who was logged in before a restart logs in again.
    app.secret_key = secrets.token_bytes(32)
    app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_SECURE=url.startswith("https:"))
    users: dict[str, User] = {}
    provider = OAuth(app).register(
        "kopano",
        client_id=client,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": SCOPE, "code_challenge_method": "S256", "token_endpoint_auth_method": "none", "timeout": SECONDS},
    )

    def user() -> User | None:
        for number in [number for number, one in users.items() if one.until < time.time()]:
            users.pop(number, None)
        return users.get(session.get("user", ""))

    def page(status: int = 200, **shown: Any) -> tuple[str, int]:
        return render_template("page.html", **shown), status

    @app.after_request
    def guarded(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/")
    def home() -> tuple[str, int]:
        known = user()
        if not known:
            return page()
        try:
            return page(user=known, mails=newest(issuer, known))
        except ExpiredError:
            users.pop(session.pop("user"), None)
            return page()
        except (requests.RequestException, KeyError, ValueError) as problem:
            print(f"mails: {problem}", flush=True)
            return page(503, user=known, problem="Your mails cannot be read just now.")

    @app.get("/log-in")
    def log_in() -> Any:
        try:
            return provider.authorize_redirect(f"{url}/callback")
        except requests.RequestException as problem:
            print(f"provider: {problem}", flush=True)
            return page(503, problem="The log-in does not answer just now.")

    @app.get("/callback")
    def callback() -> Any:
        try:
            # Checks the state, redeems the code with the verifier, and checks the identity token with the provider's keys.
            token = provider.authorize_access_token()
            said = token["userinfo"]
        except (OAuthError, KeyError, ValueError, requests.RequestException) as problem:
            print(f"log-in: {type(problem).__name__}: {getattr(problem, 'error', '')}", flush=True)
            return page(400, problem="You are not logged in.")
        number = secrets.token_urlsafe(32)
        users[number] = User(
            said.get("name", ""), said.get("email", ""), token["access_token"], time.time() + token.get("expires_in", 600)
        )
        session.clear()
        session["user"] = number
        return redirect(url_for("home"))

    @app.post("/log-out")
    def log_out() -> Response:
        users.pop(session.pop("user", ""), None)
        session.clear()
        return redirect(url_for("home"))

    @app.get("/health-check")
    def healthy() -> str:
        return "ok"

    return app


def main() -> None:
    """Serve until the container is stopped."""
    missing = [name for name in ("KOPANO_CA", "KOPANO_ISSUER", "APP_CLIENT", "APP_URL") if not os.environ.get(name)]
    if missing:
        sys.exit(f"{missing[0]} is missing: the program of this example sets it from the stack's outputs and its own settings")
    # The stack's own authority and no other: whoever has another certificate is not the provider.
    authority = Path("/tmp/authority.pem")
    authority.write_text(os.environ["KOPANO_CA"], encoding="utf-8")
    os.environ["REQUESTS_CA_BUNDLE"] = str(authority)
    app = application(os.environ["KOPANO_ISSUER"], os.environ["APP_CLIENT"], os.environ["APP_URL"].rstrip("/"))
    serve(app, host="0.0.0.0", port=PORT, ident=None)


if __name__ == "__main__":
    main()
