"""The pure parts of the services beside the lab's server: mails, quotas, sending, search, mailboxes."""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any, ClassVar

import pytest

CORE = Path(__file__).resolve().parents[2] / "lab" / "images" / "core"
sys.path.insert(0, str(CORE))

from kopano_lab import header, service, texts  # noqa: E402
from kopano_lab.client import Client  # noqa: E402
from kopano_lab.config import Config, known_options  # noqa: E402
from kopano_lab.errors import Refusal  # noqa: E402
from kopano_lab.gateway.account import Account  # noqa: E402
from kopano_lab.gateway.parts import Part, written  # noqa: E402
from kopano_lab.monitor import main as monitor  # noqa: E402
from kopano_lab.search.index import Index  # noqa: E402
from kopano_lab.search.main import OPTIONS as SEARCH  # noqa: E402
from kopano_lab.search.main import Follower  # noqa: E402
from kopano_lab.server import quota, schema  # noqa: E402
from kopano_lab.server.mail import _flags  # noqa: E402
from kopano_lab.server.mailcalls import MailCalls, Stores  # noqa: E402
from kopano_lab.server.people import enabled  # noqa: E402
from kopano_lab.server.request import Peer, Request  # noqa: E402
from kopano_lab.server.sessions import Session  # noqa: E402
from kopano_lab.spamd.main import OPTIONS as SPAMD  # noqa: E402
from kopano_lab.spamd.main import Watcher  # noqa: E402
from kopano_lab.spooler.main import OPTIONS as SPOOLER  # noqa: E402
from kopano_lab.spooler.sending import Away, Refused, Work, bounce, ready  # noqa: E402
from kopano_lab.wire import RpcError  # noqa: E402

MAIL = b"From: One <one@x>\r\nTo: two@x, Three <three@x>\r\nSubject: =?utf-8?q?M=C3=BCll?=\r\n\r\nbody\r\n"
NESTED = (
    b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\npreamble\r\n"
    b"--b1\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n"
    b"--b2\r\n\r\nplain\r\n--b2\r\nContent-Type: text/html\r\n\r\n<p>h</p>\r\n--b2--\r\n"
    b'--b1\r\nContent-Type: application/pdf; name="a b.pdf"\r\n'
    b'Content-Disposition: attachment; filename="a b.pdf"\r\n\r\nAAAA\r\n'
    b"--b1\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/mixed; boundary=b3\r\n\r\n"
    b"--b3\r\n\r\nfirst\r\n--b3--\r\n\r\n--b1--\r\nepilogue\r\n"
)


class FakeServer:
    """Answers calls from a table, and keeps what was called."""

    def __init__(self, content: bytes = MAIL, **answers: Any) -> None:
        self.content = content
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.payloads: list[bytes] = []

    def call(self, method: str, payload: bytes = b"", **params: Any) -> tuple[Any, bytes]:
        self.calls.append((method, params))
        self.payloads.append(payload)
        answer = self.answers.get(method.replace(".", "_"))
        if isinstance(answer, list) and answer and isinstance(answer[0], Exception):
            raise answer.pop(0)
        return answer, b""

    def read(self, message: int) -> tuple[dict[str, Any], bytes]:
        return {"id": message}, self.content

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


# Mails.


def test_the_header_of_a_mail_ends_at_the_first_empty_line() -> None:
    assert header.cut(b"A: b\r\n\r\nC: d\r\n\r\n") == b"A: b\r\n\r\n"
    assert header.cut(b"A: b\n\nC: d\r\n\r\n") == b"A: b\n\n"
    assert header.cut(b"A: b\r\n") == b"A: b\r\n"


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b"Subject: =?utf-8?q?M=C3=BCll?=\r\n\r\n", "Müll"),
        ("Subject: Müll\r\n\r\n".encode(), "Müll"),
        (b"Subject: a\r\n b\r\n\r\n", "a b"),
        (b"Subject: =?nonsense?q?x?=\r\n\r\n", "=?nonsense?q?x?="),
        (b"\r\n", ""),
    ],
)
def test_a_field_is_read_as_a_person_reads_it(raw: bytes, read: str) -> None:
    assert header.text(header.parse(raw), "subject") == read


