"""What was measured on the genuine Kopano core is answered by the program, or done alike by the lab: see docs/facts.md."""

from __future__ import annotations

import itertools
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_graph import TAKEN_OVER

from components import parsers
from components.settings import SettingsError, validate
from tools.graph import Graph, Registered, Run, plain

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab" / "images" / "core"))

from kopano_lab import services, start, waits
from kopano_lab.errors import Refusal
from kopano_lab.server import oidc, settings


@pytest.fixture(scope="module")
def graph(run: Run) -> Graph:
    return run("dev", TAKEN_OVER)


def variables(box: Registered) -> dict[str, str]:
    return dict(line.split("=", 1) for line in plain(box.inputs.get("envs", [])))


def core(graph: Graph) -> dict[str, Registered]:
    """The containers of the core image."""
    return {block: graph.containers()[block] for block in services.PUBLISHED}


# Start.


def test_each_service_of_the_core_is_given_the_machines_id(graph: Graph) -> None:
    for block, box in core(graph).items():
        mounts = {mount["containerPath"]: mount for mount in plain(box.inputs["volumes"]) if "hostPath" in mount}
        assert set(mounts) == {"/etc/machine-id", "/var/lib/dbus/machine-id"}, block
        assert all(mount["readOnly"] and mount["hostPath"] == "/etc/machine-id" for mount in mounts.values()), block


def test_the_lab_ends_with_123_after_ten_seconds_without_the_machines_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(start, "MACHINE_ID", [str(tmp_path / "machine-id")])
    monkeypatch.setattr(start.kcconf, "write", lambda *_: None)
    monkeypatch.setattr(start.pwd, "getpwnam", lambda name: SimpleNamespace(pw_gid=0))
    slept: list[float] = []
    clock = itertools.count(0.0, 0.5)
    monkeypatch.setattr(waits, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append))
    with pytest.raises(Refusal, match="also after 10 seconds") as refusal:
        start.start([], {"SERVICE_TO_START": "server"})
    assert refusal.value.code == 123
    assert slept


def test_the_server_gets_every_variable_without_which_it_does_not_start(graph: Graph) -> None:
    given = variables(graph.containers()["server"])
    for name in ("MYSQL_HOST", "MYSQL_PORT", "SERVER_SSL_CA_FILE", "SERVER_SSL_KEY_FILE"):
        assert given[f"KCCONF_SERVER_{name}"], name


def test_every_option_that_the_program_sets_is_one_that_kopano_knows(graph: Graph) -> None:
    checked = 0
    for block, box in core(graph).items():
        for name in variables(box):
            if match := parsers.KCCONF.match(name):
                options = parsers.kopano_options()[match[1].lower()]
                assert options is None or match[2].lower() in options, (block, name)
                checked += 1
    assert checked > 40


