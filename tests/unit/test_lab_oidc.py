"""The pure parts of the lab's OpenID provider, REST services and meeting server."""

from __future__ import annotations

import asyncio
import json
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

IMAGES = Path(__file__).resolve().parents[2] / "lab" / "images"
for name in ("core", "kapi", "konnect", "kwmserver"):
    sys.path.insert(0, str(IMAGES / name))

from kapi_lab import graph  # noqa: E402
from kapi_lab import settings as rest  # noqa: E402
from konnect_lab import settings as provider  # noqa: E402
from kopano_lab.errors import Refusal  # noqa: E402
from kwm_lab.rooms import Connection, Rooms, User  # noqa: E402

# The provider's settings.


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a container of the provider is started with."""
    monkeypatch.setattr(provider, "MACHINE_ID", [])
    (tmp_path / "signing.pem").write_text("a key")
    (tmp_path / "secret.key").write_bytes(bytes(32))
    (tmp_path / "clients.yaml").write_text("clients: []\n")
    (tmp_path / "scopes.yaml").write_text("scopes:\n  kopano/gc:\n    description: Mail\n")
    return {
        "FQDN": "kopano.example.com",
        "DOCKERIZE_TIMEOUT": "0s",
        "signing_private_key": f"{tmp_path}/signing.pem",
        "encryption_secret_key": f"{tmp_path}/secret.key",
        "identifier_registration_conf": f"{tmp_path}/clients.yaml",
        "identifier_scopes_conf": f"{tmp_path}/scopes.yaml",
    }


def test_the_issuer_is_the_host_name_unless_it_is_given(variables: dict[str, str]) -> None:
    assert provider.load(variables).issuer == "https://kopano.example.com"
    given = "https://kopano.example.com:8443"
    assert provider.load(variables | {"oidc_issuer_identifier": given}).issuer == given


def test_guests_and_self_registration_are_off_unless_they_are_switched_on(variables: dict[str, str]) -> None:
    found = provider.load(variables)
    assert (found.guests, found.registering) == (False, False)
    switched_on = {"allow_client_guests": "yes", "allow_dynamic_client_registration": "yes"}
    found = provider.load(variables | switched_on)
    assert (found.guests, found.registering) == (True, True)


def test_the_id_of_the_signing_key_is_the_name_of_its_file(variables: dict[str, str]) -> None:
    assert provider.load(variables).kid == "signing"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("oidc_issuer_identifier", "http://kopano.example.com"),
        ("signing_method", "none"),
        ("allow_client_guests", "true"),
        ("allow_dynamic_client_registration", "1"),
        ("KONNECT_BACKEND", "ldap"),
        ("external_oidc_provider", "yes"),
        ("signing_private_key", "signing.pem"),
        ("uri_base_path", "kopanoid"),
        ("log_level", "loud"),
        ("DOCKERIZE_TIMEOUT", "soon"),
    ],
)
def test_a_wrong_setting_of_the_provider_is_refused_by_its_name(variables: dict[str, str], variable: str, value: str) -> None:
    with pytest.raises(Refusal) as refusal:
        provider.load(variables | {variable: value})
    assert variable in str(refusal.value)
    assert refusal.value.code == 64


def test_a_short_encryption_key_is_refused(variables: dict[str, str]) -> None:
    Path(variables["encryption_secret_key"]).write_bytes(bytes(31))
    with pytest.raises(Refusal, match="has 31 bytes: it must have 32"):
        provider.load(variables)


@pytest.mark.parametrize(
    ("kind", "address", "trouble"),
    [
        ("web", "https://mailbox.example.com/callback", ""),
        ("native", "http://localhost:8090/callback", ""),
        ("web", "http://mailbox.example.com/callback", "must begin with https://"),
        ("web", "http://localhost:8090/callback", "must begin with https://"),
        ("native", "https://mailbox.example.com/callback", "must begin with http://localhost"),
        ("native", "http://mailbox.example.com/callback", "must begin with http://localhost"),
        ("web", "/callback", "has no host"),
        ("service", "https://mailbox.example.com/callback", "web or native"),
    ],
)
def test_a_client_that_konnect_would_leave_out_is_refused(kind: str, address: str, trouble: str) -> None:
    said = provider.unusable({"id": "mailbox", "application_type": kind, "redirect_uris": [address]})
    assert trouble in said
    assert bool(said) == bool(trouble)


def test_a_registration_that_is_no_yaml_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "clients.yaml"
    file.write_text("clients:\n  - [\n")
    with pytest.raises(Refusal, match=r"identifier_registration_conf names .* no YAML line 3"):
        provider.read_yaml(file, "identifier_registration_conf")


# The REST services.


def test_kapi_needs_an_issuer_with_https() -> None:
    for issuer in ("", "http://kopano.example.com", "https://"):
        with pytest.raises(Refusal, match="KCCONF_KAPID_OIDC_ISSUER_IDENTIFIER"):
            rest.kapi({"KCCONF_KAPID_OIDC_ISSUER_IDENTIFIER": issuer})


def test_certificates_are_verified_unless_insecure_is_set() -> None:
    issuer = {"KCCONF_KAPID_OIDC_ISSUER_IDENTIFIER": "https://kopano.example.com"}
    assert not rest.kapi(issuer).insecure
    assert rest.kapi(issuer | {"KCCONF_KAPID_INSECURE": "yes"}).insecure


def shown(content: bytes, *, whole: bool = False, flags: str = "") -> dict[str, Any]:
    known = {"id": 7, "flags": flags, "received": 1_800_000_000}
    return graph.message(known, content, known, 3, whole=whole)


def test_a_message_is_shown_with_its_sender_subject_and_text() -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Jörg <j@example.com>", "a@example.com, B <b@example.com>", "Grüße"
    mail["Date"] = "Mon, 02 Nov 2026 10:00:00 +0100"
    mail.set_content("Hello,\nhow are you?\n")
    found = shown(bytes(mail), whole=True, flags="\\Seen")
    assert found["from"] == {"emailAddress": {"name": "Jörg", "address": "j@example.com"}}
    assert [one["emailAddress"]["address"] for one in found["toRecipients"]] == ["a@example.com", "b@example.com"]
    assert (found["subject"], found["bodyPreview"], found["isRead"]) == ("Grüße", "Hello, how are you?", True)
    assert found["sentDateTime"] == "2026-11-02T09:00:00Z"
    assert found["receivedDateTime"] == "2027-01-15T08:00:00Z"
    assert found["body"]["contentType"] == "text"


def test_the_preview_of_html_is_its_words() -> None:
    html = b"Content-Type: text/html; charset=utf-8\n\n<style>p { color: red }</style><p>Only <b>these</b></p>"
    assert shown(html)["bodyPreview"] == "Only these"


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\n\n\xff", b"Content-Type: text/plain; charset=nonsense\n\nx", b"Date: never\nFrom: @\n\nx"]
)
def test_a_malformed_message_is_shown_all_the_same(content: bytes) -> None:
    assert shown(content)["id"] == "7"


def test_a_message_with_an_attachment_says_so() -> None:
    mail = EmailMessage()
    mail.set_content("see there")
    assert not shown(bytes(mail))["hasAttachments"]
    mail.add_attachment(b"1", maintype="application", subtype="pdf", filename="a.pdf")
    assert shown(bytes(mail))["hasAttachments"]


# Meetings.


class Wire:
    """Remembers what was sent to a client."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    async def send_json(self, data: Any) -> None:
        self.got.append(data)

    def last(self, subtype: str) -> dict[str, Any]:
        """The newest message of that kind."""
        return [one for one in self.got if one.get("subtype") == subtype][-1]