def test_addresses_come_once_each_and_from_all_named_fields() -> None:
    fields = header.parse(b"To: a@x, B <b@x>\r\nCc: a@x\r\nCc: c@x\r\nBcc: undisclosed:;\r\n\r\n")
    assert header.addresses(fields, "To", "Cc", "Bcc") == ["a@x", "b@x", "c@x"]


def test_a_search_sees_texts_and_html_without_its_marks_and_no_attachment_unless_asked() -> None:
    mail = (
        b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        b"<style>hidden</style><b>bo</b>ld\r\n"
        b"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nattached\r\n--b--"
    )
    found = texts.fields(mail)
    assert "bo ld" in found["body"]
    assert "hidden" not in found["body"]
    assert "attached" not in found["body"]
    assert "attached" in texts.fields(mail, attachments=True)["body"]
    assert texts.found(found, "text", "SUBJECT: S")
    assert not texts.found(found, "body", "subject")


# Parts of a mail, as IMAP counts them.


@pytest.mark.parametrize(
    ("numbers", "body"),
    [
        ((0, 0), b"plain"),
        ((0, 1), b"<p>h</p>"),
        ((1,), b"AAAA"),
        ((2, 0), b"first"),
        ((0, 2), None),
        ((3,), None),
        ((1, 0), None),
    ],
)
def test_a_part_is_found_by_its_numbers(numbers: tuple[int, ...], body: bytes | None) -> None:
    part = Part(NESTED).at(numbers)
    assert (part.body if part else None) == body


def test_the_only_part_of_a_simple_mail_is_number_one() -> None:
    mail = Part(MAIL)
    assert mail.at((0,)) is mail
    assert mail.at((1,)) is None
    holder = Part(b"Content-Type: message/rfc822\r\n\r\n" + MAIL)
    assert holder.at((0,)) is holder


def test_a_structure_is_written_as_imap_wants_it() -> None:
    assert written(Part(MAIL).structure(False)) == b'("text" "plain" NIL NIL NIL "7bit" 6 1)'
    text = written(Part(NESTED).structure(True))
    assert text.startswith(b'((("text" "plain" NIL NIL NIL "7bit" 5 1 NIL NIL NIL NIL)("text" "html"')
    assert b'("application" "pdf" ("name" "a b.pdf") NIL NIL "7bit" 4 NIL ("attachment" ("filename" "a b.pdf")) NIL NIL)' in text
    assert b'(NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL)' in text
    assert text.endswith(b'"mixed" ("boundary" "b1") NIL NIL NIL)')


def test_an_envelope_takes_from_for_a_missing_sender() -> None:
    envelope = Part(MAIL).envelope()
    assert envelope[2] == envelope[3] == envelope[4] == [[b"One", None, b"one", b"x"]]
    assert envelope[5] == [[None, None, b"two", b"x"], [b"Three", None, b"three", b"x"]]


@pytest.mark.parametrize(
    "raw", [b"", b"\r\n", b"no header", b"Content-Type: multipart/mixed\r\n\r\n", b"Content-Type: ;;=\r\n\r\nx"]
)
def test_a_broken_mail_has_a_structure_too(raw: bytes) -> None:
    assert written(Part(raw).structure(True)).startswith(b'("text" "plain"')


def test_what_is_no_plain_text_is_written_as_a_literal() -> None:
    assert written('"ü'.encode()) == b'{3}\r\n"\xc3\xbc'
    assert written(b'a"b\\') == b'"a\\"b\\\\"'


def test_fields_are_chosen_with_their_folded_lines_and_as_they_came() -> None:
    part = Part(b"A: 1\r\n more\r\nb: 2\r\nA: 3\r\n\r\n")
    assert part.chosen([b"a"], others=False) == b"A: 1\r\n more\r\nA: 3\r\n\r\n"
    assert part.chosen([b"a"], others=True) == b"b: 2\r\n\r\n"


