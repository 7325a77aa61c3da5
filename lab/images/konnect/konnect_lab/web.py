"""The provider's addresses: OpenID Connect, and the pages on which a person logs in, consents and signs out."""

from __future__ import annotations

import functools
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oidc.core.errors import LoginRequiredError
from flask import Blueprint, Flask, Response, jsonify, redirect, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from konnect_lab import guests, people
from konnect_lab.clients import Application, Registry
from konnect_lab.keys import Keys, Seal
from konnect_lab.people import Person
from konnect_lab.provider import BASE_SCOPES, OWN_SCOPES, Tokens, server_for
from konnect_lab.settings import Settings

SESSION = "__Secure-konnect-lab"
FORM = "__Secure-konnect-lab-form"
SESSION_SECONDS = 12 * 3600
CLIENT_SECONDS = 365 * 24 * 3600
_RESPONSE_TYPES = ["code", "id_token", "id_token token", "code id_token", "code token", "code id_token token"]
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'self'"
_OPENID = {"openid": "", "profile": "See your name", "email": "See your mail address", "offline_access": "Stay logged in"}
_OWN = {"konnect/id": "See your user name", "konnect/uuid": "See your user number", "konnect/raw_sub": "", "konnect/guestok": ""}


class Site:
    """What the pages share."""

    def __init__(self, settings: Settings, app: Flask) -> None:
        self.settings = settings
        self.seal = Seal(settings.encryption_key)
        self.keys = Keys(settings)
        self.registry = Registry(settings, self.seal)
        self.scopes = {**_OPENID, **_OWN, **settings.scopes}
        self.tokens = Tokens(self.keys, self.seal, [*BASE_SCOPES, *OWN_SCOPES, *settings.scopes])
        self.server = server_for(app, self.registry, self.tokens)
        parts = urlsplit(settings.issuer)
        self.home = f"{parts.scheme}://{parts.netloc}"
        self.api = f"{settings.base_path}/konnect/v1"
        self.signin = f"{settings.base_path}/signin/v1"

    def discovery(self) -> dict[str, Any]:
        """The document from which clients learn everything else."""
        found = {
            "issuer": self.settings.issuer,
            "authorization_endpoint": f"{self.home}{self.signin}/identifier/_/authorize",
            "token_endpoint": f"{self.home}{self.api}/token",
            "userinfo_endpoint": f"{self.home}{self.api}/userinfo",
            "end_session_endpoint": f"{self.home}{self.signin}/identifier/_/endsession",
            "jwks_uri": f"{self.home}{self.api}/jwks.json",
            "scopes_supported": self.tokens.scopes,
            "response_types_supported": _RESPONSE_TYPES,
            "response_modes_supported": ["query", "fragment"],
            "grant_types_supported": ["authorization_code", "implicit", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.keys.algorithm],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "claims_supported": [
                *("iss", "sub", "aud", "exp", "iat", "auth_time", "name", "given_name", "family_name"),
                *("preferred_username", "email", "email_verified"),
            ],
            "claims_parameter_supported": False,
            "request_parameter_supported": self.settings.guests,
            "request_uri_parameter_supported": False,
        }
        if self.settings.registering:
            found["registration_endpoint"] = f"{self.home}{self.api}/register"
        return found

    def person(self) -> Person | None:
        """Who is logged in in this browser."""
        content = self.seal.open("session", request.cookies.get(SESSION, ""))
        return Person.stored(content) if content else None


def application(settings: Settings) -> Flask:
    """The application that serves all addresses."""
    app = Flask(__name__)
    # Forms are small; nothing larger is read.
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    site = Site(settings, app)
    app.register_blueprint(_machines(site))
    app.register_blueprint(_pages(site))
    app.after_request(_headers)
    app.register_error_handler(people.Unavailable, _unavailable)
    app.register_error_handler(Exception, _failed)
    return app


