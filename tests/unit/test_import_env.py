"""A deployment's .env becomes a stack file: every variable a setting, or listed with the reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.settings import validate
from tools import cli, compose_variables, import_env, pulumi
from tools.graph import ROOT
from tools.words import FailureError

CONTRACT = json.loads((ROOT / "tests" / "unit" / "data" / "contract.json").read_text(encoding="utf-8"))["services"]

# As the reference's set-up writes it, for the bundled services.
ENV = """
# comment
CORE_VERSION=11.0.2
WEBAPP_VERSION=latest
LDAP_CONTAINER=kopano_ldap_demo
LDAP_ORGANISATION="Kopano Demo"  # with a comment
LDAP_DOMAIN=kopano.demo
LDAP_BASE_DN=dc=kopano,dc=demo
LDAP_SERVER=ldap://ldap:389
LDAP_HOST=ldap:389
LDAP_ADMIN_PASSWORD=planted-admin
LDAP_READONLY_USER_PASSWORD=planted-reader
LDAP_BIND_DN=cn=readonly,dc=kopano,dc=demo
LDAP_BIND_PW=planted-reader
LDAP_SEARCH_BASE=dc=kopano,dc=demo
LDAP_QUERY_FILTER_USER=(&(kopanoAccount=1)(mail=%s))
LDAP_QUERY_FILTER_GROUP=(&(objectclass=our-group)(mail=%s))
SELF_SERVICE_PASSWORD_MIN_LENGTH=5
KCUNCOMMENT_LDAP_1=!include /usr/share/kopano/ldap.openldap.cfg
MYSQL_HOST=db
MYSQL_ROOT_PASSWORD=planted-root
MYSQL_USER=kopano
MYSQL_PASSWORD='planted-db'
MYSQL_DATABASE=kopano
TZ=Europe/Berlin
MAILBOXLANG=de_DE.UTF-8
export HOST=kopano.demo
FQDN=${HOST}:2015
FQDNCLEANED=kopano.demo
EMAIL=self_signed
HTTP=80
HTTPS=443
SMTPPORT=2525
INSECURE=yes
docker_repo=zokradonh
COMPOSE_PROJECT_NAME=kopano
COMPOSE_FILE=docker-compose.yml:docker-compose.ports.yml:docker-compose.db.yml:docker-compose.ldap.yml:docker-compose.mail.yml
KOPANO_CORE_REPOSITORY_URL=https://download.kopano.io/x
ADDITIONAL_KOPANO_PACKAGES=""
ADDITIONAL_KOPANO_WEBAPP_PLUGINS="kopano-webapp-plugin-mdm kopano-webapp-plugin-smime"
OURS=something
"""
EXTERNAL = {
    "FQDN": "mail.example.org",
    "MYSQL_HOST": "db.example.org",
    "MYSQL_USER": "mail",
    "MYSQL_PASSWORD": "planted-db",
    "MYSQL_DATABASE": "mails",
    "LDAP_SERVER": "ldaps://ldap.example.org",
    "LDAP_SEARCH_BASE": "dc=example",
    "LDAP_BIND_DN": "cn=k",
    "LDAP_BIND_PW": "planted-ldap",
    "LDAP_CONTAINER": "kopano_ldap",
    "COMPOSE_FILE": "docker-compose.yml",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment's folder; its volumes are on the host."""
    (tmp_path / ".env").write_text(ENV, encoding="utf-8")
    monkeypatch.setattr(import_env.stack, "docker", lambda *_: ["kopano_mysql", "kopano_kopanodata", "other_ldap"])
    monkeypatch.setattr(import_env.docker_engine, "ensure", lambda: None)
    monkeypatch.setattr(import_env, "stack_file", lambda name: tmp_path / f"Pulumi.{name}.yaml")
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["import-env", *arguments])
    return import_env._command()


def test_the_stack_file_has_what_the_variables_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(monkeypatch, str(folder)) == 0
    config = yaml.safe_load((folder / "Pulumi.kopano.yaml").read_text(encoding="utf-8"))["config"]
    settings = validate("kopano", {key.removeprefix("kopano:"): value for key, value in config.items()})
    assert (settings.fqdn, settings.https_port, settings.http_port) == ("kopano.demo", 2015, 80)
    assert (settings.organisation, settings.timezone, settings.mailbox_locale) == ("Kopano Demo", "Europe/Berlin", "de_DE.UTF-8")
    assert settings.demo_users
    assert settings.image_tags["core"] == "11.0.2"
    assert settings.image_tags["scheduler"] == "latest"
    assert settings.webapp_plugins == ("mdm", "smime")
    assert settings.volumes == {"mysql": "kopano_mysql", "kopanodata": "kopano_kopanodata"}
    assert settings.published == {"smtp": 2525, "smtps": 465, "submission": 587, "imaps": 993, "pop3s": 995}
    assert settings.environment == {
        "password-self-service": {"PASSWORD_MIN_LENGTH": "5"},
        "mail": {"LDAP_QUERY_FILTER_GROUP": "(&(objectclass=our-group)(mail=%s))"},
    }


