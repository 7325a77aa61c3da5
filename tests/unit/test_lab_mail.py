"""The pure parts of the lab's mail server."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

MAIL = Path(__file__).resolve().parents[2] / "lab" / "images" / "mail"
sys.path.insert(0, str(MAIL))

from mail_lab import postfix, trust  # noqa: E402
from mail_lab.settings import Refusal, Settings, read  # noqa: E402

ENVIRONMENT = {
    "ENABLE_CLAMAV": "1",
    "ENABLE_LDAP": "1",
    "ENABLE_POSTFIX_VIRTUAL_TRANSPORT": "1",
    "ENABLE_POSTGREY": "1",
    "ENABLE_SASLAUTHD": "1",
    "LDAP_BIND_DN": "cn=readonly,dc=kopano,dc=demo",
    "LDAP_BIND_PW": "secret",
    "LDAP_QUERY_FILTER_ALIAS": "(kopanoAliases=%s)",
    "LDAP_QUERY_FILTER_DOMAIN": "(mail=*@%s)",
    "LDAP_QUERY_FILTER_GROUP": "(&(objectClass=kopano-group)(mail=%s))",
    "LDAP_QUERY_FILTER_USER": "(&(kopanoAccount=1)(mail=%s))",
    "LDAP_SEARCH_BASE": "dc=kopano,dc=demo",
    "LDAP_SERVER_HOST": "ldap://ldap:389",
    "POSTFIX_DAGENT": "lmtp:kopano_dagent:2003",
    "SASLAUTHD_MECHANISMS": "rimap",
    "SASLAUTHD_MECH_OPTIONS": "kopano_gateway",
    "SMTP_ONLY": "1",
}


def checked(**changes: str) -> Settings:
    return read(ENVIRONMENT | changes, "mail.kopano.demo")


def lines(table: str) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in table.splitlines())}


# Variables.


def test_the_domain_is_what_follows_the_first_dot_of_the_host_name() -> None:
    assert checked().domain == "kopano.demo"


def test_a_host_name_given_by_variable_stands_over_that_of_the_container() -> None:
    assert checked(OVERRIDE_HOSTNAME="mx.example.com").hostname == "mx.example.com"


def test_a_host_name_without_a_domain_is_refused() -> None:
    with pytest.raises(Refusal, match=r"host name is 'mail'.*OVERRIDE_HOSTNAME"):
        read(ENVIRONMENT, "mail")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENABLE_CLAMAV", "yes"),
        ("ENABLE_FETCHMAIL", "1"),
        ("ENABLE_LDAP", ""),
        ("LDAP_BIND_PW", ""),
        ("LDAP_BIND_DN", "cn=x\ndebuglevel = 1"),
        ("PERMIT_DOCKER", "network"),
        ("POSTFIX_DAGENT", "kopano_dagent"),
        ("POSTGREY_DELAY", "5m"),
        ("RELAY_HOST", "relay.example.com"),
        ("RELAY_USER", "me"),
        ("SASLAUTHD_MECHANISMS", "ldap"),
        ("SSL_TYPE", "manual"),
    ],
)
def test_a_value_that_the_lab_cannot_serve_is_refused_with_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(Refusal, match=name if name != "SSL_TYPE" else "SSL_CERT_PATH"):
        checked(**{name: value})


def test_a_relays_user_without_a_password_is_refused() -> None:
    with pytest.raises(Refusal, match="belong together"):
        checked(DEFAULT_RELAY_HOST="[relay.example.com]:587", RELAY_HOST="relay.example.com", RELAY_USER="me")


def test_a_refusal_never_shows_a_password() -> None:
    with pytest.raises(Refusal) as refusal:
        checked(LDAP_BIND_PW="se\ncret")
    assert "cret" not in str(refusal.value)


# Who may send without logging in.


def test_the_docker_host_itself_is_not_trusted_in_any_network() -> None:
    found = trust.peers(["172.18.0.5/16", "172.19.0.7/24"], ["172.19.0.254"])
    assert found.gateways == ("172.18.0.1", "172.19.0.1", "172.19.0.254")


def test_what_is_not_trusted_stands_before_the_network_that_it_is_in() -> None:
    listed = trust.mynetworks(trust.peers(["172.18.0.5/16"], [])).split()
    assert listed.index("!172.18.0.1") < listed.index("172.18.0.0/16")


def test_addresses_of_ipv6_are_written_as_postfix_wants_them() -> None:
    listed = trust.mynetworks(trust.peers(["fd00:1::5/64"], [])).split()
    assert listed[-2:] == ["![fd00:1::1]", "[fd00:1::]/64"]


def test_an_interface_with_an_address_of_another_scope_does_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    ipv6 = [{"family": "inet6", "local": "fd00:1::5", "prefixlen": 64, "scope": "global"}, {}]
    answers = {"addr": [{"ifname": "eth0", "addr_info": ipv6}], "-4": [], "-6": [{"dst": "default", "gateway": "fd00:1::1"}]}
    monkeypatch.setattr(trust, "_ip", lambda *words: answers[words[0]])
    assert trust.connected() == trust.Peers(("fd00:1::/64",), ("fd00:1::1",))


def test_without_networks_only_the_container_itself_is_trusted() -> None:
    assert trust.mynetworks(trust.Peers((), ())) == "127.0.0.0/8 [::1]/128"


# Tables, parameters and overrides.


def test_each_table_has_its_own_filter() -> None:
    found = {name: lines(postfix.table(name, checked()))["query_filter"] for name in postfix.TABLES}
    assert found == {name: ENVIRONMENT[f"LDAP_QUERY_FILTER_{end}"] for name, end in postfix.TABLES.items()}


def test_a_variable_fills_the_line_of_its_name_and_no_other() -> None:
    found = lines(postfix.table("users", checked(LDAP_START_TLS="yes")))
    assert (found["server_host"], found["bind_pw"], found["start_tls"]) == ("ldap://ldap:389", "secret", "yes")
    assert found["result_attribute"] == "mail"


def test_the_users_own_table_keeps_its_lines_and_gets_the_values_of_those_that_there_are_variables_for() -> None:
    own = "# mine\nsearch_base = elsewhere\nresult_attribute = memberUid\n"
    assert postfix.table("groups", checked(), own) == "# mine\nsearch_base = dc=kopano,dc=demo\nresult_attribute = memberUid\n"


def test_greylisting_comes_after_those_who_are_trusted_and_after_unknown_recipients() -> None:
    found = postfix.parameters(checked(), "", "", "")["smtpd_recipient_restrictions"].split(", ")
    assert found[0] == "permit_mynetworks"
    assert found[-2:] == ["reject_unlisted_recipient", "check_policy_service inet:127.0.0.1:10023"]


def test_greylisting_can_be_off() -> None:
    assert "policy" not in postfix.parameters(checked(ENABLE_POSTGREY="0"), "", "", "")["smtpd_recipient_restrictions"]


def test_a_relay_with_a_password_is_only_spoken_to_encrypted() -> None:
    relay = {"DEFAULT_RELAY_HOST": "[relay.example.com]:587", "RELAY_HOST": "relay.example.com", "RELAY_PORT": "587"}
    settings = checked(**relay, RELAY_USER="me", RELAY_PASSWORD="pass word")
    found = postfix.parameters(settings, "", "", "")
    assert (found["relayhost"], found["smtp_tls_security_level"]) == ("[relay.example.com]:587", "encrypt")
    assert postfix.relay_password(settings) == "[relay.example.com]:587 me:pass word\n"


def test_overrides_are_read_as_the_published_image_reads_them() -> None:
    text = "# a comment\n  queue_run_delay = 60s\nUpper = no\n\nlmtp_reply_filter = regexp:/x\nlast_without_end = lost"
    assert postfix.overrides(text, "a-z") == ["queue_run_delay = 60s", "lmtp_reply_filter = regexp:/x"]


def test_the_signature_file_knows_exactly_the_eicar_test_string() -> None:
    name, target, offset, content = (MAIL / "etc/eicar.ndb").read_text().strip().split(":")
    assert (name, target, offset) == ("Eicar-Test-Signature", "0", "*")
    assert re.fullmatch(
        rb"X5O!P%@AP\[4\\PZX54\(P\^\)7CC\)7\}\$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!\$H\+H\*", bytes.fromhex(content)
    )
