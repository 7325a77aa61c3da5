"""The arrows behind the proxy: log-in by OpenID, Meet, the REST API and the WebApp, and what the proxy lets through to whom."""

from __future__ import annotations

import base64
import hashlib
import http.client
import imaplib
import json
import re
import secrets
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from deployments import CHROMIUM, Answer, Deployment, ask, docker, from_network
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lab.images import catalog

SIGNING_KEY = "/kopano/ssl/konnectd-tokens-signing-key.pem"
SCOPE = "openid profile email kopano/gc kopano/kvs kopano/kwm"
AUTHORIZE = "/signin/v1/identifier/_/authorize"
PATIENCE = 15_000
"""Milliseconds that a page has for what a test waits for."""

T = TypeVar("T")


def eventually(check: Callable[[], T], seconds: float = 30) -> T:
    """What `check` gives as soon as that is something. Its failures count only when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            if found or time.monotonic() > deadline:
                assert found, f"not within {seconds} seconds: {found!r}"
                return found
        time.sleep(0.5)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@dataclass(frozen=True)
class Person:
    """A user of the directory."""

    login: str
    password: str = field(repr=False)
    name: str
    mail: str


@dataclass(frozen=True)
class Tokens:
    """What the provider gives for a code."""

    access: str = field(repr=False)
    identity: str = field(repr=False)


class Headers(dict[str, str]):
    """Headers with credentials, which nobody reads in the report of a failed test."""

    def __repr__(self) -> str:
        return "<credentials>"


@dataclass
class Client:
    """A program to which users log in, as the provider sees it: it is at home at the deployment's own address."""

    deployment: Deployment
    cookies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = self.deployment.outputs["urls"]["meet"]
        self.id = f"kpop-{self.home}"
        self.verifier = secrets.token_urlsafe(40)

    def ask(self, path: str, method: str = "GET", form: dict[str, str] | None = None) -> Answer:
        """Ask as the user's browser does, which keeps cookies."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if form is not None:
            headers["Content_Type"] = "application/x-www-form-urlencoded"
        answer = self.deployment.web(path, method, None if form is None else urlencode(form), **headers)
        if given := re.match(r"([^=;]+)=([^;]+)", answer.headers.get("set-cookie", "")):
            self.cookies[given[1]] = given[2]
        return answer

    def authorize(self, **changes: str) -> Answer:
        asked = {
            "client_id": self.id,
            "redirect_uri": self.home,
            "response_type": "code",
            "scope": SCOPE,
            "state": "the-state",
            "code_challenge": encoded(hashlib.sha256(self.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        return self.ask(f"{AUTHORIZE}?{urlencode(asked | changes)}")

    def log_in(self, login: str, password: str) -> Answer:
        """The answer to what the user sends from the log-in page."""
        page = self.ask(self.authorize().location)
        form = re.search(r'name="form" value="([^"]+)"', page.body)
        action = re.search(r'action="([^"]+)"', page.body)
        assert form, page.body
        assert action, page.body
        return self.ask(action[1].replace("&amp;", "&"), "POST", {"form": form[1], "username": login, "password": password})

    def code(self, person: Person) -> str:
        logged_in = self.log_in(person.login, person.password)
        assert logged_in.status == 303, logged_in.body
        back = self.ask(logged_in.location)
        assert back.location.startswith(f"{self.home}?"), back
        given = parse_qs(urlsplit(back.location).query)
        assert given["state"] == ["the-state"]
        return given["code"][0]

    def exchange(self, code: str, **changes: str) -> Answer:
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.home,
            "client_id": self.id,
            "code_verifier": self.verifier,
        }
        return self.ask("/konnect/v1/token", "POST", asked | changes)


def signed(deployment: Deployment, claims: dict[str, Any]) -> str:
    """A token that the provider could have made: it has the provider's own signature."""
    pem = deployment.execute("konnect", "cat", SIGNING_KEY).encode()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    header = {"alg": "PS256", "kid": "konnectd-tokens-signing-key", "typ": "JWT"}
    content = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    seal = key.sign(content.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return f"{content}.{encoded(seal)}"


def directory(deployment: Deployment, command: str, stdin: str) -> None:
    """Change the directory as its administrator."""
    script = f'{command} -x -H ldap://localhost -D "cn=admin,$LDAP_BASE_DN" -y <(printf %s "$LDAP_ADMIN_PASSWORD")'
    deployment.execute("ldap", "bash", "-euc", script, stdin=stdin)


@pytest.fixture(scope="module")
def people(deployment: Deployment) -> Iterator[tuple[Person, Person]]:
    """Two users that nobody else uses; their password is not their name."""
    base = deployment.outputs["ldap"]["baseDn"]
    made, dns = [], []
    for given in ("Ottilie", "Quirin"):
        login = f"{given.lower()}{secrets.token_hex(3)}"
        person = Person(login, secrets.token_urlsafe(12), f"{given} Openid {login[-6:]}", f"{login}@{deployment.outputs['fqdn']}")
        dns.append(f"uid={login},ou=users,ou=CompanyA,{base}")
        entry = {
            "dn": dns[-1],
            "uid": login,
            "uidNumber": str(100_000 + secrets.randbelow(1_000_000)),
            "gidNumber": "1",
            "homeDirectory": f"/home/{login}",
            "cn": person.name,
            "sn": "Openid",
            "mail": person.mail,
            "userPassword": person.password,
            "kopanoAccount": "1",
        }
        lines = [f"{name}: {value}" for name, value in entry.items()]
        lines += [f"objectClass: {name}" for name in ("inetOrgPerson", "posixAccount", "kopano-user")]
        directory(deployment, "ldapadd", "\n".join(lines) + "\n")
        made.append(person)
    deployment.execute("server", "kopano-admin", "--sync")
    yield made[0], made[1]
    directory(deployment, "ldapdelete", "\n".join(dns) + "\n")
    deployment.execute("server", "kopano-admin", "--sync")


@pytest.fixture(scope="module")
def tokens(deployment: Deployment, people: tuple[Person, Person]) -> dict[str, Tokens]:
    """Log-in name -> the user's tokens. They are good for ten minutes."""
    given = {}
    for person in people:
        client = Client(deployment)
        answer = client.exchange(client.code(person))
        assert answer.status == 200, answer.body
        given[person.login] = Tokens(*(json.loads(answer.body)[name] for name in ("access_token", "id_token")))
    return given


@pytest.fixture(scope="module")
def browser(deployment: Deployment) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                f"--host-resolver-rules=MAP {deployment.outputs['fqdn']} 127.0.0.1",
                "--disable-background-networking",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[[], Page]]:
    """Opens a page as somebody else's browser would: it shares no cookies with the others."""
    contexts = []

    def open_one() -> Page:
        # That the certificate is of the stack's authority is shown below; the browser has no way to be told of one.
        contexts.append(browser.new_context(ignore_https_errors=True))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        return page

    yield open_one
    for context in contexts:
        context.close()