def test_keys_of_the_core_belong_to_the_user_that_its_services_run_as(graph: Graph) -> None:
    (script,) = plain(graph.containers()["ssl"].inputs["command"])
    owners = dict(re.findall(r"^fill (\S+) (\S+) 0400$", script, re.MULTILINE))
    assert {owners[reader] for reader in ("server", "dagent", "monitor", "search", "spooler")} == {"999:999"}


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("database", "password", {"host": "d.example", "port": "3306", "name": "k", "user": "k", "password": "planted\\1"}),
        ("directory", "bindPassword", {"uri": "ldap://d", "baseDn": "dc=d", "bindDn": "cn=d", "bindPassword": "planted\\1"}),
        ("turn", "password", {"uris": "turn:d", "user": "k", "password": "planted\\1"}),
    ],
)
def test_a_backslash_in_a_password_is_refused_and_the_password_not_shown(key: str, field: str, value: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        validate("dev", {"fqdn": "mail.example.org", "imageSource": "lab", key: value}, frozenset({key}))
    assert f"kopano:{key}.{field} = [secret]: must not contain a backslash" in str(caught.value)
    assert "planted" not in str(caught.value)


def test_passwords_that_the_program_makes_have_letters_and_digits_alone(graph: Graph) -> None:
    passwords = graph.of_type("random:index/randomPassword:RandomPassword")
    assert len(passwords) >= 4
    assert all(password.inputs["special"] is False for password in passwords)


def test_the_user_plugin_is_where_the_image_writes_it_and_every_service_listens_for_others(graph: Graph) -> None:
    boxes = core(graph)
    assert variables(boxes["server"])["KCCONF_SERVER_USER_PLUGIN_CONFIG"] == "/tmp/kopano/ldap.cfg"
    listening = {name: value for box in boxes.values() for name, value in variables(box).items() if "_LISTEN" in name}
    # With IPv6 on the networks, on both kinds of addresses.
    either = {name: value.replace("*:", "0.0.0.0:") for name, value in listening.items()}
    assert either == {
        "KCCONF_SERVER_SERVER_LISTEN": "0.0.0.0:236",
        "KCCONF_SERVER_SERVER_LISTEN_TLS": "0.0.0.0:237",
        "KCCONF_DAGENT_LMTP_LISTEN": "0.0.0.0:2003",
        "KCCONF_GATEWAY_IMAP_LISTEN": "0.0.0.0:143",
        "KCCONF_GATEWAY_POP3_LISTEN": "0.0.0.0:110",
        "KCCONF_ICAL_ICAL_LISTEN": "0.0.0.0:8080",
        "KCCONF_KAPID_LISTEN": "0.0.0.0:8039",
    }


def test_the_lab_listens_on_loopback_and_knows_no_other_place_for_the_user_plugin_by_default() -> None:
    assert (settings.SERVER["server_listen"], settings.SERVER["server_listen_tls"]) == ("*%lo:236", "")
    assert settings.SERVER["user_plugin_config"] != settings.PLUGIN_CONFIG == "/tmp/kopano/ldap.cfg"


def test_the_lab_waits_as_long_as_the_published_image(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: dict[str, float] = {}
    monkeypatch.setattr("kopano_lab.privileges.drop", lambda: None)
    monkeypatch.setattr("kopano_lab.privileges.own", lambda *_: None)
    monkeypatch.setattr(waits, "for_files", lambda paths, seconds: None)
    monkeypatch.setattr(waits, "for_sockets", lambda paths, seconds: waited.update(dict.fromkeys(paths, seconds)))
    monkeypatch.setattr(waits, "for_tcp", lambda host, port, seconds, block: waited.update({f"{host}:{port}": seconds}))
    database = {"KCCONF_SERVER_MYSQL_HOST": "db", "KCCONF_SERVER_MYSQL_PORT": "3306"}
    keys = {"KCCONF_SERVER_SERVER_SSL_CA_FILE": "ca", "KCCONF_SERVER_SERVER_SSL_KEY_FILE": "key"}
    monkeypatch.setattr(services.find("server"), "ATTACHMENTS", SimpleNamespace(parent=None, mkdir=_nothing, chmod=_nothing))
    for name in ("server", "spooler"):
        services.find(name).prepare({**database, **keys, "KCCONF_SPOOLER_SMTP_SERVER": "mail"}, checks=True)
    assert waited == {"db:3306": 360, "/run/kopano/server.sock": 360, "mail:25": 1080}


def _nothing(*_: Any, **__: Any) -> None:
    """In place of what needs root."""


def test_the_server_does_not_wait_for_the_openid_provider(graph: Graph) -> None:
    given = variables(graph.containers()["server"])
    assert given["KCCONF_SERVER_KCOIDC_ISSUER_IDENTIFIER"]
    assert given["KCCONF_SERVER_KCOIDC_INITIALIZE_TIMEOUT"] == "0"


def test_the_lab_ends_when_the_openid_provider_is_not_there_in_time_unless_told_not_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.SERVER["kcoidc_initialize_timeout"] == "60"
    nowhere = oidc.Issuer("https://127.0.0.1:1", insecure=False)
    nowhere.wait(0)
    clock = itertools.count(0.0, 10)
    monkeypatch.setattr(oidc, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=time.sleep))
    monkeypatch.setattr(oidc.time, "sleep", lambda seconds: None)
    with pytest.raises(Refusal, match="not ready within 60 seconds") as refusal:
        nowhere.wait(60)
    assert refusal.value.code == 255


def test_the_lab_ends_when_openid_is_asked_for_and_the_library_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "jwt", None)
    with pytest.raises(Refusal, match="no library for OpenID") as refusal:
        oidc.Issuer("https://127.0.0.1:1", insecure=False)
    assert refusal.value.code == 255


# Health.


def test_checks_are_made_every_few_seconds_and_look_at_what_the_service_offers_where_that_is_cheap(graph: Graph) -> None:
    for block, box in core(graph).items():
        check = plain(box.inputs["healthcheck"])
        assert check["interval"] == "5s", block
        deeper = {"dagent": "/dev/tcp/127.0.0.1/2003", "gateway": "/dev/tcp/127.0.0.1/143", "kapi": ":8039/health-check"}
        assert deeper.get(block, "/kopano/healthcheck.sh") in check["tests"][1], block


# Mail and directory.


def test_the_lab_has_imap_and_pop3_off_by_default_and_no_filter_of_users_but_their_class() -> None:
    assert settings.SERVER["disabled_features"] == "imap pop3"
    assert settings.LDAP["ldap_user_search_filter"] == ""
    share = Path(services.__file__).parents[2] / "share" / "ldap.openldap.cfg"
    lines = dict(line.split(" = ") for line in share.read_text("utf-8").splitlines() if " = " in line)
    assert lines["ldap_user_type_attribute_value"] == "posixAccount"
    assert lines["ldap_user_unique_attribute"] == "uidNumber"
    assert lines["ldap_loginname_attribute"] == "uid"
    assert "ldap_user_search_filter" not in lines


# Several hosts.


def test_dagent_and_spooler_could_reach_a_server_on_another_host_with_the_keys_that_they_have(graph: Graph) -> None:
    for block in ("dagent", "spooler"):
        box = graph.containers()[block]
        assert variables(box)[f"KCCONF_{block.upper()}_SSLKEY_FILE"] == f"/kopano/ssl/kopano_{block}.pem"
        uploads = {upload["file"] for upload in plain(graph.containers()["ssl"].inputs["uploads"])}
        assert f"/seed/{block}/kopano_{block}.pem" in uploads