def _machines(site: Site) -> Blueprint:
    routes = Blueprint("machines", __name__)

    @routes.get("/health-check")
    def health() -> Response:
        return Response("OK\n", mimetype="text/plain")

    @routes.get("/.well-known/openid-configuration")
    @_for_all_origins
    def discovery() -> Response:
        return jsonify(site.discovery())

    @routes.get(f"{site.api}/jwks.json")
    @_for_all_origins
    def jwks() -> Response:
        return jsonify(site.keys.public())

    @routes.route(f"{site.api}/token", methods=["POST", "OPTIONS"])
    @_for_all_origins
    def token() -> Response:
        answer: Response = site.server.create_token_response()
        return answer

    @routes.route(f"{site.api}/userinfo", methods=["GET", "POST", "OPTIONS"])
    @_for_all_origins
    def userinfo() -> Response:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        claims = site.keys.verified(token.strip()) if kind.lower() == "bearer" else None
        if not claims or not claims.get("kc.isAccessToken"):
            answer = jsonify(error="invalid_token", error_description="an access token of this provider is needed")
            answer.status_code = 401
            answer.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
            return answer
        who = claims["kc.identity"]
        person = Person(
            who["kc.i.id"],
            who.get("kc.i.un", ""),
            who["kc.i.dn"],
            who.get("kc.i.da", {}).get("e", ""),
            guest=who.get("kc.i.guest", False),
        )
        return jsonify(site.tokens.profile(person, " ".join(claims["kc.authorizedScopes"])))

    @routes.route(f"{site.api}/register", methods=["POST", "OPTIONS"])
    @_for_all_origins
    def register() -> Response:
        if not site.settings.registering:
            answer = jsonify(error="access_denied", error_description="clients cannot register themselves here")
            answer.status_code = 403
            return answer
        metadata = request.get_json(silent=True)
        try:
            if not isinstance(metadata, dict):
                raise ValueError("the body must be a JSON object")
            client = site.registry.register(metadata, CLIENT_SECONDS)
        except ValueError as problem:
            answer = jsonify(error="invalid_redirect_uri" if "redirect" in str(problem) else "invalid_client_metadata")
            answer.status_code = 400
            return answer
        issued = int(time.time())
        answer = jsonify(
            client_id=client.id,
            client_secret=client.secret,
            client_id_issued_at=issued,
            client_secret_expires_at=issued + CLIENT_SECONDS,
            client_name=client.name,
            redirect_uris=client.redirects,
            application_type="native" if client.native else "web",
        )
        answer.status_code = 201
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return routes


def _pages(site: Site) -> Blueprint:
    routes = Blueprint("pages", __name__)
    signin = site.signin

    @routes.route(f"{signin}/identifier/_/authorize", methods=["GET", "POST"])
    def authorize() -> AnyResponse:
        try:
            return _authorized(site)
        except (OAuth2Error, ValueError) as problem:
            return _oauth_error(problem)

    @routes.get(f"{signin}/identifier")
    def identifier() -> AnyResponse:
        """The log-in page; without a request of a client it says who is logged in."""
        person = site.person()
        if person and not request.args.get("client_id"):
            return _page(site, "signed_in.html", person=person)
        return _log_in_page(site)

    @routes.post(f"{signin}/identifier/_/logon")
    def logon() -> AnyResponse:
        if not _form_is_ours():
            return _log_in_page(site, "This page has expired. Please try again.", 403)
        name, password = request.form.get("username", "").strip(), request.form.get("password", "")
        try:
            person = people.logged_on(site.settings.server, name, password) if name and password else None
        except people.Unavailable as problem:
            logging.error("No log-on is possible: %s", problem)
            return _log_in_page(site, "The Kopano server does not answer. Please try again later.", 503)
        if not person:
            logging.warning("A log-on failed: unknown user or wrong password")
            return _log_in_page(site, "The user name or the password is wrong.", 403, name)
        logging.info("User '%s' has logged on", person.username)
        where = (
            f"{signin}/identifier/_/authorize?{_without_prompt()}" if request.args.get("client_id") else f"{signin}/identifier"
        )
        answer: AnyResponse = redirect(where, 303)
        answer.set_cookie(
            SESSION,
            site.seal.close("session", person.record(), SESSION_SECONDS),
            path=signin,
            secure=True,
            httponly=True,
            samesite="Lax",
        )
        return answer

    @routes.route(f"{signin}/identifier/_/endsession", methods=["GET", "POST"])
    def endsession() -> AnyResponse:
        asked = request.values
        hint = site.keys.verified(asked.get("id_token_hint", ""), expired=True)
        person = site.person()
        ours = request.method == "POST" and _form_is_ours()
        if person and not hint and not ours:
            # Else any page on the web could sign people out.
            return _page(site, "sign_out.html", person=person)
        where = asked.get("post_logout_redirect_uri", "")
        if where:
            audience = hint.get("aud") if hint else asked.get("client_id", "")
            client_id = audience[0] if isinstance(audience, list) else str(audience)
            client = site.registry.find(client_id)
            if not client or not client.check_signed_out_uri(where):
                return _error_page("invalid_request", "post_logout_redirect_uri is not one of the client's addresses", 400)
            if state := asked.get("state"):
                where += ("&" if "?" in where else "?") + urlencode({"state": state})
        where = where or site.settings.signed_out
        answer: AnyResponse = redirect(where, 303) if where else _page(site, "signed_out.html")
        answer.delete_cookie(SESSION, path=signin, secure=True, httponly=True, samesite="Lax")
        return answer

    return routes