def claims_of(token: str) -> dict[str, Any]:
    return dict(json.loads(decoded(token.split(".")[1])))


def bearer(token: str) -> Headers:
    return Headers(Authorization=f"Bearer {token}")


def no_good(deployment: Deployment, own: Tokens, other: Tokens) -> dict[str, str]:
    """What is wrong with it -> a token that nobody may take for an access token of the provider."""
    claims, theirs, now = claims_of(own.access), claims_of(other.access), int(time.time())
    header, content, seal = own.access.split(".")

    def headed(algorithm: str) -> str:
        return encoded(json.dumps({"alg": algorithm, "kid": "konnectd-tokens-signing-key"}).encode())

    forged = encoded(json.dumps(claims | {"kc.identity": theirs["kc.identity"]}).encode())
    return {
        "garbage": "x.y.z",
        "id token": own.identity,
        "expired": signed(deployment, claims | {"iat": now - 700, "exp": now - 100}),
        "somebody else": f"{header}.{forged}.{seal}",
        "other signature": f"{header}.{content}.{encoded(secrets.token_bytes(256))}",
        "other kind of signature": f"{headed('ES256')}.{content}.{seal}",
        "no signature": f"{headed('none')}.{content}.",
        "other issuer": signed(deployment, claims | {"iss": "https://other.example.org"}),
    }


def error_of(address: str) -> str:
    """The error with which a browser is sent back to a client."""
    parts = urlsplit(address)
    return parse_qs(parts.query or parts.fragment)["error"][0]


def log_in_to_meet(page: Page, person: Person, password: str | None = None) -> None:
    page.click("#log-in")
    page.fill("#username", person.login)
    page.fill("#password", person.password if password is None else password)
    page.click("button[type=submit]")


# Provider


def test_the_provider_calls_itself_by_the_address_of_the_proxy_and_all_its_addresses_are_there(deployment: Deployment) -> None:
    """outside -> web -> konnect: the discovery document names the proxy's own origin as the issuer."""
    url = deployment.outputs["urls"]["openid"]
    origin = f"https://{urlsplit(url).netloc}"
    found = json.loads(deployment.web(urlsplit(url).path).body)
    assert found["issuer"] == origin
    assert {name: value for name, value in found.items() if name.endswith(("_endpoint", "_uri"))}.keys() == {
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "end_session_endpoint",
        "jwks_uri",
    }
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "end_session_endpoint", "jwks_uri"):
        assert found[name].startswith(f"{origin}/")
        assert deployment.web(urlsplit(found[name]).path).status not in (404, 502)


