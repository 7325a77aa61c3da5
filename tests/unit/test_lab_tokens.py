"""Log-on by an access token at the lab's server and gateway: how clients send it, and which one is good."""

from __future__ import annotations

import json
import sys
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CORE = Path(__file__).resolve().parents[2] / "lab" / "images" / "core"
sys.path.insert(0, str(CORE))

from kopano_lab import sasl  # noqa: E402
from kopano_lab.errors import Refusal  # noqa: E402
from kopano_lab.gateway.account import Account  # noqa: E402
from kopano_lab.server import accounts, oidc  # noqa: E402
from kopano_lab.server.request import Peer, Request  # noqa: E402
from kopano_lab.server.rpc import Server  # noqa: E402
from kopano_lab.server.sessions import Sessions  # noqa: E402
from kopano_lab.wire import RpcError  # noqa: E402

ADDRESS = "https://kopano.example.com:8443"

# How clients send it.


@pytest.mark.parametrize(
    ("mechanism", "response", "user"),
    [
        ("XOAUTH2", b"user=user1\x01auth=Bearer t.o.k\x01\x01", "user1"),
        ("OAUTHBEARER", b"n,a=user1,\x01host=h\x01port=143\x01auth=bearer t.o.k\x01\x01", "user1"),
        ("OAUTHBEARER", b"y,a=a=2Cb=3Dc,\x01auth=Bearer t.o.k\x01\x01", "a,b=c"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer t.o.k\x01\x01", ""),
    ],
)
def test_user_and_token_are_read(mechanism: str, response: bytes, user: str) -> None:
    assert sasl.bearer(mechanism, response) == (user, "t.o.k")


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("XOAUTH2", b""),
        ("XOAUTH2", b"\x01"),
        ("XOAUTH2", b"user=user1\x01auth=Bearer t.o.k"),
        ("XOAUTH2", b"user=\x01auth=Bearer t.o.k\x01\x01"),
        ("XOAUTH2", b"user=user1\x01auth=Basic t.o.k\x01\x01"),
        ("XOAUTH2", b"user=user1\x01auth=Bearer \x01\x01"),
        ("XOAUTH2", b"user=\xff\x01auth=Bearer t.o.k\x01\x01"),
        ("XOAUTH2", b"n,a=user1,\x01auth=Bearer t.o.k\x01\x01"),
        ("OAUTHBEARER", b"user=user1\x01auth=Bearer t.o.k\x01\x01"),
        ("OAUTHBEARER", b"p=tls-unique,a=user1,\x01auth=Bearer t.o.k\x01\x01"),
        ("OAUTHBEARER", b"n,b=user1,\x01auth=Bearer t.o.k\x01\x01"),
    ],
)
def test_what_cannot_be_read_is_no_log_on(mechanism: str, response: bytes) -> None:
    with pytest.raises(ValueError, match=r"must|decode"):
        sasl.bearer(mechanism, response)


# Which one is good.


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def encoded(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).rstrip(b"=").decode()


