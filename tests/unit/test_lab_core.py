"""The pure parts of the lab's core services."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

CORE = Path(__file__).resolve().parents[2] / "lab" / "images" / "core"
sys.path.insert(0, str(CORE))

from kopano_lab import kcconf, services, start, wire  # noqa: E402
from kopano_lab.config import Config, known_options  # noqa: E402
from kopano_lab.errors import Refusal  # noqa: E402
from kopano_lab.server import people, settings  # noqa: E402
from kopano_lab.server.listeners import Address  # noqa: E402
from kopano_lab.server.mailcalls import Stores  # noqa: E402
from kopano_lab.server.people import Person  # noqa: E402
from kopano_lab.server.rpc import Peer, Request, Server  # noqa: E402
from kopano_lab.server.sessions import Sessions  # noqa: E402
from kopano_lab.tools.common import table  # noqa: E402

OPENLDAP = "!include /usr/share/kopano/ldap.openldap.cfg"
AD = "!include /usr/share/kopano/ldap.active-directory.cfg"


def written(text: str, **environ: str) -> str:
    return kcconf.apply(text, kcconf.changes(environ, {"server"})["server"])


# Variables become configuration files.


def test_a_variable_sets_its_option_in_lower_case() -> None:
    assert written("", KCCONF_SERVER_MYSQL_HOST="db") == "mysql_host = db\n"


def test_a_variable_replaces_the_line_of_its_option_even_when_it_is_commented() -> None:
    changed = written("# mysql_host = x\nmysql_port = 1\n", KCCONF_SERVER_MYSQL_HOST="db")
    assert changed == "mysql_host = db\nmysql_port = 1\n"


def test_a_variable_leaves_options_alone_whose_names_begin_alike() -> None:
    assert "server_listen_tls = x" in written("server_listen_tls = x\n", KCCONF_SERVER_SERVER_LISTEN="y")


@pytest.mark.parametrize("value", ["a#b", "a=b", "100%", "$HOME", "a b!", ""])
def test_special_characters_in_a_value_survive(value: str) -> None:
    assert written("", KCCONF_SERVER_MYSQL_PASSWORD=value) == f"mysql_password = {value}\n"


@pytest.mark.parametrize("value", ["top\\secret", "top\nsecret", "top\rsecret"])
def test_a_value_that_cannot_be_written_is_refused_by_name_and_without_the_value(value: str) -> None:
    with pytest.raises(Refusal, match="KCCONF_SERVER_MYSQL_PASSWORD") as refusal:
        written("", KCCONF_SERVER_MYSQL_PASSWORD=value)
    assert refusal.value.code == 1
    assert "secret" not in str(refusal.value)


def test_variables_for_files_that_the_image_lacks_are_ignored() -> None:
    assert kcconf.changes({"KCCONF_NOSUCH_A": "a\\b", "PATH": "/bin", "KCCONF_server_A": "x"}, {"server"}) == {
        "server": kcconf.Changes()
    }


def test_the_kind_of_directory_is_switched_by_commenting_and_uncommenting() -> None:
    changed = written((CORE / "etc" / "ldap.cfg").read_text(), KCCOMMENT_SERVER_1=OPENLDAP, KCUNCOMMENT_SERVER_1=AD)
    assert f"\n#{OPENLDAP}\n{AD}\n" in changed


def test_configuration_is_for_root_and_the_group_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "etc", tmp_path / "tmp"
    source.mkdir()
    (source / "server.cfg").write_text("")
    kcconf.write({"KCCONF_SERVER_MYSQL_PASSWORD": "x"}, source, target, -1)
    assert (target / "server.cfg").read_text() == "mysql_password = x\n"
    assert (target / "server.cfg").stat().st_mode & 0o777 == 0o640
    assert target.stat().st_mode & 0o777 == 0o750


# Configuration files are read.


def test_an_included_file_counts_and_a_later_line_wins(tmp_path: Path) -> None:
    (tmp_path / "b.cfg").write_text("ldap_page_size = 1\nldap_uri = ldap://b\n!propmap map.cfg\n")
    (tmp_path / "map.cfg").write_text("0x67B3101E = features\n")
    (tmp_path / "ldap.cfg").write_text("!include b.cfg\n#ldap_page_size = 3\nldap_uri =  ldap://a \n")
    config = Config.load(tmp_path / "ldap.cfg", settings.LDAP, known_options("ldap"))
    assert (config.text("ldap_uri"), config.number("ldap_page_size")) == ("ldap://a", 1)
    assert config.propmap == {"0x67B3101E": "features"}


def test_an_unknown_option_ends_the_service_with_255_and_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "server.cfg").write_text("nonsense = 1\n")
    with pytest.raises(Refusal, match="KCCONF_SERVER_NONSENSE") as refusal:
        Config.load(tmp_path / "server.cfg", settings.SERVER, known_options("server"))
    assert refusal.value.code == 255


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [("session_timeout", "1m", "number"), ("session_timeout", "-1", "number"), ("user_safe_mode", "maybe", "flag")],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_option(name: str, value: str, read: str) -> None:
    config = Config("server.cfg", {name: value}, settings.SERVER)
    with pytest.raises(Refusal, match=f"{name} = '{value}' must be"):
        getattr(config, read)(name)


def test_options_that_the_lab_ignores_are_told() -> None:
    config = Config("server.cfg", {"server_name": "Kopano", "log_level": "3"}, settings.SERVER)
    assert config.without_effect() == ["server_name"]


@pytest.mark.parametrize(("file", "defaults"), [("server", settings.SERVER), ("ldap", settings.LDAP)])
def test_the_lab_acts_on_no_option_that_kopano_does_not_know(file: str, defaults: dict[str, str]) -> None:
    assert set(defaults) <= known_options(file)


# The entry point.


@pytest.mark.parametrize("name", ["grapi", "nonsense", ""])
def test_a_service_that_the_image_lacks_is_refused_with_exit_code_1(name: str) -> None:
    with pytest.raises(Refusal, match=f"SERVICE_TO_START='{name}'") as refusal:
        start.start([], {"SERVICE_TO_START": name})
    assert refusal.value.code == 1


def test_every_implemented_service_has_a_health_check() -> None:
    assert all((CORE / "health" / f"{name}.sh").is_file() for name in services.IMPLEMENTED)


def test_an_unset_variable_is_called_unbound(monkeypatch: pytest.MonkeyPatch) -> None:
    server = services.find("server")
    monkeypatch.setattr(server.waits, "for_files", lambda *_: None)
    monkeypatch.setattr(server.waits, "for_tcp", lambda *_: None)
    environ = {f"KCCONF_SERVER_{name}": "x" for name in ("MYSQL_HOST", "MYSQL_PORT", "SERVER_SSL_CA_FILE", "SERVER_SSL_KEY_FILE")}
    server._wait(environ)
    for name in environ:
        with pytest.raises(Refusal, match=f"^{name}: unbound variable"):
            server._wait({key: value for key, value in environ.items() if key != name})


# Listening.


def test_addresses_to_listen_on() -> None:
    assert Address.parse("0.0.0.0:236 [::1]:237 *:80", "server_listen") == [
        Address("0.0.0.0", 236),
        Address("::1", 237),
        Address("::", 80),
    ]
    assert Address.parse("*%lo:236", "server_listen") == [Address("127.0.0.1", 236), Address("::1", 236)]


@pytest.mark.parametrize("spec", ["236", "host", "host:", ":236", "host:0", "host:65536", "host:x"])
def test_what_is_no_address_is_refused(spec: str) -> None:
    with pytest.raises(Refusal, match=f"server_listen: '{spec}'"):
        Address.parse(spec, "server_listen")


# Users.

LDAP = Config("ldap.cfg", {"ldap_user_unique_attribute": "uidNumber"}, settings.LDAP, {"0x67B3101E": "kopanoEnabledFeatures"})
ENTRY = {"uid": [b"user1"], "uidNumber": [b"1001"], "cn": [b"User One"], "mail": [b"user1@kopano.demo"]}


def test_the_identity_of_a_user_is_the_uid_number() -> None:
    person = Person.from_entry(LDAP, ENTRY)
    assert person
    assert (person.externid, person.name, person.kind, person.admin) == (b"1001", "user1", "user", 0)


@pytest.mark.parametrize("missing", ["uid", "uidNumber"])
def test_an_entry_without_identity_or_log_in_name_is_no_user(missing: str) -> None:
    assert Person.from_entry(LDAP, {name: value for name, value in ENTRY.items() if name != missing}) is None


def test_kopano_attributes_of_a_user() -> None:
    person = Person.from_entry(
        LDAP,
        ENTRY
        | {
            "kopanoAdmin": [b"2"],
            "kopanoSharedStoreOnly": [b"1"],
            "kopanoResourceType": [b"Room"],
            "kopanoHidden": [b"TRUE"],
            "kopanoAliases": [b"a@x", b"b@x"],
            "kopanoEnabledFeatures": [b"imap"],
            "kopanoQuotaOverride": [b"1"],
            "kopanoQuotaHard": [b"10"],
        },
    )
    assert person
    assert (person.admin, person.kind, person.hidden) == (2, "room", True)
    assert person.properties == {
        "aliases": ["a@x", "b@x"],
        "PR_EC_ENABLED_FEATURES": ["imap"],
        "quota": {"warn": 0, "soft": 0, "hard": 10},
    }


def person(number: int, name: str) -> Person:
    return Person(str(number).encode(), name, name.title(), f"{name}@kopano.demo")


def test_a_sync_compares_by_identity_so_a_new_name_keeps_its_mailbox() -> None:
    plan = people.plan(
        {b"1": person(1, "old"), b"2": person(2, "gone"), b"3": person(3, "same")},
        [person(1, "renamed"), person(3, "same"), person(4, "new")],
    )
    assert (plan.create, plan.update, plan.vanished) == ([person(4, "new")], [person(1, "renamed")], [b"2"])


def test_a_second_entry_with_the_same_identity_or_name_is_left_out() -> None:
    plan = people.plan({}, [person(1, "a"), person(1, "b"), person(2, "A")])
    assert (plan.create, plan.doubtful) == ([person(1, "a")], ["b", "A"])


# Calls.


class NoDatabase:
    """Whoever gets this far was let in."""

    def transaction(self) -> Any:
        raise wire.RpcError("unavailable", "reached the database")


class OneUser:
    """A directory in which nobody's password is right."""

    def authenticate(self, name: str, password: str) -> Person | None:
        return None