def test_a_token_verifies_with_the_keys_that_the_proxy_serves(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens]
) -> None:
    """outside -> web -> konnect: the published keys are those that sign, and are public."""
    listed = json.loads(deployment.web("/konnect/v1/jwks.json").body)["keys"]
    assert all(not {"d", "p", "q"} & key.keys() for key in listed)
    token = tokens[people[0].login].identity
    content, _, seal = token.rpartition(".")
    kid = json.loads(decoded(token.split(".")[0]))["kid"]
    (jwk,) = [key for key in listed if key["kid"] == kid]
    exponent, modulus = (int.from_bytes(decoded(jwk[name])) for name in ("e", "n"))
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    key.verify(decoded(seal), content.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    said = claims_of(token)
    assert said["iss"] == f"https://{urlsplit(deployment.outputs['urls']['openid']).netloc}"
    assert said["aud"] in (Client(deployment).id, [Client(deployment).id])
    assert (said["name"], said["email"]) == (people[0].name, people[0].mail)


def test_a_wrong_password_is_refused_at_the_log_in_page_and_gives_no_session(
    deployment: Deployment, people: tuple[Person, Person]
) -> None:
    """outside -> web -> konnect -> server -> ldap: a wrong password and an unknown user are refused alike."""
    for login, password in ((people[0].login, people[1].password), ("nobody-of-that-name", "x"), (people[0].login, "")):
        client = Client(deployment)
        refused = client.log_in(login, password)
        assert refused.status == 403
        assert "The user name or the password is wrong." in refused.body
        assert "identifier?" in client.authorize().location
    # Not everybody is refused.
    assert Client(deployment).log_in(people[0].login, people[0].password).status == 303


def test_a_code_is_good_once_and_only_with_its_verifier(deployment: Deployment, people: tuple[Person, Person]) -> None:
    """outside -> web -> konnect: a stolen or used code gives no token."""
    client = Client(deployment)
    stolen = client.exchange(client.code(people[0]), code_verifier=secrets.token_urlsafe(40))
    assert (stolen.status, json.loads(stolen.body)["error"]) == (400, "invalid_grant")
    client = Client(deployment)
    code = client.code(people[0])
    assert client.exchange(code).status == 200
    again = client.exchange(code)
    assert (again.status, json.loads(again.body)["error"]) == (400, "invalid_grant")


def test_the_provider_sends_nobody_to_a_foreign_address_and_asks_for_a_challenge(deployment: Deployment) -> None:
    """outside -> web -> konnect: requests that could hand a code to somebody else are refused with standard errors."""
    client = Client(deployment)
    elsewhere = f"https://{deployment.outputs['fqdn']}.example.org/meet/"
    for address in (elsewhere, f"https://{deployment.outputs['fqdn']}/meet/", client.home.replace("https:", "http:")):
        answer = client.authorize(redirect_uri=address)
        assert (answer.status, answer.location) == (400, "")
    assert error_of(client.authorize(code_challenge="").location) == "invalid_request"
    assert error_of(client.authorize(prompt="none").location) == "login_required"
    # The very same request is fine otherwise.
    assert client.authorize().status == 302


def test_clients_cannot_register_themselves(deployment: Deployment) -> None:
    """outside -> web -> konnect: dynamic client registration is off."""
    asked = json.dumps({"redirect_uris": ["https://client.example.org/back"]})
    refused = deployment.web("/konnect/v1/register", "POST", asked, Content_Type="application/json")
    assert (refused.status, json.loads(refused.body)["error"]) == (403, "access_denied")
    assert "registration_endpoint" not in json.loads(deployment.web("/.well-known/openid-configuration").body)
    unknown = Client(deployment).authorize(client_id="dyn.made-up")
    assert (unknown.status, unknown.location) == (400, "")


def test_guests_are_not_let_in(deployment: Deployment) -> None:
    """outside -> web -> konnect, kwmserver, meet: without an account nobody joins a meeting."""
    client = Client(deployment)
    form = {
        "client_id": client.id,
        "response_type": "id_token token",
        "scope": f"{SCOPE} konnect/guestok",
        "guest": "1",
        "name": "Gerda",
        "path": "group/public/tea",
    }
    assert client.ask("/api/kwm/v2/guest/logon", "POST", form).status == 404
    unsigned = ".".join([encoded(b'{"alg":"none"}'), encoded(b'{"name":"Gerda"}'), ""])
    answer = client.authorize(request=unsigned, scope=form["scope"])
    assert error_of(answer.location) == "request_not_supported"
    assert json.loads(deployment.web("/.well-known/openid-configuration").body)["request_parameter_supported"] is False
    assert json.loads(deployment.web("/api/config/v1/kopano/meet/config.json").body)["guests"]["enabled"] is False


# Meet


def test_a_user_logs_in_to_meet_with_a_browser_and_is_called_by_name(
    deployment: Deployment, people: tuple[Person, Person], new_page: Callable[[], Page]
) -> None:
    """browser -> web -> meet -> konnect -> server -> ldap: a user of the directory logs in to Meet and out again."""
    page = new_page()
    page.goto(deployment.outputs["urls"]["meet"])
    log_in_to_meet(page, people[0], password="wrong")
    expect(page.locator("[role=alert]")).to_have_text("The user name or the password is wrong.")
    page.fill("#password", people[0].password)
    page.click("button[type=submit]")
    expect(page.locator("#name")).to_have_text(people[0].name)
    assert page.url.startswith(deployment.outputs["urls"]["meet"])
    expect(page.locator("#problem")).to_have_text("")
    page.click("#sign-out")
    page.click("#log-in")
    expect(page.locator("#password")).to_be_visible()


def test_two_users_in_a_room_see_each_other_and_what_they_write(
    deployment: Deployment, people: tuple[Person, Person], new_page: Callable[[], Page]
) -> None:
    """browser -> web -> kwmserver -> web -> browser: two users meet in a room over websockets."""
    room = f"tea-{secrets.token_hex(4)}"
    first, second = new_page(), new_page()
    for page, person in ((first, people[0]), (second, people[1])):
        page.goto(deployment.outputs["urls"]["meet"])
        log_in_to_meet(page, person)
        page.fill("#room", room)
        page.click("#join button")
        expect(page.locator("#members li").filter(has_text=person.name)).to_be_visible()
    for page in (first, second):
        expect(page.locator("#members li")).to_have_count(2)
        for person in people:
            expect(page.locator("#members li").filter(has_text=person.name)).to_be_visible()
    text = f"Hello <b>{secrets.token_hex(4)}</b>"
    second.fill("#text", text)
    second.click("#say button")
    expect(first.locator("#chat li").filter(has_text=text)).to_have_text(f"{people[1].name}: {text}")
    second.click("#leave")
    expect(first.locator("#members li")).to_have_text([people[0].name])
    expect(first.locator("#problem")).to_have_text("")


def test_rooms_are_closed_to_those_without_a_token_for_them(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens]
) -> None:
    """outside -> web -> kwmserver -> konnect: signalling takes access tokens of the provider alone."""
    path = "/api/kwm/v2/rtm/connect"
    own = tokens[people[0].login]
    for headers in (Headers(), bearer("x.y.z"), bearer(own.identity)):
        assert deployment.web(path, "POST", "", **headers).status == 403
    narrow = bearer(signed(deployment, claims_of(own.access) | {"kc.authorizedScopes": ["openid"]}))
    assert deployment.web(path, "POST", "", **narrow).status == 403
    form = Headers({"Content_Type": "application/x-www-form-urlencoded", **bearer(own.access)})
    let_in = deployment.web(path, "POST", "auth=1", **form)
    assert json.loads(let_in.body)["self"] == {"id": people[0].login, "name": people[0].name, "auth": "1"}
    assert deployment.web(path, "POST", f"auth=1&user={people[1].login}", **form).status == 403