def _authorized(site: Site) -> AnyResponse:
    asked = request.args if request.method == "GET" else request.values
    client = site.registry.find(asked.get("client_id", ""))
    if not client:
        raise InvalidRequestError("this client is not known here")
    if asked.get("response_mode", "fragment") not in ("query", "fragment") or (
        asked.get("response_mode") == "query" and asked.get("response_type") != "code"
    ):
        raise InvalidRequestError('"response_mode" must be fragment, or query for a code')
    person = site.person()
    fresh = person and not _too_old(person, asked.get("max_age"))
    prompts = asked.get("prompt", "").split()
    if person and (not fresh or {"login", "select_account"} & set(prompts)):
        person = None
    unsupported = [name for name in ("request", "request_uri", "registration") if asked.get(name)]
    if unsupported == ["request"] and site.settings.guests:
        person = person or guests.vouched_for(client, asked["request"], asked.get("scope", ""))
        unsupported = []
    # Raises for a request that must not be answered by sending the browser anywhere.
    grant = site.server.get_consent_grant(end_user=person)
    if unsupported:
        return _refused(site, f"{unsupported[0]}_not_supported", "this provider does not take it")
    if not person:
        if "none" in prompts:
            raise LoginRequiredError(
                redirect_uri=asked["redirect_uri"], redirect_fragment=grant.DEFAULT_RESPONSE_MODE == "fragment"
            )
        answer: AnyResponse = redirect(f"{site.signin}/identifier?{request.query_string.decode()}")
        return answer
    if not client.trusted or "consent" in prompts:
        decision = request.form.get("decision") if request.method == "POST" and _form_is_ours() else None
        if decision is None and "none" in prompts:
            return _refused(site, "interaction_required", "the user has not consented yet")
        if decision is None:
            scopes = site.tokens.allowed(client, person, asked.get("scope", "")).split()
            wanted = [site.scopes[one] for one in scopes if site.scopes.get(one)]
            return _page(site, "consent.html", person=person, client=client, wanted=wanted)
        if decision != "allow":
            person = None
    granted: Response = site.server.create_authorization_response(grant_user=person)
    return granted


def _refused(site: Site, code: str, description: str) -> Response:
    """Send the browser back to the client with an error that Authlib has no class for; the address was checked before."""
    asked = request.values
    fragment = asked.get("response_type") != "code"
    error = OAuth2Error(
        description, state=asked.get("state"), redirect_uri=asked["redirect_uri"], redirect_fragment=fragment, error=code
    )
    return _oauth_error(error)


def _too_old(person: Person, max_age: str | None) -> bool:
    return bool(max_age and max_age.isascii() and max_age.isdigit() and time.time() - person.since > int(max_age))


def _without_prompt() -> str:
    return urlencode([(name, value) for name, value in request.args.items(multi=True) if name not in ("prompt", "max_age")])


def _form_is_ours() -> bool:
    """Whether the form was sent from a page of ours in this browser."""
    cookie, field = request.cookies.get(FORM, ""), request.form.get("form", "")
    return bool(cookie) and hmac.compare_digest(cookie.encode(), field.encode())


def _page(site: Site, template: str, status: int = 200, **values: Any) -> Response:
    form = request.cookies.get(FORM) or secrets.token_urlsafe(24)
    text = render_template(template, form=form, signin=site.signin, query=request.query_string.decode(), **values)
    answer = Response(text, status=status, mimetype="text/html")
    answer.set_cookie(FORM, form, path=site.signin, secure=True, httponly=True, samesite="Lax")
    return answer


def _log_in_page(site: Site, problem: str = "", status: int = 200, name: str = "") -> Response:
    client: Application | None = site.registry.find(request.args.get("client_id", ""))
    return _page(site, "log_in.html", status, problem=problem, name=name, client=client)


def _oauth_error(problem: Exception) -> Response:
    if not isinstance(problem, OAuth2Error):
        return _error_page("invalid_request", "the request cannot be read", 400)
    if problem.redirect_uri:
        # Authlib leaves it out of some errors, and a client cannot tell then which request has failed.
        problem.state = problem.state or request.values.get("state")
        status, body, headers = problem()
        return Response(body, status=status, headers=headers)
    return _error_page(str(problem.error), str(problem.get_error_description() or ""), 400)


def _error_page(code: str, description: str, status: int) -> Response:
    return Response(render_template("error.html", code=code, description=description), status=status, mimetype="text/html")


def _unavailable(problem: Exception) -> Response:
    logging.error("The Kopano server cannot be asked: %s", problem)
    return _error_page("temporarily_unavailable", "The Kopano server does not answer.", 503)


def _failed(problem: Exception) -> Response:
    if isinstance(problem, HTTPException):
        return _error_page(str(problem.code), str(problem.name), problem.code or 500)
    logging.error("A request failed for a reason that the provider does not know", exc_info=problem)
    return _error_page("server_error", "The provider failed: see its log.", 500)


def _for_all_origins(view: Callable[[], Response]) -> Callable[[], Response]:
    """Applications in browsers ask from wherever they are at home; no cookie counts here."""

    @functools.wraps(view)
    def wrapped() -> Response:
        answer = Response(status=204) if request.method == "OPTIONS" else view()
        answer.headers["Access-Control-Allow-Origin"] = "*"
        if request.method == "OPTIONS":
            answer.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            answer.headers["Access-Control-Allow-Methods"] = "GET, POST"
        return answer

    return wrapped


def _headers(answer: Response) -> Response:
    answer.headers["Server"] = "kopano-lab konnect"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers.setdefault("Cache-Control", "no-store")
    if answer.mimetype == "text/html":
        answer.headers["Content-Security-Policy"] = _POLICY
    return answer