class NoMail:
    """Folders and messages that nobody may reach."""

    messages = all = None


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(300)


@pytest.fixture
def server(sessions: Sessions) -> Server:
    database: Any = NoDatabase()
    directory: Any = OneUser()
    mail: Any = NoMail()
    nothing: Any = None
    stores = Stores(database, nothing, mail, mail, nothing, nothing, nothing)
    return Server(stores, directory, sessions, realtime=False, safe_mode=False, disabled_features=frozenset())


def refused(server: Server, method: str, peer: Peer, token: str = "", **params: Any) -> str:
    with pytest.raises(wire.RpcError) as error:
        server.call(method, Request(peer, params, token=token))
    return error.value.code


@pytest.mark.parametrize("where", ["http", "https"])
@pytest.mark.parametrize("method", ["user.list", "user.sync", "store.create_public", "purge.softdelete", "message.list"])
def test_service_log_on_without_a_known_key_is_misdirected(server: Server, where: str, method: str) -> None:
    assert refused(server, method, Peer(where)) == "misdirected"


def test_a_log_on_without_password_is_for_services_alone(server: Server) -> None:
    assert refused(server, "logon", Peer("http"), user="user1") == "misdirected"
    assert refused(server, "logon", Peer("https", admin=True), user="user1") == "unavailable"