# REST


def test_the_rest_api_knows_the_user_of_the_token(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens]
) -> None:
    """outside -> web -> kapi -> grapi -> server -> ldap: the bearer of a token is told who that is, whatever else is claimed."""
    for person, other in (people, people[::-1]):
        answer = deployment.web("/api/gc/v1/me", X_Kopano_Username=other.login, **bearer(tokens[person.login].access))
        assert answer.status == 200, answer.body
        me = json.loads(answer.body)
        assert (me["userPrincipalName"], me["displayName"], me["mail"]) == (person.login, person.name, person.mail)


def test_a_mail_is_read_over_the_rest_api_by_its_recipient_alone(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens]
) -> None:
    """outside -> mail -> dagent -> server -> grapi -> kapi -> web: a mail that was submitted is found over the REST API."""
    sender, recipient = people
    subject, word = f"rest {secrets.token_hex(6)}", secrets.token_hex(6)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender.mail, recipient.mail, subject
    mail.set_content(f"Please read: {word}\n")
    trusting = deployment.authority
    # On this machine the server has another name; its certificate is the subject of other tests.
    trusting.check_hostname = False
    with smtplib.SMTP_SSL("127.0.0.1", deployment.ports["smtps"], context=trusting, timeout=30) as smtp:
        smtp.login(sender.login, sender.password)
        smtp.send_message(mail)

    def inbox(person: Person) -> list[dict[str, Any]]:
        answer = deployment.web("/api/gc/v1/me/messages", **bearer(tokens[person.login].access))
        assert answer.status == 200, answer.body
        return [one for one in json.loads(answer.body)["value"] if one["subject"] == subject]

    (found,) = eventually(lambda: inbox(recipient))
    assert found["from"]["emailAddress"]["address"] == sender.mail
    path = f"/api/gc/v1/me/messages/{found['id']}"
    assert word in json.loads(deployment.web(path, **bearer(tokens[recipient.login].access)).body)["body"]["content"]
    assert deployment.web(path, **bearer(tokens[sender.login].access)).status == 404


@pytest.mark.parametrize("path", ["/api/gc/v1/me", "/api/gc/v1/me/messages", "/api/kvs/v1/kv/user/x"])
def test_the_rest_api_refuses_those_without_a_good_token(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens], path: str
) -> None:
    """outside -> web -> kapi -> konnect: no token, or one that is garbage, expired, forged, foreign or too narrow, is refused."""
    own, other = (tokens[person.login] for person in people)
    claims = claims_of(own.access)
    basic = base64.b64encode(f"{people[0].login}:{people[0].password}".encode()).decode()
    refused = {
        "none": Headers(),
        "basic": Headers(Authorization=f"Basic {basic}"),
        **{name: bearer(token) for name, token in no_good(deployment, own, other).items()},
    }
    for name, headers in refused.items():
        answer = deployment.web(path, **headers)
        assert answer.status == 401, name
        assert answer.headers["www-authenticate"].startswith("Bearer"), name
    narrow = bearer(signed(deployment, claims | {"kc.authorizedScopes": ["openid", "profile", "email"]}))
    assert deployment.web(path, **narrow).status == 403
    # Nothing but what is said above is wrong with these tokens.
    good = bearer(signed(deployment, claims))
    assert deployment.web(path, **good).status == (404 if "/kvs/" in path else 200)