# Mailboxes.

FOLDERS = [
    {"id": 1, "parent": 0, "name": "Inbox", "kind": "inbox"},
    {"id": 2, "parent": 1, "name": "Sub", "kind": ""},
    {"id": 3, "parent": 0, "name": "Calendar", "kind": "calendar"},
    {"id": 4, "parent": 3, "name": "Below", "kind": ""},
]


def account(only_mail: bool, **answers: Any) -> tuple[Account, FakeServer]:
    server: Any = FakeServer(folder_list=FOLDERS, **answers)
    return Account(server, "imap", "user1", "secret", only_mail), server


def test_the_inbox_is_inbox_and_calendars_are_no_mailboxes() -> None:
    assert [mailbox.name for mailbox in account(True)[0].mailboxes()] == ["INBOX", "INBOX/Sub"]
    assert [mailbox.name for mailbox in account(False)[0].mailboxes()] == ["INBOX", "Calendar", "Calendar/Below", "INBOX/Sub"]


@pytest.mark.parametrize("name", ["inbox/Sub", "INBOX/Sub", "Inbox/Sub"])
def test_inbox_is_found_in_whatever_case(name: str) -> None:
    assert account(True)[0].needed(name).folder["id"] == 2


def test_a_mailbox_is_made_with_those_above_it() -> None:
    made, server = account(True, folder_create=9)
    made.create("INBOX/New/Deep")
    assert [params for name, params in server.calls if name == "folder.create"] == [
        {"parent": 1, "name": "New"},
        {"parent": 9, "name": "Deep"},
    ]


def test_a_session_that_has_ended_is_opened_anew() -> None:
    user, server = account(True, message_list=[RpcError("logon_failed", "ended")])
    opened: list[dict[str, str]] = []
    server.log_on = lambda user, **given: opened.append({"user": user} | given)  # type: ignore[attr-defined]
    user.call("message.list", folder=1)
    assert opened == [{"user": "user1", "password": "secret", "service": "imap"}]
    assert server.names() == ["message.list", "message.list"]


# Rights and limits.


@pytest.mark.parametrize(
    ("properties", "disabled", "expected"),
    [
        ({}, {"imap", "pop3"}, False),
        ({}, {"pop3"}, True),
        ({"PR_EC_ENABLED_FEATURES": ["imap"]}, {"imap"}, True),
        ({"PR_EC_DISABLED_FEATURES": ["imap"]}, set(), False),
    ],
)
def test_the_users_own_features_come_before_the_servers(properties: dict[str, Any], disabled: set[str], expected: bool) -> None:
    assert enabled("imap", properties, disabled) is expected


@pytest.mark.parametrize(("held", "level"), [(0, ""), (10, "warn"), (25, "soft"), (30, "hard"), (99, "hard")])
def test_the_highest_limit_counts_and_no_limit_is_never_reached(held: int, level: str) -> None:
    assert quota.reached(held, {"warn": 10, "soft": 20, "hard": 30}) == level
    assert quota.reached(held, {"warn": 0, "soft": 0, "hard": 0}) == ""


def test_flags_are_kept_once_and_as_many_as_fit() -> None:
    assert _flags(["\\Seen", "\\seen", "$Work", "a)b", 'a"', "a\\b", "(", "\\", "x\r\ny"]) == "\\Seen $Work"
    assert len(_flags([f"keyword{number}" for number in range(99)])) <= 255


def test_a_change_of_the_tables_can_be_carried_out_twice() -> None:
    for statement in schema.VERSIONS[1]:
        assert re.search(r"IF NOT EXISTS|INSERT IGNORE|WHERE change_number = 0", statement), statement


@pytest.mark.parametrize("value", [None, "", "x", [], ["a", 1], [""]])
def test_a_parameter_that_is_no_list_of_texts_is_refused(value: Any) -> None:
    with pytest.raises(RpcError, match="recipients"):
        Request(Peer("socket"), {"recipients": value}).texts("recipients")