class Provider:
    """What an OpenID provider answers, and how often it is asked."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        numbers = key.public_key().public_numbers()
        self.jwk = {"kty": "RSA", "kid": "one", "use": "sig", "n": encoded(numbers.n), "e": encoded(numbers.e)}
        self.address = ADDRESS
        self.down = False
        self.asked: list[str] = []

    def answer(self, url: str, timeout: float) -> dict[str, Any]:
        self.asked.append(url)
        if self.down:
            raise OSError("connection refused")
        if url == f"{ADDRESS}/jwks":
            return {"keys": [self.jwk]}
        return {"issuer": self.address, "jwks_uri": f"{ADDRESS}/jwks"}


@pytest.fixture
def provider(key: rsa.RSAPrivateKey) -> Provider:
    return Provider(key)


@pytest.fixture
def issuer(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> oidc.Issuer:
    made = oidc.Issuer(ADDRESS, insecure=False)
    monkeypatch.setattr(made, "_json", provider.answer)
    return made


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {
        "iss": ADDRESS,
        "sub": "somebody",
        "aud": "webapp",
        "iat": now,
        "exp": now + 600,
        "kc.isAccessToken": True,
        "kc.authorizedScopes": ["openid", "kopano/gc"],
        "kc.identity": {"kc.i.id": "1001", "kc.i.un": "user1"},
    } | changes
    return {name: value for name, value in said.items() if value is not None}


def signed(key: Any, algorithm: str = "PS256", kid: str = "one", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid})


def test_a_token_of_the_provider_speaks_for_its_user(issuer: oidc.Issuer, key: rsa.RSAPrivateKey) -> None:
    assert issuer.identity(signed(key)) == "1001"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iss": "https://other.example.com"},
        {"kc.isAccessToken": None},
        {"kc.isAccessToken": "yes"},
        {"kc.authorizedScopes": ["openid"]},
        {"kc.authorizedScopes": None},
        {"kc.identity": None},
        {"kc.identity": {"kc.i.id": 1001}},
        {"kc.identity": {"kc.i.id": "1001", "kc.i.guest": True}},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
def test_a_token_that_says_something_else_is_refused(
    issuer: oidc.Issuer, key: rsa.RSAPrivateKey, changes: dict[str, Any]
) -> None:
    with pytest.raises(oidc.Denied):
        issuer.identity(signed(key, **changes))


def test_a_token_that_the_provider_has_not_signed_is_refused(issuer: oidc.Issuer, key: rsa.RSAPrivateKey) -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    header, content, seal = signed(key).split(".")
    other = signed(key, **{"kc.identity": {"kc.i.id": "1002"}}).split(".")[1]
    forged = {
        "garbage": "x.y.z",
        "nothing": "",
        "another key": signed(stranger),
        "a key that nobody knows": signed(stranger, kid="two"),
        "a key of another kind": signed(ec.generate_private_key(ec.SECP256R1()), "ES256"),
        "the public key as a secret": jwt.encode(claims(), json.dumps("one"), "HS256", headers={"kid": "one"}),
        "no signature": jwt.encode(claims(), None, "none", headers={"kid": "one"}),
        "other content": f"{header}.{other}.{seal}",
        "half a signature": f"{header}.{content}.{seal[:100]}",
    }
    for token in forged.values():
        with pytest.raises(oidc.Denied):
            issuer.identity(token)


def test_the_keys_are_fetched_when_they_are_needed_and_kept(
    issuer: oidc.Issuer, provider: Provider, key: rsa.RSAPrivateKey
) -> None:
    issuer.identity(signed(key))
    issuer.identity(signed(key))
    for _ in range(3):
        with pytest.raises(oidc.Denied):
            issuer.identity(signed(key, kid="made up"))
    assert len(provider.asked) == 2


def test_a_provider_that_is_away_is_not_asked_by_each_token_and_found_when_it_is_back(
    issuer: oidc.Issuer, provider: Provider, key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(oidc.time, "monotonic", lambda: now)
    provider.down = True
    for _ in range(3):
        with pytest.raises(oidc.Unreachable):
            issuer.identity(signed(key))
    assert len(provider.asked) == 1
    provider.down = False
    now += 6
    assert issuer.identity(signed(key)) == "1001"


def test_a_provider_that_calls_itself_otherwise_is_not_believed(
    issuer: oidc.Issuer, provider: Provider, key: rsa.RSAPrivateKey
) -> None:
    provider.address = "https://other.example.com"
    with pytest.raises(oidc.Unreachable, match="calls itself"):
        issuer.identity(signed(key))


def test_the_provider_is_waited_for_and_missed_by_its_variable(issuer: oidc.Issuer, provider: Provider) -> None:
    issuer.wait(0)
    assert provider.asked == []
    issuer.wait(1)
    provider.down = True
    with pytest.raises(Refusal, match=r"KCCONF_SERVER_KCOIDC_ISSUER_IDENTIFIER.*connection refused") as refusal:
        issuer.wait(1)
    assert refusal.value.code == 255


def test_an_issuer_without_https_is_refused() -> None:
    with pytest.raises(Refusal, match="must be an https:// address"):
        oidc.Issuer("http://kopano.example.com", insecure=False)


# The server and the gateway.


class FakeIssuer:
    """Knows one token."""

    def identity(self, token: str) -> str:
        if token == "away":
            raise oidc.Unreachable
        if token != "good":
            raise oidc.Denied
        return "1001"


class FakeDatabase:
    @contextmanager
    def transaction(self) -> Any:
        yield None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a server that knows the user with the number 1001, whose feature pop3 is off."""
    row = {"id": 7, "name": "User1", "class": "user", "admin": 0}
    monkeypatch.setattr(accounts, "by_identity", lambda _, identity: row if identity == b"1001" else None)
    monkeypatch.setattr(accounts, "properties", lambda _, user: {})

    def make(issuer: Any) -> Server:
        stores: Any = type("Stores", (), {"database": FakeDatabase(), "quota": None})()
        monkeypatch.setattr("kopano_lab.server.rpc.MailCalls", lambda _: type("Calls", (), {"of_users": {}, "of_admins": {}})())
        nothing: Any = None
        features = frozenset({"pop3"})
        return Server(stores, nothing, Sessions(300), realtime=False, safe_mode=False, disabled_features=features, issuer=issuer)

    return make


def logged_on(server: Server, **params: str) -> str:
    return str(server.call("logon", Request(Peer("http"), dict(params)))["user"])


def test_who_has_a_token_is_logged_on_under_the_own_name_alone(server: Any) -> None:
    made = server(FakeIssuer())
    assert logged_on(made, user="", token="good") == "User1"
    assert logged_on(made, user="uSER1", token="good", service="imap") == "User1"
    for params, code in (
        ({"user": "user2", "token": "good"}, "logon_failed"),
        ({"user": "user1", "token": "bad"}, "logon_failed"),
        ({"user": "user1", "token": "away"}, "unavailable"),
        ({"user": "user1", "token": "good", "service": "pop3"}, "forbidden"),
        ({"user": "user1", "token": ""}, "bad_request"),
    ):
        with pytest.raises(RpcError) as refusal:
            logged_on(made, **params)
        assert refusal.value.code == code, params


def test_a_server_without_an_issuer_takes_no_token(server: Any) -> None:
    with pytest.raises(RpcError) as refusal:
        logged_on(server(None), user="user1", token="good")
    assert refusal.value.code == "logon_failed"


def test_the_gateway_shows_a_token_as_a_token() -> None:
    shown: list[dict[str, str]] = []

    class Client:
        def log_on(self, user: str, **given: str) -> dict[str, str]:
            shown.append(given)
            return {"user": "user1"}

    client: Any = Client()
    user = Account(client, "imap", "", "t.o.k", True, token=True)
    user.log_on()
    assert (user.user, shown) == ("user1", [{"service": "imap", "token": "t.o.k"}])