def test_a_user_keeps_values_that_others_do_not_see(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens]
) -> None:
    """outside -> web -> kapi: a value is kept in the key value store for its owner alone."""
    path, value = f"/api/kvs/v1/kv/user/arrows/{secrets.token_hex(6)}", {"colour": secrets.token_hex(6)}
    mine, theirs = bearer(tokens[people[0].login].access), bearer(tokens[people[1].login].access)
    assert deployment.web(path, **mine).status == 404
    assert deployment.web(path, "PUT", json.dumps(value), Content_Type="application/json", **mine).status == 200
    found = deployment.web(path, **mine)
    assert (found.status, json.loads(found.body)["value"]) == (200, value)
    assert deployment.web(path, **theirs).status == 404
    assert deployment.web(path, "DELETE", **theirs).status == 404
    assert deployment.web(path, "PUT", "{", Content_Type="application/json", **mine).status == 400
    assert deployment.web(path, "DELETE", **mine).status == 200
    assert deployment.web(path, **mine).status == 404


# Proxy


@pytest.mark.parametrize(
    ("path", "block", "port", "status", "marker"),
    [
        ("/webapp/", "webapp", 9080, 200, "Kopano lab (Roundcube)"),
        ("/meet/", "meet", 9080, 200, "<title>Meet - Kopano lab"),
        ("/api/config/v1/kopano/meet/config.json", "meet", 9080, 200, '"apiPrefix"'),
        ("/.well-known/openid-configuration", "konnect", 8777, 200, '"issuer"'),
        ("/konnect/v1/userinfo", "konnect", 8777, 401, '"invalid_token"'),
        ("/signin/v1/identifier", "konnect", 8777, 200, 'name="username"'),
        (AUTHORIZE, "konnect", 8777, 400, "this client is not known here"),
        ("/api/gc/v1/me", "kapi", 8039, 401, "a bearer token is needed"),
        ("/api/pubs/v1/stream/connect", "kapi", 8039, 401, "a bearer token is needed"),
        ("/api/kvs/v1/kv/user/route", "kapi", 8039, 401, "a bearer token is needed"),
        ("/api/kwm/v2/rtm/turn", "kwmserver", 8778, 403, "auth failed"),
        ("/Microsoft-Server-ActiveSync", "zpush", 9080, 401, "here is ActiveSync"),
        ("/AutoDiscover/AutoDiscover.xml", "zpush", 9080, 401, "here is ActiveSync"),
        ("/Autodiscover/Autodiscover.xml", "zpush", 9080, 401, "here is ActiveSync"),
        ("/autodiscover/autodiscover.xml", "zpush", 9080, 401, "here is ActiveSync"),
        ("/caldav/", "ical", 8080, 401, "user and password"),
        ("/kdav/", "kdav", 9080, 401, "user and password"),
        ("/ldap-admin/", "ldap-admin", 80, 200, "phpLDAPadmin"),
        ("/password-reset/", "password-self-service", 80, 200, "<title>Change your passwo"),
    ],
)
def test_each_route_leads_to_its_block(
    deployment: Deployment, path: str, block: str, port: int, status: int, marker: str
) -> None:
    """outside -> web -> every frontend: each route of the proxy is answered by the block that it is for."""
    joined = json.loads(docker("inspect", deployment.containers()[block]))[0]["NetworkSettings"]["Networks"]
    address = joined[deployment.outputs["networks"]["web"]]["IPAddress"]
    # The proxy writes down the path that it hands on; these two are at home at the root of their hosts.
    handed_on = "/" if block in ("ldap-admin", "password-self-service") else path
    since = time.time()
    answer = deployment.web(path)
    assert (answer.status, marker in answer.body) == (status, True), answer.body[:500]

    def reached() -> list[str]:
        logged = docker("logs", "--since", f"{since:.3f}", deployment.containers()["web"])
        return re.findall(rf'"GET {re.escape(handed_on)} HTTP/1\.1" {status} .* at=(\S+)', logged)

    assert set(eventually(reached)) == {f"{address}:{port}"}


@pytest.mark.parametrize("path", ["/calendar/", "/api/config/v1/kopano/calendar/config.json"])
def test_the_route_to_a_block_that_is_off_says_so(deployment: Deployment, path: str) -> None:
    """outside -> web -> kapps: where the calendar is off its routes say that it is not there, and nothing else answers."""
    assert "kapps" not in deployment.containers()
    assert "calendar" not in deployment.outputs["urls"]
    answer = deployment.web(path)
    assert answer.status == 502
    assert "<code>kopano_kapps</code>" in answer.body


@pytest.mark.parametrize("name", ["caldav", "carddav"])
def test_well_known_addresses_lead_to_calendars_and_contacts(deployment: Deployment, name: str) -> None:
    """outside -> web -> kdav: phones that know nothing but the host name find calendars and contacts."""
    answer = deployment.web(f"/.well-known/{name}")
    home = urlsplit(deployment.outputs["urls"][name])
    assert (answer.status, urlsplit(answer.location).path) == (301, home.path)
    assert urlsplit(answer.location).netloc in ("", home.netloc)