# The spooler.


class FakeRelay:
    """A mail server that refuses whom it is told to."""

    def __init__(self, refused: Refused | None = None) -> None:
        self.refused = refused or {}
        self.sent: list[tuple[str, list[str], bytes]] = []

    def send(self, sender: str, recipients: list[str], content: bytes) -> Refused:
        self.sent.append((sender, recipients, content))
        return self.refused


def message(**more: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "user": "one",
        "email": "one@x",
        "addresses": ["one@x", "Alias@X"],
        "recipients": None,
        "attempts": 0,
        "age": 1,
    } | more


def sent(refused: Refused | None = None, content: bytes = MAIL, **more: Any) -> tuple[FakeServer, FakeRelay]:
    server, relay = FakeServer(content), FakeRelay(refused)
    parts: Any = server, relay
    Work(*parts).send(message(**more))
    return server, relay


def test_a_mail_goes_to_those_in_its_header_and_then_to_the_sent_items() -> None:
    server, relay = sent()
    assert [(sender, recipients) for sender, recipients, _ in relay.sent] == [("one@x", ["two@x", "three@x"])]
    assert server.calls == [("outgoing.done", {"message": 7})]


def test_recipients_that_were_given_come_before_those_in_the_header() -> None:
    assert sent(recipients=["four@x"])[1].sent[0][1] == ["four@x"]


def test_a_mail_in_a_foreign_name_is_not_sent_and_comes_back() -> None:
    server, relay = sent(content=MAIL.replace(b"one@x", b"boss@x"))
    assert not relay.sent
    assert server.names() == ["message.add", "outgoing.done"]
    assert b"boss@x: 550" in server.payloads[0]


@pytest.mark.parametrize("address", ["ONE@x", "alias@x"])
def test_an_alias_is_a_name_of_ones_own(address: str) -> None:
    assert sent(content=MAIL.replace(b"one@x", address.encode()))[1].sent


def test_a_refusal_for_good_comes_back_and_the_mail_is_done() -> None:
    server, _ = sent({"two@x": (550, "no such user")})
    assert server.calls[0] == ("message.add", {"user": "one", "kind": "inbox", "over_quota": True})
    assert server.names() == ["message.add", "outgoing.done"]


def test_a_refusal_for_now_is_tried_again_later_for_that_recipient_alone() -> None:
    server, _ = sent({"two@x": (451, "later")}, attempts=2)
    assert server.calls == [("outgoing.defer", {"message": 7, "seconds": 60, "recipients": ["two@x"]})]


def test_after_five_days_a_refusal_for_now_is_one_for_good() -> None:
    assert sent({"two@x": (451, "later")}, age=6 * 24 * 3600)[0].names() == ["message.add", "outgoing.done"]


def test_a_mail_server_that_is_away_leaves_the_mail_where_it_is() -> None:
    server, relay = FakeServer(), FakeRelay()

    def away(*_: Any) -> Refused:
        raise Away("away")

    relay.send = away  # type: ignore[method-assign]
    parts: Any = server, relay
    with pytest.raises(Away):
        Work(*parts).send(message())
    assert not server.calls


def test_hidden_recipients_are_not_told_and_lines_end_as_smtp_wants() -> None:
    content = ready(b"Bcc: a@x,\r\n b@x\r\nSubject: s\nDate: d\r\nMessage-ID: <1>\r\nbcc: c@x\r\n\r\nBcc: stays\n")
    assert content == b"Subject: s\r\nDate: d\r\nMessage-ID: <1>\r\n\r\nBcc: stays\r\n"


def test_a_mail_without_date_and_id_gets_them() -> None:
    fields = header.parse(ready(b"Subject: s\r\n\r\nx"))
    assert fields["Date"]
    assert fields["Message-ID"]


def test_a_bounce_names_the_recipient_and_the_reason() -> None:
    mail = message_from_bytes(bounce(message(), MAIL, {"two@x": (550, "no such user")}))
    assert mail["To"] == "one@x"
    assert mail["From"].endswith("<postmaster@x>")
    assert "two@x: 550 no such user" in mail.as_string()