class Meeting:
    """A meeting server with a few clients, driven without a network."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self.loop = asyncio.new_event_loop()

    def enter(self, name: str, **rights: Any) -> Connection:
        connection = Connection(User(name, name.title(), **rights), Wire())
        self.loop.run_until_complete(self.rooms.enter(connection))
        return connection

    def say(self, connection: Connection, **message: Any) -> bool:
        return self.loop.run_until_complete(self.rooms.handle(connection, json.dumps(message)))

    def join(self, connection: Connection, group: str) -> dict[str, Any]:
        self.say(connection, id=1, type="webrtc", subtype="webrtc_group", target=group, group=group, state="s")
        return got(connection)[-1] if got(connection)[-1]["type"] == "error" else wire(connection).last("webrtc_channel")

    def leave(self, connection: Connection) -> None:
        self.loop.run_until_complete(self.rooms.leave(connection))


def wire(connection: Connection) -> Wire:
    assert isinstance(connection.wire, Wire)
    return connection.wire


def got(connection: Connection) -> list[dict[str, Any]]:
    return wire(connection).got


@pytest.fixture
def meeting() -> Any:
    found = Meeting()
    yield found
    found.loop.close()


def test_who_enters_a_room_learns_who_is_there_and_the_others_learn_of_it(meeting: Meeting) -> None:
    anna, ben = meeting.enter("anna"), meeting.enter("ben")
    meeting.join(anna, "group/tea")
    members = meeting.join(ben, "group/tea")["data"]["group"]["members"]
    assert sorted(members) == ["anna", "ben"]
    assert sorted(wire(anna).last("webrtc_channel")["data"]["group"]["members"]) == ["anna", "ben"]


def test_who_leaves_is_no_longer_a_member(meeting: Meeting) -> None:
    anna, ben = meeting.enter("anna"), meeting.enter("ben")
    meeting.join(anna, "group/tea")
    meeting.join(ben, "group/tea")
    meeting.leave(ben)
    assert wire(anna).last("webrtc_channel")["data"]["group"]["members"] == ["anna"]


def test_a_call_rings_and_its_signals_reach_the_other_one_alone(meeting: Meeting) -> None:
    anna, ben, carl = meeting.enter("anna"), meeting.enter("ben"), meeting.enter("carl")
    meeting.say(anna, id=1, type="webrtc", subtype="webrtc_call", target="ben", state="s", initiator=True)
    ring = wire(ben).last("webrtc_call")
    assert (ring["source"], ring["profile"]["name"]) == ("anna", "Anna")
    line = {"channel": ring["channel"], "hash": ring["hash"], "state": "s", "type": "webrtc"}
    meeting.say(ben, subtype="webrtc_call", target="anna", data={"accept": True}, **line)
    assert wire(anna).last("webrtc_call")["data"] == {"accept": True}
    meeting.say(anna, subtype="webrtc_signal", target="ben", data={"sdp": "offer"}, **line)
    assert wire(ben).last("webrtc_signal")["data"] == {"sdp": "offer"}
    assert len(got(carl)) == 1


def test_a_hash_is_good_for_the_two_of_a_call_only(meeting: Meeting) -> None:
    anna, carl = meeting.enter("anna"), meeting.enter("carl")
    meeting.enter("ben")
    meeting.say(anna, id=1, type="webrtc", subtype="webrtc_call", target="ben", state="s", initiator=True)
    line = wire(anna).last("webrtc_channel")
    meeting.say(
        carl,
        id=9,
        type="webrtc",
        subtype="webrtc_signal",
        target="anna",
        state="s",
        channel=line["channel"],
        hash=line["hash"],
        data={},
    )
    assert got(carl)[-1] == {"type": "error", "reply_to": 9, "error": {"code": "bad_message", "msg": "invalid hash"}}


def test_a_guest_gets_into_the_own_room_when_somebody_is_there(meeting: Meeting) -> None:
    guest, anna = meeting.enter("guest", room="group/public/tea", may_create=False), meeting.enter("anna")
    assert meeting.join(guest, "group/public/tea")["error"]["code"] == "create_restricted"
    meeting.join(anna, "group/public/tea")
    assert sorted(meeting.join(guest, "group/public/tea")["data"]["group"]["members"]) == ["anna", "guest"]


def test_a_guest_gets_into_no_other_room(meeting: Meeting) -> None:
    guest = meeting.enter("guest", room="group/public/tea")
    assert meeting.join(guest, "group/other")["error"]["code"] == "access_restricted"


def test_a_line_of_chat_reaches_all_in_the_room_and_nobody_else(meeting: Meeting) -> None:
    anna, ben, carl = meeting.enter("anna"), meeting.enter("ben"), meeting.enter("carl")
    meeting.join(anna, "group/tea")
    channel = meeting.join(ben, "group/tea")["channel"]
    meeting.say(ben, id=3, type="chats", subtype="chats_message", channel=channel, data={"text": "hello"})
    assert wire(anna).last("chats_message")["data"]["text"] == "hello"
    meeting.say(carl, id=4, type="chats", subtype="chats_message", channel=channel, data={"text": "me too"})
    assert got(carl)[-1]["error"]["msg"] == "connection not in channel"
    assert wire(anna).last("chats_message")["data"]["text"] == "hello"


def test_whether_somebody_is_connected_is_not_told(meeting: Meeting) -> None:
    anna = meeting.enter("anna")
    assert meeting.say(anna, id=1, type="webrtc", subtype="webrtc_call", target="nobody", state="s", initiator=True)
    assert [one["type"] for one in got(anna)] == ["hello", "webrtc"]


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"type": "nonsense"}', "{}"])
def test_what_is_no_message_ends_the_connection(meeting: Meeting, text: str) -> None:
    anna = meeting.enter("anna")
    assert meeting.loop.run_until_complete(meeting.rooms.handle(anna, text)) is False