@pytest.mark.parametrize(("below", "inside"), [("admin", 403), ("mcu", 501)])
def test_what_is_for_the_signalling_servers_peers_is_closed_from_outside(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens], below: str, inside: int
) -> None:
    """outside -> web -> kwmserver: what is below admin and mcu cannot be reached, in any spelling, also with a good token."""
    status = "curl --silent --output /dev/null --write-out '%{http_code}'"
    known = deployment.execute("kwmserver", "sh", "-c", f"{status} http://127.0.0.1:8778/api/kwm/v2/{below}/x")
    assert known == str(inside)
    for path in (below, f"{below}/", f"{below}/x", f"%{ord(below[0]):x}{below[1:]}/x", f"/{below}/x", f"rtm/../{below}/x"):
        assert deployment.web(f"/api/kwm/v2/{path}", **bearer(tokens[people[0].login].access)).status == 404, path
    assert deployment.web("/api/kwm/v2/rtm/connect", **bearer(tokens[people[0].login].access)).status == 200


def test_a_flood_is_stopped_for_its_sender_and_nobody_else(deployment: Deployment) -> None:
    """outside -> web -> konnect, kapi, kwmserver: whoever asks too much is told to wait; others and other routes are not."""
    # Two routes of each block, which share its limit.
    limited = {
        "konnect": {"/konnect/v1/jwks.json": 200, "/signin/v1/identifier/_/authorize": 400},
        "kapi": {"/api/gc/v1/me": 401, "/api/kvs/v1/kv/user/x": 401},
        "kwmserver": {"/api/kwm/v2/rtm/turn": 403, "/api/kwm/v2/rtm/connect": 403},
    }
    unlimited = {"/meet/": 200, "/.well-known/openid-configuration": 200, "/signin/v1/identifier": 200, "/caldav/": 401}
    # One sender for all of it: the next container could get the address of this one, and with it the blame.
    script = """cat > /tmp/ca.pem
    ask() {
        curl --silent --cacert /tmp/ca.pem --connect-to ::web:443 --output /dev/null --write-out '%{http_code} ' "https://$SITE$1"
    }
    while read -r first second; do
        ask "$first?[1-300]"; echo; ask "$second?[1-20]"; echo
        for route in $CALM; do ask "$route"; done; echo
    done <<END
$FLOODED
END
    # The limit is per minute, so that the next request gets through after a moment.
    sleep 2; for route in $(echo "$FLOODED"); do ask "$route"; sleep 1; done; echo
    """
    done = from_network(
        deployment.outputs["networks"]["web"],
        catalog.reference("base"),
        script,
        stdin=deployment.outputs["caCertificate"],
        SITE=urlsplit(deployment.outputs["urls"]["webapp"]).netloc,
        FLOODED="\n".join(" ".join(routes) for routes in limited.values()),
        CALM=" ".join(["/api/kwm/v2/rtm/turn", *unlimited]),
    )
    assert done.returncode == 0, done.stderr
    *floods, later = ([int(code) for code in line.split()] for line in done.stdout.splitlines())
    for number, (block, routes) in enumerate(limited.items()):
        first, second, calm = floods[3 * number : 3 * number + 3]
        status, other_status = routes.values()
        assert len(first) == 300, block
        assert set(first[:190]) == {status}, block
        assert set(first) == {status, 429}, block
        assert first.count(429) > 30, block
        assert second.count(429) > 10, block
        assert set(second) <= {other_status, 429}, block
        if block != "kwmserver":
            assert calm == [403, *unlimited.values()], block
        assert calm[1:] == [*unlimited.values()], block
    assert later == [status for routes in limited.values() for status in routes.values()]
    for path, status in [route for routes in limited.values() for route in routes.items()]:
        assert deployment.web(path).status == status


def test_plain_http_leads_to_the_same_address_over_https(deployment: Deployment) -> None:
    """outside -> web: plain http is answered with the way to https, and with nothing else."""
    origin = deployment.outputs["urls"]["webapp"].removesuffix("/webapp/")
    for method, path in (("GET", "/meet/r/group/tea?a=b"), ("POST", "/konnect/v1/token"), ("GET", "/api/kwm/v2/admin")):
        connection = http.client.HTTPConnection("127.0.0.1", deployment.http_port, timeout=20)
        answer = ask(connection, path, method, "" if method == "POST" else None, Host=deployment.outputs["fqdn"])
        assert (answer.status, answer.location) == (301, origin + path)


def test_the_proxys_certificate_is_for_the_host_name_and_of_the_stacks_authority(deployment: Deployment) -> None:
    """outside -> web: the certificate verifies for the host name, with the stack's authority alone."""

    def handshake(trusting: ssl.SSLContext, name: str) -> dict[str, Any]:
        with (
            socket.create_connection(("127.0.0.1", deployment.https_port), timeout=20) as plain,
            trusting.wrap_socket(plain, server_hostname=name) as secured,
        ):
            return dict(secured.getpeercert() or {})

    fqdn = deployment.outputs["fqdn"]
    shown = handshake(deployment.authority, fqdn)
    assert ("DNS", fqdn) in shown["subjectAltName"]
    assert ssl.cert_time_to_seconds(shown["notAfter"]) > time.time() + 24 * 3600
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(deployment.authority, f"other.{fqdn}")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed certificate"):
        handshake(ssl.create_default_context(), fqdn)