# The monitor.


def full(**more: Any) -> dict[str, Any]:
    limits = {"warn": 1, "soft": 2**20, "hard": 0}
    return {
        "user": "one",
        "fullname": "One",
        "email": "one@x",
        "size": 2**21,
        "quota": limits,
        "reached": "soft",
        "told": 0,
    } | more


def test_a_full_mailbox_is_told_once_in_the_interval() -> None:
    server: Any = FakeServer(
        quota_list=[full(), full(user="two", told=time.time() - 3600), full(user="three", reached="")],
    )
    monitor.check(server, 1)
    assert server.calls[1:] == [
        ("message.add", {"user": "one", "kind": "inbox", "over_quota": True}),
        ("quota.told", {"user": "one"}),
    ]
    assert b"holds 2.00 MB and has reached its soft limit" in server.payloads[1]


def test_after_the_interval_a_full_mailbox_is_told_again() -> None:
    server: Any = FakeServer(quota_list=[full(told=time.time() - 25 * 3600)])
    monitor.check(server, 1)
    assert "quota.told" in server.names()


# Search.

TEXTS = dict.fromkeys(texts.FIELDS, "") | {"subject": "Müll day", "body": "a needle, 100% sure"}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    made = Index(tmp_path / "search")
    made.begin("server", 100)
    made.put([(1, "A", TEXTS), (2, "B", TEXTS)], 5)
    return made


@pytest.mark.parametrize(
    ("field", "wanted", "found"),
    [
        ("text", "EEDL", [1]),
        ("body", "needle", [1]),
        ("subject", "needle", []),
        ("subject", "müll", [1]),
        ("text", "ü", [1]),
        ("text", "0%", [1]),
        ("text", "%", [1]),
        ("subject", "%", []),
        ("text", '"', []),
        ("text", 'needle" OR "sure', []),
        ("text", "needle sure", []),
    ],
)
def test_parts_of_words_are_found_in_one_store_alone(index: Index, field: str, wanted: str, found: list[int]) -> None:
    assert index.find("A", field, wanted) == (found, 5)


def test_what_is_taken_out_is_not_found(index: Index) -> None:
    index.put([(1, "A", None)], 6)
    assert index.find("A", "text", "needle") == ([], 6)


def test_an_index_is_kept_over_a_restart_and_begun_anew_for_another_database(index: Index, tmp_path: Path) -> None:
    again = Index(tmp_path / "search")
    assert again.begin("server", 100) == 5
    assert again.find("A", "text", "needle")[0] == [1]
    assert again.begin("server", 4) == 0, "the database was put back to an earlier state"
    assert again.find("A", "text", "needle") == ([], 0)
    again.put([(1, "A", TEXTS)], 5)
    assert again.begin("other", 100) == 0


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "index.db").write_bytes(b"nonsense" * 1000)
    assert Index(tmp_path / "search").begin("server", 1) == 0