def test_every_variable_is_reported_and_no_value_that_is_secret_is_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, str(folder))
    said = capsys.readouterr().out
    for variable in re.findall(r"^(?:export )?([A-Za-z_]\w*)=[^\"]", ENV, re.MULTILINE):
        assert f"==> {variable}: " in said, variable
    assert "OURS: left out, is unknown" in said
    assert said.count("unknown") == 2  # HOST is only there to be used in FQDN
    assert "planted" not in said
    assert "planted" not in (folder / "Pulumi.kopano.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("service", sorted(CONTRACT))
def test_no_variable_of_the_reference_is_unknown(service: str) -> None:
    names = set(re.findall(r"\$\{([A-Za-z_0-9]+)", json.dumps(CONTRACT[service])))
    for values in (
        dict.fromkeys(names, "x"),
        {**dict.fromkeys(names, "x"), "MYSQL_HOST": "db", "LDAP_SERVER": "ldap://ldap:389"},
    ):
        left = compose_variables.translate(values, set()).left_out
        assert {name for name, reason in left.items() if "unknown" in reason} == set()


def test_external_services_are_taken_over_with_their_passwords_as_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in EXTERNAL.items()), encoding="utf-8")
    (folder / "kopano_spooler.env").write_text("KCCONF_SPOOLER_SMTP_SERVER=smtp.example.org\n", encoding="utf-8")
    (folder / "kopano_webapp.env").write_text("OUR_API_TOKEN=planted-token\n", encoding="utf-8")
    given: list[tuple[tuple[str, ...], Any]] = []
    monkeypatch.setattr(cli, "ensure", lambda: None)
    monkeypatch.setattr(cli, "ensure_plugins", lambda: None)
    monkeypatch.setattr(import_env.stack, "exists", lambda _: False)
    monkeypatch.setattr(import_env.stack, "ensure", lambda _: None)
    monkeypatch.setattr(pulumi, "run", lambda *words, stdin, **_: given.append((words, stdin)))
    assert command(monkeypatch, str(folder / ".env"), "--stack", "prod") == 0
    config = yaml.safe_load((folder / "Pulumi.prod.yaml").read_text(encoding="utf-8"))["config"]
    assert config["kopano:blocks"] == {"db": False, "ldap": False, "mail": False}
    assert config["kopano:database"] == {"host": "db.example.org", "port": 3306, "name": "mails", "user": "mail"}
    assert config["kopano:directory"] == {"uri": "ldaps://ldap.example.org", "baseDn": "dc=example", "bindDn": "cn=k"}
    assert config["kopano:smtpServer"] == "smtp.example.org:25"
    assert {words[4]: secret for words, secret in given} == {
        "kopano:database.password": "planted-db",
        "kopano:directory.bindPassword": "planted-ldap",
        "kopano:environment.webapp.OUR_API_TOKEN": "planted-token",
    }
    assert "planted" not in str([words for words, _ in given]) + capsys.readouterr().out + json.dumps(config)


def test_extra_variables_become_the_environment_of_their_block_or_are_listed(folder: Path) -> None:
    (folder / "kopano_server.env").write_text("KCCONF_SERVER_LOG_LEVEL=4\nKCCONF_SERVER_NONSENSE=1\nFQDN=x\n", encoding="utf-8")
    (folder / "kopano_ssl.env").write_text("PKI_COUNTRY=DE\n", encoding="utf-8")
    found = import_env.import_folder(folder)
    assert found.config["environment"]["server"] == {"KCCONF_SERVER_LOG_LEVEL": "4"}
    assert "names no option of Kopano's server" in found.left_out["kopano_server.env: KCCONF_SERVER_NONSENSE"]
    assert "set by the program" in found.left_out["kopano_server.env: FQDN"]
    assert "needs no variables" in found.left_out["kopano_ssl.env: PKI_COUNTRY"]


def test_a_stack_file_that_is_there_is_never_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "Pulumi.kopano.yaml").write_text("config: {}\n", encoding="utf-8")
    with pytest.raises(FailureError, match=r"Pulumi\.kopano\.yaml is there already and is not changed"):
        command(monkeypatch, str(folder))
    assert (folder / "Pulumi.kopano.yaml").read_text(encoding="utf-8") == "config: {}\n"


def test_a_failure_half_way_leaves_no_half_stack_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "kopano_webapp.env").write_text("OUR_API_TOKEN=planted-token\n", encoding="utf-8")

    def fail() -> None:
        raise FailureError("no CLI")

    monkeypatch.setattr(cli, "ensure", fail)
    with pytest.raises(FailureError, match="no CLI"):
        command(monkeypatch, str(folder))
    assert not (folder / "Pulumi.kopano.yaml").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"FQDN=a.b.c\nthis is no line\n", r"line 2: this is no NAME=VALUE"),
        (b"FQDN='a.b.c\n", r"line 1: this is no NAME=VALUE"),
        (b"FQDN=\xff\n", "it is not UTF-8"),
        (b"FQDN=a.b.c\n", "say how the stack is to be called"),
        (b"COMPOSE_PROJECT_NAME=My Project\n", "say how the stack is to be called"),
    ],
)
def test_bad_input_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str) -> None:
    (folder / ".env").write_bytes(content)
    with pytest.raises(FailureError, match=said) as caught:
        command(monkeypatch, str(folder))
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_file_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "scripts" / "import-env", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr == f"error: {tmp_path}/.env is not there: name the folder of the kopano-docker deployment, or its .env file\n"
    )