@pytest.mark.parametrize("block", ["konnect", "kapi", "kwmserver"])
def test_services_trust_the_stacks_authority_and_no_address_of_the_stack_without_it(deployment: Deployment, block: str) -> None:
    """konnect, kapi, kwmserver -> web: services verify the proxy's certificate, with the stack's authority."""
    authority = deployment.execute(block, "sh", "-c", 'cat "$SSL_CERT_FILE"')
    assert authority.strip() == deployment.outputs["caCertificate"].strip()
    url = deployment.outputs["urls"]["openid"]
    port = urlsplit(url).port or 443
    # curl takes this host name for the machine itself, unless it is told otherwise.
    fetch = f"curl --silent --output /dev/null --write-out '%{{http_code}}' --connect-to ::web:{port} {url}"
    assert deployment.execute(block, "sh", "-c", fetch) == "200"
    # 60: the peer's certificate cannot be authenticated with the authorities that are known.
    assert deployment.execute(block, "sh", "-c", f'env --unset=SSL_CERT_FILE {fetch} || echo " $?"').split() == ["000", "60"]


def test_no_block_is_told_to_skip_the_checking_of_certificates(deployment: Deployment) -> None:
    """every block -> its peers: no switch that turns certificate checking off is on."""
    switches = {}
    for block, box in deployment.containers().items():
        for line in json.loads(docker("inspect", box))[0]["Config"]["Env"]:
            name, _, value = line.partition("=")
            if re.search("insecure|skip_verify|no_check|verify_?none", name, re.IGNORECASE):
                switches[f"{block} {name}"] = value
    # The blocks that have such a switch, so that looking for it can fail.
    assert {name.split()[0] for name in switches} >= {"server", "grapi", "kapi", "kwmserver"}
    assert set(switches.values()) == {"no"}


# WebApp


def log_in_to_webapp_by_password(page: Page, url: str, person: Person, password: str | None = None) -> None:
    page.goto(url)
    page.fill("input[name=_user]", person.login)
    page.fill("input[name=_pass]", person.password if password is None else password)
    page.click("button[type=submit]")


def log_in_to_webapp_by_openid(page: Page, url: str, person: Person) -> None:
    page.goto(url)
    page.click("#rcmloginoauth")
    page.fill("#username", person.login)
    page.fill("#password", person.password)
    page.click("button[type=submit]")


def write_in_webapp(page: Page, url: str, recipient: Person, subject: str, word: str) -> None:
    page.wait_for_selector("#messagelist", state="attached")
    page.goto(f"{url}?_task=mail&_action=compose")
    page.fill("#compose_to input, #_to", recipient.mail)
    page.fill("#compose-subject", subject)
    page.fill("#composebody", f"Please read: {word}")
    page.click("a.send, button.send")
    page.wait_for_selector("#messagelist", state="attached")


def find_in_webapp(page: Page, url: str, sender: Person, subject: str, word: str) -> None:
    page.wait_for_selector("#messagelist", state="attached")

    def listed() -> bool:
        page.goto(f"{url}?_task=mail&_mbox=INBOX")
        page.wait_for_selector("#messagelist", state="attached")
        return page.locator("#messagelist").filter(has_text=subject).count() > 0

    eventually(listed, 60)
    page.locator("#messagelist td.subject a", has_text=subject).first.dblclick()
    expect(page.locator("#messagebody")).to_contain_text(word)
    expect(page.locator(f'a[href="mailto:{sender.mail}"]').first).to_be_visible()


def test_a_mail_that_a_user_writes_in_the_webapp_is_found_by_another_in_the_webapp(
    deployment: Deployment, people: tuple[Person, Person], new_page: Callable[[], Page]
) -> None:
    """browser -> web -> webapp -> server -> spooler -> mail -> dagent -> server -> gateway -> webapp: a mail between users."""
    sender, recipient = people
    url, subject, word = deployment.outputs["urls"]["webapp"], f"webapp {secrets.token_hex(6)}", secrets.token_hex(6)
    writing, reading = new_page(), new_page()
    log_in_to_webapp_by_password(writing, url, sender)
    write_in_webapp(writing, url, recipient, subject, word)
    log_in_to_webapp_by_password(reading, url, recipient)
    find_in_webapp(reading, url, sender, subject, word)


def test_the_webapp_refuses_a_wrong_password(
    deployment: Deployment, people: tuple[Person, Person], new_page: Callable[[], Page]
) -> None:
    """browser -> web -> webapp -> gateway -> server -> ldap: a wrong password opens no mailbox."""
    page = new_page()
    log_in_to_webapp_by_password(page, deployment.outputs["urls"]["webapp"], people[0], password=people[1].password)
    expect(page.locator("#messagestack, #message").first).to_contain_text("Login failed")
    expect(page.locator("input[name=_pass]")).to_be_visible()