def test_a_change_of_many_messages_counts_when_all_of_them_are_in(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kopano_lab.search.main._BATCH", 2)
    changes = [{"id": number, "number": 7, "store": "A", "kind": "inbox", "gone": 0} for number in (3, 4, 5)]
    server = FakeServer(server_status={"instance": "server"}, changes_wait=100)
    listed: list[Any] = [changes, Refusal("away")]
    kept: list[int] = []

    def call(method: str, **params: Any) -> tuple[Any, bytes]:
        if method != "changes.list":
            return server.answers[method.replace(".", "_")], b""
        following = listed.pop(0)
        if isinstance(following, Refusal):
            raise following
        return following, b""

    server.call = call  # type: ignore[method-assign]
    put = index.put
    monkeypatch.setattr(index, "put", lambda entries, upto: (kept.append(upto), put(entries, upto)))
    parts: Any = server, index, Config("search.cfg", {}, SEARCH)

    class Ending:
        def check(self) -> None:
            """No end."""

    ending: Any = Ending()
    with pytest.raises(Refusal):
        Follower(*parts).follow(ending)
    assert kept == [6, 7]
    assert index.find("A", "body", "body")[0] == [3, 4, 5]


# Spam.


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    for kind in ("spam", "ham"):
        (tmp_path / kind).mkdir()
    places = {"spam_dir": str(tmp_path / "spam"), "ham_dir": str(tmp_path / "ham"), "spam_db": str(tmp_path / "spam.db")}
    server: Any = FakeServer()
    return Watcher(server, Config("spamd.cfg", places, SPAMD), os.getgid())


def copies(watcher: Watcher, folder: Path, *kinds: str, gone: int = 0) -> tuple[int, int]:
    """How many copies there are of spam and of ham, when a mail has been seen in folders of these kinds."""
    for kind in kinds:
        watcher._look({"id": 3, "number": 7, "store": "A", "kind": kind, "gone": gone})
    return len(list((folder / "spam").iterdir())), len(list((folder / "ham").iterdir()))


def test_a_mail_that_moves_to_the_junk_folder_is_kept_as_spam_and_one_that_moves_back_as_ham(
    watcher: Watcher, tmp_path: Path
) -> None:
    assert copies(watcher, tmp_path, "inbox") == (0, 0)
    assert copies(watcher, tmp_path, "junk") == (1, 0)
    (copy,) = (tmp_path / "spam").iterdir()
    assert (copy.read_bytes(), copy.suffix, copy.stat().st_mode & 0o777) == (MAIL, ".eml", 0o660)
    assert copies(watcher, tmp_path, "inbox") == (0, 1)
    assert copies(watcher, tmp_path, "junk") == (1, 0)
    copy.unlink()
    # Learned and gone, or not: it was spam.
    assert copies(watcher, tmp_path, "inbox") == (0, 1)


@pytest.mark.parametrize(("kind", "gone"), [("", 0), ("wastebasket", 0), ("sentmail", 0), ("junk", 1)])
def test_what_is_elsewhere_or_deleted_is_not_kept(watcher: Watcher, tmp_path: Path, kind: str, gone: int) -> None:
    assert copies(watcher, tmp_path, kind, gone=gone) == (0, 0)


def test_what_was_delivered_as_spam_teaches_nothing_new(watcher: Watcher, tmp_path: Path) -> None:
    server: Any = FakeServer(b"X-Spam-Flag: YES\r\n" + MAIL)
    watcher._server = server
    assert copies(watcher, tmp_path, "junk", "inbox") == (0, 0)


def test_spam_that_cannot_be_written_is_told_and_ends_nothing(
    watcher: Watcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spam").rmdir()
    watcher._look({"id": 3, "number": 7, "store": "A", "kind": "junk", "gone": 0})
    assert "spam/" in caplog.text
    assert "cannot be written: No such file or directory" in caplog.text


def test_the_changes_from_now_on_count(watcher: Watcher, tmp_path: Path) -> None:
    asked: list[int] = []
    changes = [{"id": number, "number": 8, "store": "A", "kind": "junk", "gone": 0} for number in (3, 4)]

    def call(method: str, after: int, **params: Any) -> tuple[Any, bytes]:
        if method == "changes.wait":
            return 7, b""
        asked.append(after)
        if len(asked) == 2:
            raise Refusal("away")
        return changes, b""

    class Ending:
        def check(self) -> None:
            """No end."""

    ending: Any = Ending()
    watcher._server.call = call  # type: ignore[method-assign]
    with pytest.raises(Refusal):
        watcher.follow(ending)
    assert asked == [7, 8]


# Options and addresses.


@pytest.mark.parametrize(
    ("file", "options"),
    [("spooler", SPOOLER), ("monitor", monitor.OPTIONS), ("search", SEARCH), ("spamd", SPAMD)],
)
def test_a_service_acts_on_no_option_that_kopano_does_not_know(file: str, options: dict[str, str]) -> None:
    assert set(options) | set(service.DEFAULTS) <= known_options(file)


@pytest.mark.parametrize("text", ["OPTIONS = service.KEY |", "OPTIONS = {"])
def test_every_service_that_is_there_is_one_that_the_list_of_options_knows(text: str) -> None:
    for path in CORE.glob("kopano_lab/*/main.py"):
        if text in path.read_text("utf-8"):
            assert known_options(path.parent.name), path


def test_an_unknown_option_ends_a_service_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FOLDER", tmp_path)
    (tmp_path / "gateway.cfg").write_text("nonsense = 1\n")
    with pytest.raises(Refusal, match="KCCONF_GATEWAY_NONSENSE") as refusal:
        service.load("gateway", {})
    assert refusal.value.code == 1


class Waited:
    """Keeps what was waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sockets: list[str] = []
        self.peers: list[tuple[str, str]] = []
        monkeypatch.setattr(service.waits, "for_sockets", lambda paths, seconds: self.sockets.extend(paths))
        monkeypatch.setattr(service.waits, "for_tcp", lambda host, port, seconds, block: self.peers.append((host, port)))

    URLS: ClassVar = ["http://kopano_server:236/", "https://kopano_server/"]


def test_a_service_waits_for_the_server_that_its_address_names(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = Waited(monkeypatch)
    for url in ("default:", "file:///other.sock", *Waited.URLS):
        service.wait_for_server(url, "KCCONF_X_SERVER_SOCKET")
    assert waited.sockets == ["/run/kopano/server.sock", "/other.sock"]
    assert waited.peers == [("kopano_server", "236"), ("kopano_server", "237")]


@pytest.mark.parametrize("url", ["ftp://x", "kopano_server", "http://"])
def test_an_address_that_is_none_is_refused_by_its_variable(url: str) -> None:
    with pytest.raises(Refusal, match="KCCONF_X_SERVER_SOCKET"):
        service.wait_for_server(url, "KCCONF_X_SERVER_SOCKET")
    with pytest.raises(Refusal, match="no address of a server"):
        Client(url)


def test_an_end_is_at_once_where_nothing_is_lost_and_else_after_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.signal, "signal", lambda *_: None)
    ending = service.Ending()
    ending._ask()
    with pytest.raises(SystemExit):
        ending.check()
    waiting = service.Ending()
    with pytest.raises(SystemExit), waiting.waiting():
        waiting._ask()


# What the server lets be kept.


class FakeStores:
    """Folders, messages and limits of one store: keeps which limit was looked at."""

    def __init__(self) -> None:
        self.levels: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        yield self

    def execute(self, *_: Any) -> None:
        """Every question has the same answer."""

    def fetchone(self) -> dict[str, Any]:
        return {"id": 1, "name": "one"}

    def of_kind(self, store: int, kind: str) -> int:
        return {"outbox": 5, "inbox": 6}[kind]

    def add(self, store: int, folder: int, *given: Any) -> dict[str, int]:
        given[-2](None)
        return {"folder": folder}

    def refuse(self, cursor: Any, store: int, level: str) -> None:
        self.levels.append(level)


def kept(peer: Peer, session: Session | None = None, **params: Any) -> list[str]:
    fake: Any = FakeStores()
    calls = MailCalls(Stores(fake, fake, fake, fake, fake, fake, fake))
    calls.of_users["message.add"](Request(peer, params, session, payload=io.BytesIO(b"x"), size=1))
    levels: list[str] = fake.levels
    return levels


ADMIN = Peer("socket", admin=True)
USER = Session(1, "one", admin=False, used=0)


def test_a_delivery_counts_against_the_hard_limit_and_the_outbox_against_the_soft_one() -> None:
    assert kept(ADMIN, user="one", kind="inbox") == ["hard"]
    assert kept(Peer("http"), USER, folder=5) == ["soft"]


def test_only_a_service_may_go_over_a_limit() -> None:
    assert kept(ADMIN, user="one", kind="inbox", over_quota=True) == []
    assert kept(ADMIN, USER, kind="inbox", over_quota=True) == ["hard"]