def test_a_wrong_password_is_refused_on_every_way_in(server: Server) -> None:
    for peer in (Peer("http"), Peer("https", admin=True), Peer("socket")):
        assert refused(server, "logon", peer, user="user1", password="x") == "logon_failed"


def test_a_local_user_who_is_no_administrator_is_refused(server: Server) -> None:
    assert refused(server, "user.list", Peer("socket")) == "forbidden"


def test_an_administrator_is_let_in(server: Server) -> None:
    assert refused(server, "user.list", Peer("socket", admin=True)) == "unavailable"


def test_a_user_session_is_no_administrator_even_over_a_trusted_way(server: Server, sessions: Sessions) -> None:
    token = sessions.open(7, "user1", admin=False)
    for peer in (Peer("http"), Peer("socket", admin=True)):
        assert refused(server, "user.list", peer, token) == "forbidden"
        assert refused(server, "message.list", peer, token, user="user2", folder=1) == "forbidden"
        assert refused(server, "user.details", peer, token, user="user2") == "forbidden"
        assert refused(server, "user.details", peer, token, user="User1") == "unavailable"


def test_an_ended_or_unknown_session_is_refused(server: Server, sessions: Sessions) -> None:
    token = sessions.open(7, "user1", admin=False)
    sessions.close(token)
    for gone in (token, "unknown", Sessions(0).open(1, "x", admin=True)):
        assert refused(server, "folder.list", Peer("http"), gone) == "logon_failed"
    timed_out = Sessions(0)
    with pytest.raises(wire.RpcError):
        timed_out.use(timed_out.open(1, "x", admin=True))


def test_a_body_is_one_json_object_and_then_bytes() -> None:
    body = wire.pack({"method": "message.add"}) + b"{raw\n"
    stream = io.BytesIO(body)
    assert wire.unpack(stream, len(body)) == ({"method": "message.add"}, 5)
    assert stream.read() == b"{raw\n"


@pytest.mark.parametrize("body", [b"", b"[]\n", b"x\n", b"\xff\n"])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(wire.RpcError, match="JSON object"):
        wire.unpack(io.BytesIO(body), len(body))


# Output of the tools.


def test_tables_line_up_by_tabs() -> None:
    assert table(["Username", "Fullname"], [["user1", "One"], ["a-long-user-name", "Two"]]) == (
        "\tUsername\t\tFullname\t\n\t--------------------------------\n\tuser1\t\t\tOne\t\n\ta-long-user-name\tTwo\t\n"
    )