def test_users_log_in_to_the_webapp_by_openid_and_their_mail_goes_out_and_comes_in(
    deployment: Deployment, people: tuple[Person, Person], new_page: Callable[[], Page]
) -> None:
    """browser -> web -> webapp -> web -> konnect -> server -> gateway -> webapp: log-in, mail and log-out without a password."""
    sender, recipient = people
    url, subject, word = deployment.outputs["urls"]["webapp"], f"openid {secrets.token_hex(6)}", secrets.token_hex(6)
    writing, reading = new_page(), new_page()
    log_in_to_webapp_by_openid(writing, url, replace(sender, password="wrong"))
    expect(writing.locator("[role=alert]")).to_have_text("The user name or the password is wrong.")
    writing.fill("#password", sender.password)
    writing.click("button[type=submit]")
    write_in_webapp(writing, url, recipient, subject, word)
    log_in_to_webapp_by_openid(reading, url, recipient)
    find_in_webapp(reading, url, sender, subject, word)
    # Who logs out is signed out at the provider too, and somebody else can log in with the same browser.
    writing.click("a.logout")
    expect(writing.locator("#rcmloginoauth")).to_be_visible()
    log_in_to_webapp_by_openid(writing, url, recipient)
    find_in_webapp(writing, url, sender, subject, word)


def test_the_webapp_renews_an_access_token_that_is_over(
    deployment: Deployment, people: tuple[Person, Person], new_page: Callable[[], Page]
) -> None:
    """webapp -> web -> konnect: a user stays logged in for longer than an access token lasts."""
    page, url = new_page(), deployment.outputs["urls"]["webapp"]
    log_in_to_webapp_by_openid(page, url, people[0])
    page.wait_for_selector("#messagelist", state="attached")
    (session,) = [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "roundcube_sessid"]
    assert re.fullmatch(r"[A-Za-z0-9,-]+", session)
    file = f"/run/sessions/sess_{session}"

    def kept() -> tuple[str, int]:
        """The access token, encrypted, and when it is over."""
        found = re.search(r'password\|s:\d+:"([^"]+)".*"expires";i:(\d+)', deployment.execute("webapp", "cat", file), re.DOTALL)
        assert found
        return found[1], int(found[2])

    token, until = kept()
    assert time.time() < until < time.time() + 600
    deployment.execute("webapp", "sed", "--in-place", 's/"expires";i:[0-9]*/"expires";i:1000000000/', file)
    page.goto(f"{url}?_task=mail&_mbox=INBOX")
    page.wait_for_selector("#messagelist", state="attached")
    renewed, later = kept()
    assert renewed != token
    assert later >= until


def test_the_webapp_takes_no_answer_to_a_log_in_that_its_browser_has_not_begun(
    deployment: Deployment, people: tuple[Person, Person], new_page: Callable[[], Page]
) -> None:
    """browser -> web -> webapp: nobody is logged in to somebody else's account by a link."""
    page, url = new_page(), deployment.outputs["urls"]["webapp"]
    link = f"{url}index.php/login/oauth?code={Client(deployment).code(people[0])}&state=the-state"
    for begun in (False, True):
        if begun:
            page.goto(url)
            page.click("#rcmloginoauth")
            expect(page.locator("#username")).to_be_visible()
        page.goto(link)
        expect(page.locator("#messagestack, #message").first).to_contain_text("OAuth login failed")
        expect(page.locator("input[name=_pass]")).to_be_visible()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_the_gateway_takes_good_access_tokens_of_the_provider_alone(
    deployment: Deployment, people: tuple[Person, Person], tokens: dict[str, Tokens], mechanism: str
) -> None:
    """outside -> gateway-tls -> gateway -> server -> web -> konnect: only a good token opens a mailbox."""
    person, other = people
    own = tokens[person.login]

    def logged_on(token: str, user: str = person.login) -> bool:
        head = f"user={user}" if mechanism == "XOAUTH2" else f"n,a={user},"
        answers = iter([f"{head}\x01auth=Bearer {token}\x01\x01".encode()])
        trusting = deployment.authority
        trusting.check_hostname = False
        with imaplib.IMAP4_SSL("127.0.0.1", deployment.ports["imaps"], ssl_context=trusting, timeout=30) as imap:
            assert f"AUTH={mechanism}" in imap.capabilities
            try:
                imap.authenticate(mechanism, lambda _: next(answers, b""))
            except imaplib.IMAP4.error as refusal:
                assert "[AUTHENTICATIONFAILED]" in str(refusal)  # noqa: PT017 - either may come
                return False
            return imap.select("INBOX")[0] == "OK"

    for name, token in no_good(deployment, own, tokens[other.login]).items():
        assert not logged_on(token), name
    claims = claims_of(own.access)
    assert not logged_on(signed(deployment, claims | {"kc.authorizedScopes": ["openid", "profile", "email"]}))
    assert not logged_on(own.access, other.login)
    # Nothing but what is said above is wrong with these tokens.
    assert logged_on(signed(deployment, claims))
    assert logged_on(own.access)
