"""Each mistake in a stack file is found, named and explained, before anything is registered."""

from __future__ import annotations

import re
from typing import Any

import pulumi
import pytest
import yaml
from pki import pair

from components.settings import KEYS, Settings, SettingsError, validate
from tools.graph import ROOT, Run, settings_of

GOOD = {"fqdn": "mail.example.org", "imageSource": "lab"}
EXTERNAL = {"host": "db.example.org", "port": 3306, "name": "kopano", "user": "kopano", "password": "x"}
ACME = {"mode": "acme", "email": "admin@example.org"}
LDAP = {"uri": "ldaps://ad.example.org", "baseDn": "dc=example", "bindDn": "cn=kopano", "bindPassword": "x"}
TAGS = ("core", "kdav", "meet", "scheduler", "webapp", "zpush")
"""The published images that have no release of their own."""


def problems(values: dict[str, Any], **options: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        validate(options.pop("stack", "dev"), values, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("fqdn", "", "must be a host name"),
        ("fqdn", "Mail.Example.org", "lower case"),
        ("fqdn", "mail.example.org:8443", "without a port"),
        ("fqdn", "localhost", "at least one dot"),
        ("fqdn", "192.168.1.4", "not an address"),
        ("organisation", "", "must not be empty"),
        ("organisation", "Back\\slash", "backslash"),
        ("organisation", "two\nlines", "one line"),
        ("ldapBaseDn", "example.org", "distinguished name"),
        ("demoUsers", "maybe", "true or false"),
        ("timezone", "Europe/Atlantis", "time zone database"),
        ("mailboxLocale", "german", "ll_CC.UTF-8"),
        ("httpPort", "0", "from 1 to 65535"),
        ("httpsPort", "abc", "from 1 to 65535"),
        ("httpsPort", 65536, "from 1 to 65535"),
        ("bindAddress", "everywhere", "IP address"),
        ("bindAddress", "", "IP address"),
        ("bindAddress", "0.0.0.0 192.0.2.7", "0.0.0.0 or :: alone of its kind"),
        ("bindAddress", "::1 ::1", "each once"),
        ("bindAddress", "fe80::1%eth0", "IP addresses of the Docker host"),
        ("ipv6", {"prefix": "fd12:3456:789a::/48"}, "must have a value for each of prefix, ipv4"),
        ("ipv6", {"prefix": "2001:db8::/48", "ipv4": "10.89.0.0/22"}, "within fd00::/8"),
        ("ipv6", {"prefix": "fd12:3456:789a::/64", "ipv4": "10.89.0.0/22"}, "a /48 to /62"),
        ("ipv6", {"prefix": "fd12:3456:789a::/48", "ipv4": "10.89.0.0/25"}, "a /24 or larger"),
        ("ipv6", {"prefix": "fd12:3456:789a::/48", "ipv4": "192.0.2.0/24"}, "private addresses"),
        ("webappPlugins", "kopano-webapp-plugin-mdm", "without what they begin with"),
        ("webappPlugins", "mdm mdm", "each once"),
        ("webappPlugins", "Smime;", "separated by blanks"),
        ("environment", {"webapp": {"ADDITIONAL_KOPANO_WEBAPP_PLUGINS": "x"}}, "set by the program"),
        ("publish", {"ftp": 21}, "allowed are ical, imap, imaps"),
        ("publish", {"ldap": "x"}, "from 1 to 65535"),
        ("publish", "ldap", "must be a map"),
        ("imageSource", "hub", "published, lab"),
        ("imageRepository", "Not A Registry", "registry and path"),
        ("images", {"server": "no-tag"}, "with a tag or a digest"),
        ("images", {"server": "registry.example.org:5000/no-tag"}, "with a tag or a digest"),
        ("images", {"kopano_server": "a:1"}, "allowed are"),
        ("memory", {"db": 1}, "at least 32"),
        ("environment", {"nope": {"A": "1"}}, "allowed are"),
        ("environment", {"server": {"KCCONF_SERVER_NONSENSE": "1"}}, "no option of Kopano's server"),
        ("environment", {"server": {"KCCONF_NOFILE_X": "1"}}, "names no configuration file"),
        ("environment", {"server": {"KCCONF_LOWER_case": "1"}}, "KCCONF_FILE_OPTION"),
        ("environment", {"server": {"KCCONF_SERVER_LOG_LEVEL": "a\\b"}}, "backslash"),
        ("environment", {"server": {"KCCONF_SERVER_MYSQL_HOST": "elsewhere"}}, "set by the program"),
        ("environment", {"db": {"MYSQL_PASSWORD": "x"}}, "set by the program"),
        ("environment", {"server": {"bad-name": "x"}}, "letters, digits and underscores"),
        ("environment", {"server": {"KCCONF_GATEWAY_IMAP_LISTEN": "x"}}, "set by the program"),
        ("blocks", {"server": False}, "allowed are db, kapps"),
        ("blocks", {"meet": "perhaps"}, "true or false"),
        ("smtpServer", "nowhere", "host:port"),
        ("turn", {"uris": "turn:x"}, "must have a value for each of uris, user, password"),
        ("meetGuests", "some", "true or false"),
        ("relay", {"host": "smtp.example.net"}, "must have a value for each of host, port"),
        ("relay", {"host": "10.0.0.1", "port": 25}, "not an address"),
        ("relay", {"host": "smtp.example.net", "port": 587, "user": "kopano"}, "both of user and password"),
        ("registries", {"https://r.example.org": {"user": "a", "password": "b"}}, "must be host or host:port"),
        ("registries", {"r.example.org": {"user": "a"}}, "must have a value for each of user, password"),
        ("registries", {"r.example.org": {}}, "must have a value for each of user, password"),
        ("directory", {**LDAP, "kind": "novell"}, "openLdap, activeDirectory"),
        ("directory", {**LDAP, "uri": "ldap.example.org"}, "ldaps://host"),
        ("directory", {**LDAP, "userFilter": "memberOf=cn=mail"}, "one LDAP filter in brackets"),
        ("directory", {**LDAP, "userFilter": "(a=1)(b=2)"}, "one LDAP filter in brackets"),
        ("directory", {**LDAP, "groupFilter": "((a=1)"}, "one LDAP filter in brackets"),
        ("directory", {**LDAP, "userFilter": "(mail=%s)"}, "without a percent sign"),
        ("directory", {**LDAP, "mailAttribute": "mail)(x=*"}, "must be the name of an attribute"),
        ("tls", {"mode": "off"}, "acme, proxy"),
        ("tls", {"email": "admin@example.org"}, "must have a value for each of mode"),
        ("tls", {"mode": "proxy", "trustedProxies": "nginx"}, "or the word host"),
        ("tls", {"mode": "proxy", "trustedProxies": "0.0.0.0/0"}, "at most a /8"),
        ("tls", {"mode": "proxy", "trustedProxies": "192.0.2.7", "email": "a@example.org"}, "belongs to mode acme"),
        ("tls", {"mode": "proxy"}, "must name the proxy in front"),
        ("tls", {**ACME, "directory": "http://ca.example.org"}, "must be an address https://host/path"),
        ("tls", {**ACME, "directory": "https://ca.example.org/acme } tls off"}, "nothing after the path"),
        ("tls", {"mode": "proxy", "trustedProxies": "192.0.2.7", "directory": "https://ca.example.org/"}, "belongs to mode acme"),
        ("tls", {"mode": "proxy", "trustedProxies": "192.0.2.7 host"}, "unless tls.bindAddress is its loopback"),
        ("certificate", {"certificate": "x", "key": "y"}, "must be a certificate in PEM"),
        ("certificate", pair("www.example.org").setting(), "cannot be used for mail.example.org"),
        ("dockerHost", "docker.example.org", "ssh://user@host"),
        ("dockerHost", "tcp://docker.example.org:2375", "ssh://user@host"),
        ("dockerHost", "ssh://-oProxyCommand=x", "ssh://user@host"),
        ("dkim", {"example": "mail"}, "no mail domain"),
        ("dkim", {"example.org": "Mail 1"}, "DKIM selector"),
        ("openidClients", {"mailbox": "http://mailbox.example.org/callback"}, "Konnect takes no other"),
        ("openidClients", {"mailbox": "https://localhost/callback"}, "Konnect takes no other"),
        ("openidClients", {"mailbox": "https://mailbox.example.org/callback?next=1"}, "Konnect takes no other"),
        ("openidClients", {"dyn.mailbox": "https://mailbox.example.org/callback"}, "no client id"),
        ("generations", {"database": 0}, "from 1 to 9999"),
        ("generations", {"passwords": 2}, "allowed are certificates, database, kapi, konnect, ldap"),
        ("certificateHours", 20000, "from 1 to 19800"),
        ("certificateRenewalHours", "never", "from 1 to 19800"),
        ("databaseName", "my-db", "letters, digits and underscores"),
        ("volumes", {"mysq1": "old_mysql"}, "allowed are backups, kdavstates, kopanodata"),
        ("volumes", {"mysql": "/srv/mysql"}, "must be the name of a volume on the Docker host"),
        ("volumes", {"ldap": "old", "slapd": "old"}, "is the volume of ldap already"),
        ("protectData", "sometimes", "true or false"),
        ("backup", {"schedule": "daily", "keep": "7"}, "as in a crontab"),
        ("backup", {"schedule": "61 3 * * *", "keep": "7"}, "as in a crontab"),
        ("backup", {"schedule": "0 3 30 2 *", "keep": "7"}, "as in a crontab"),
        ("backup", {"schedule": "0 3 * * *", "keep": "0"}, "from 1 to 1000"),
        ("backup", {"schedule": "0 3 * * *", "keep": "all"}, "from 1 to 1000"),
        ("backup", {"keep": "7"}, "must have a value for each of schedule, keep"),
        ("backup", {"schedule": "0 3 * * *", "keep": "7", "directory": "backups"}, "absolute path"),
        ("backup", {"schedule": "0 3 * * *", "keep": "7", "directory": "/srv/../etc"}, "absolute path"),
        ("backup", {"schedule": "0 3 * * *", "keep": "7", "folder": "/srv"}, "allowed are directory, keep, schedule"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_an_example(key: str, value: Any, allowed: str) -> None:
    said = problems({**GOOD, key: value})
    (line,) = [line for line in said.splitlines() if line.startswith("  - ")]
    assert f"kopano:{key}" in line
    assert allowed in line
    assert ", for example " in line


def test_all_mistakes_are_reported_together() -> None:
    said = problems({"fqdn": "X", "httpPort": "x", "timezone": "x", "imageSource": "lab", "publish": {"x": 1}})
    for key in ("fqdn", "httpPort", "timezone", "publish.x"):
        assert f"kopano:{key} = " in said
    assert len([line for line in said.splitlines() if line.startswith("  - ")]) == 4


def test_a_key_that_does_not_exist_is_a_mistake() -> None:
    assert "kopano:fqnd: there is no such setting" in problems({**GOOD, "fqnd": "typo"})


def test_two_services_cannot_have_one_port() -> None:
    assert "is taken by kopano:httpsPort" in problems({**GOOD, "httpsPort": 4430, "publish": {"ldap": 4430}})
    assert "is taken by kopano:httpPort" in problems({**GOOD, "httpsPort": 80})


def test_published_images_without_a_release_are_refused_and_never_become_latest() -> None:
    said = problems({"fqdn": "mail.example.org"})
    assert "kopano:imageTags.core" in said
    assert "kopano:imageTags.webapp" in said
    assert "kopano:imageTags.web " not in said


def test_latest_is_taken_when_told() -> None:
    told = validate("prod", {"fqdn": "mail.example.org", "imageTags": dict.fromkeys(TAGS, "latest")})
    assert told.image_tags["core"] == "latest"


def test_a_tag_for_an_image_that_does_not_exist_is_a_mistake() -> None:
    tags = {**dict.fromkeys(TAGS, "1"), "kopano_core": "1"}
    assert "kopano:imageTags.kopano_core: no such image" in problems({"fqdn": "mail.example.org", "imageTags": tags})


def test_an_overridden_block_needs_no_tag() -> None:
    tags = dict.fromkeys([tag for tag in TAGS if tag != "webapp"], "1")
    images = {"webapp": "r.example.org/webapp:1"}
    assert validate("prod", {"fqdn": "mail.example.org", "imageTags": tags, "images": images}).images == images


@pytest.mark.parametrize("stack", ["Prod", "a" * 41, "-x", "with space"])
def test_a_stack_name_that_no_container_can_carry_is_refused(stack: str) -> None:
    assert f"stack name {stack}" in problems(GOOD, stack=stack)


def test_the_value_of_a_secret_setting_is_never_shown() -> None:
    said = problems({**GOOD, "environment": {"db": {"X": "planted\\secret"}}}, secret_keys=frozenset({"environment"}))
    assert "planted" not in said
    assert "kopano:environment.db.X = [secret]" in said


def test_a_mistake_in_one_field_of_a_map_does_not_show_the_password_in_another() -> None:
    database = {"host": "db.example.org", "port": "x", "name": "kopano", "user": "kopano", "password": "planted"}
    said = problems({**GOOD, "blocks": {"db": False}, "database": database})
    assert "kopano:database.port = x" in said
    assert "planted" not in said


def test_the_password_of_a_registry_whose_name_is_wrong_is_not_shown() -> None:
    assert "planted" not in problems({**GOOD, "registries": {"R!": {"user": "kopano", "password": "planted"}}})


def test_nothing_of_a_key_that_cannot_be_used_is_shown() -> None:
    own = pair("mail.example.org")
    planted = own.key.replace("BEGIN PRIVATE KEY", "BEGIN ENCRYPTED PRIVATE KEY")
    said = problems({**GOOD, "certificate": {**own.setting(), "key": planted}})
    assert "kopano:certificate.key = [not shown]: must be a private key in PEM without a passphrase" in said
    assert own.key.splitlines()[1] not in said


def test_a_proxy_in_front_takes_the_place_of_the_published_https() -> None:
    tls = {"mode": "proxy", "trustedProxies": "host, 192.0.2.0/24", "bindAddress": "127.0.0.1"}
    config = validate("dev", {**GOOD, "tls": tls, "httpPort": 8080, "publish": {"imaps": 443}})
    assert config.tls is not None
    assert config.tls.trusted_proxies == ("host", "192.0.2.0/24")
    assert (config.web_ports, config.http_address) == ({"httpPort": 8080}, "127.0.0.1")
    assert "web-front" in config.enabled
    assert config.origin == "https://mail.example.org"
    assert validate("dev", {**GOOD, "tls": {**tls, "bindAddress": "::1"}}).http_address == "::1"


def test_the_lab_asks_an_acme_server_that_the_stack_file_names_and_no_other() -> None:
    lab = {**GOOD, "imageSource": "lab"}
    assert "the lab asks no public authority" in problems({**lab, "tls": ACME})
    tls = {**ACME, "directory": "https://ca.example.org:9000/acme/directory"}
    found = validate("dev", {**lab, "tls": tls}).tls
    assert found is not None
    assert found.directory == "https://ca.example.org:9000/acme/directory"


def test_a_stack_is_published_on_several_addresses_in_the_form_that_the_engine_shows() -> None:
    assert validate("prod", {**GOOD, "bindAddress": " 0.0.0.0  0:0:0:0:0:0:0:0 "}).bind_address == "0.0.0.0 ::"


def test_a_plug_in_that_nothing_would_answer_for_is_refused_and_its_variables_are_taken() -> None:
    lab = {**GOOD, "imageSource": "lab"}
    assert validate("dev", {**lab, "webappPlugins": "webappmanual"}).webapp_plugins == ("webappmanual",)
    assert "webappPlugins = smime: the lab has stand-ins for desktopnotifications and webappmanual alone" in problems(
        {**lab, "webappPlugins": "webappmanual smime"}
    )
    own = {"images": {"webapp": "registry.example.org/webapp:1"}, "webappPlugins": "smime"}
    assert validate("dev", {**lab, **own}).webapp_plugins == ("smime",)
    assert "webappPlugins = mdm: needs the block zpush" in problems({**GOOD, "webappPlugins": "mdm", "blocks": {"zpush": False}})
    variables = {"webapp": {"KCCONF_WEBAPPPLUGIN_SMIME_PLUGIN_SMIME_USER_DEFAULT_ENABLE_SMIME": "true"}}
    assert validate("prod", {**GOOD, "environment": variables}).environment == variables


def test_a_secret_that_cannot_be_read_yet_counts_as_given() -> None:
    values = {**GOOD, "blocks": {"db": False}}
    assert validate("dev", values, frozenset({"database"})).blocks == {"db": False}


def test_defaults_are_filled_in() -> None:
    config = validate("prod", GOOD)
    assert (config.http_port, config.https_port, config.bind_address) == (80, 443, "0.0.0.0")
    assert config.ldap_base_dn == "dc=mail,dc=example,dc=org"
    assert config.protect_data is True
    assert config.demo_users is False
    assert config.prefix == "kopano-prod"
    assert config.origin == "https://mail.example.org"


def test_the_port_is_part_of_the_origin_only_where_it_is_not_https_own() -> None:
    assert validate("dev", {**GOOD, "httpsPort": 2015}).origin == "https://mail.example.org:2015"


@pytest.mark.parametrize("stack", ["ci", "dev", "prod"])
def test_the_stack_files_of_the_repository_are_valid(stack: str) -> None:
    values = {key.removeprefix("kopano:"): value for key, value in settings_of(stack).items()}
    assert isinstance(validate(stack, values), Settings)


def test_what_the_example_of_production_shows_for_other_surroundings_is_valid_and_names_no_secret() -> None:
    text = (ROOT / "Pulumi.prod.yaml").read_text(encoding="utf-8")
    shown = yaml.safe_load(re.sub(r"^  # ", "  ", text, flags=re.MULTILINE))["config"]
    values = {key.removeprefix("kopano:"): value for key, value in shown.items()}
    assert {"registries", "dockerHost", "database", "directory", "tls", "relay", "turn", "environment", "images"} <= set(values)
    assert "assword:" not in text
    for login in (values["database"], values["relay"], values["turn"], *values["registries"].values()):
        login["password"] = "x"
    values["directory"]["bindPassword"] = "x"
    assert validate("prod", values).docker_host.startswith("ssh://")


def test_the_project_file_describes_every_key_with_type_description_and_default() -> None:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    described = {name: entry for name, entry in project.items() if name.startswith("kopano:")}
    assert described == {
        f"kopano:{key.name}": {"type": key.type, "description": key.description, "default": key.default} for key in KEYS
    }


def test_the_default_docker_provider_is_disabled() -> None:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    assert project["pulumi:disable-default-providers"] == {"value": ["docker"]}


def test_the_program_stops_before_it_registers_anything(run: Run) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        run("dev", {"kopano:fqdn": "NOT", "kopano:httpPort": "x"})
    assert "kopano:fqdn" in str(caught.value)
    assert "kopano:httpPort" in str(caught.value)
    assert "nothing was changed" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "key", "trouble"),
    [
        ({"blocks": {"db": False}}, "database", "must say what takes the place of the block db"),
        ({"blocks": {"ldap": False}}, "directory", "must say what takes the place of the block ldap"),
        ({"blocks": {"mail": False}}, "smtpServer", "must say what takes the place of the block mail"),
        ({"smtpServer": "smtp.example.org:25"}, "smtpServer", "contradicts the block mail, which is on"),
        ({"blocks": {"ldap": False, "ldap-admin": True}}, "blocks.ldap-admin", "needs the block ldap"),
        ({"blocks": {"meet": False}, "meetGuests": True}, "meetGuests", "needs the block meet"),
        ({"blocks": {"mail": False}, "dkim": {"example.org": "mail"}}, "dkim", "needs the block mail"),
        ({"blocks": {"mail": False}, "relay": {"host": "smtp.example.net", "port": 25}}, "relay", "needs the block mail"),
        ({"blocks": {"mail": False}, "publish": {"smtp": 25}}, "publish.smtp", "needs the block mail"),
        ({"blocks": {"ldap": False}, "demoUsers": True}, "demoUsers", "needs the block ldap"),
        (
            {"blocks": {"ldap": False}, "directory": {**LDAP, "kind": "activeDirectory"}},
            "blocks.password-self-service",
            "cannot change passwords in Active Directory",
        ),
        ({"blocks": {"kwmbridge": True}}, "blocks.kwmbridge", "the lab has no stand-in"),
        ({"blocks": {"mail": False, "spamd": True}}, "blocks.spamd", "needs the block mail"),
        (
            {"blocks": {"db": False}, "database": EXTERNAL, "generations": {"database": 2}},
            "generations.database",
            "belongs to the block db, which is off: change the password of the external one",
        ),
        ({"certificateHours": 100}, "certificateRenewalHours", "must not be more than kopano:certificateHours, 100"),
        ({"tls": {"mode": "acme", "email": "a@example.org"}}, "tls.mode", "the lab asks no public authority"),
        ({"httpPort": 8080, "tls": {"mode": "acme", "email": "a@example.org"}}, "tls.mode", "needs httpPort 80"),
        ({"tls": {"mode": "acme"}}, "tls.email", "whom the authority tells"),
        ({"tls": {**ACME, "authority": pair("ca.example.org").authority}}, "tls.authority", "whose directory must be named"),
        ({"httpsPort": 8443}, "httpsPort", "the meetings' bridge"),
        ({"imageSource": "published", "httpsPort": 4430}, "httpsPort", "must be 443 or 2015"),
    ],
)
def test_settings_that_contradict_each_other_are_named(values: dict[str, Any], key: str, trouble: str) -> None:
    said = problems({**GOOD, **values})
    assert any(line.startswith(f"  - kopano:{key}") and trouble in line for line in said.splitlines()), said


def test_what_follows_a_block_goes_with_it() -> None:
    config = validate("dev", {**GOOD, "blocks": {"meet": False}})
    assert "kwmserver" not in config.enabled
    assert {"smtp", "imaps"} <= set(config.published)
    outside = validate("dev", {**GOOD, "blocks": {"mail": False}, "smtpServer": "smtp.example.org:25"})
    assert set(outside.published) == {"imaps", "pop3s"}
