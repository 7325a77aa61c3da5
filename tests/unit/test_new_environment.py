"""A new environment is a stack file that the program takes, or one sentence and nothing."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.settings import KEYS, Settings, validate
from tools import cli, new_environment, pulumi, stack, stack_files
from tools.graph import ROOT
from tools.words import FailureError

PLANTED = "planted-secret"
LAB = ("--fqdn", "mail.example.org", "--image-source", "lab")
ELSEWHERE = (
    *LAB,
    *("--database", "mail@db.example.org:3307/mails", "--smtp-server", "smtp.example.org:25"),
    *("--directory", "ldaps://ldap.example.org", "--directory-base-dn", "dc=example", "--directory-bind-dn", "cn=k"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stack files are; the state knows no stack but `old`."""
    monkeypatch.setattr(new_environment, "stack_file", lambda name: tmp_path / f"Pulumi.{name}.yaml")
    monkeypatch.setattr(cli, "present", lambda: True)
    monkeypatch.setattr(stack, "exists", lambda name: name == "old")
    return tmp_path


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], str | None]]:
    """What the CLI is told: its arguments, and its standard input."""
    calls: list[tuple[tuple[str, ...], str | None]] = []
    monkeypatch.setattr(cli, "ensure", lambda: None)
    monkeypatch.setattr(cli, "ensure_plugins", lambda: None)
    monkeypatch.setattr(stack, "ensure", lambda _: None)
    monkeypatch.setattr(pulumi, "run", lambda *words, stdin=None, **_: calls.append((words, stdin)))
    return calls


def command(monkeypatch: pytest.MonkeyPatch, *words: str, typed: str = "", ask: bool = False) -> None:
    monkeypatch.setattr(sys, "argv", ["new-environment", *words, *([] if ask else ["--non-interactive"])])
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert new_environment._command() == 0


def written(folder: Path, name: str) -> dict[str, Any]:
    config = yaml.safe_load((folder / f"Pulumi.{name}.yaml").read_text(encoding="utf-8"))["config"]
    return {key.removeprefix("kopano:"): value for key, value in config.items()}


def accepted(folder: Path, name: str, **secrets: str) -> Settings:
    values = written(folder, name)
    for setting, secret in secrets.items():
        values[setting]["bindPassword" if setting == "directory" else "password"] = secret
    return validate(name, values)


def test_options_alone_make_a_stack_file_that_is_accepted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "--http-port",
        "8080",
        "--https-port",
        "2015",
        "--bind-address",
        "127.0.0.1",
        "--demo-users",
        "--timezone",
        "Europe/Berlin",
    )
    sets = (
        "--set",
        "publish={imaps: 2993}",
        "--set",
        "publish.smtp=2025",
        "--set",
        "dkim.example.org=m1",
        "--set",
        "protectData=no",
    )
    with pytest.raises(FailureError, match="kopano:protectData = no: must be true or false"):
        command(monkeypatch, "prod", *LAB, *words, *sets)
    command(monkeypatch, "prod", *LAB, *words, *sets[:-1], "protectData=false", "--organisation", "Example Ltd")
    made = accepted(folder, "prod")
    assert (made.fqdn, made.organisation, made.timezone) == ("mail.example.org", "Example Ltd", "Europe/Berlin")
    assert (made.http_port, made.https_port, made.bind_address, made.demo_users) == (8080, 2015, "127.0.0.1", True)
    assert (made.publish, made.dkim, made.protect_data) == ({"imaps": 2993, "smtp": 2025}, {"example.org": "m1"}, False)


def test_published_images_have_a_registry_and_tags(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = [word for image in ("core", "kdav", "meet", "scheduler", "webapp", "zpush") for word in ("--tag", f"{image}=1")]
    command(monkeypatch, "prod", "--fqdn", "mail.example.org", "--registry", "registry.example.org/kopano", *tags)
    made = accepted(folder, "prod")
    assert (made.image_source, made.image_repository, made.image_tags["core"]) == (
        "published",
        "registry.example.org/kopano",
        "1",
    )


def test_secrets_come_from_files_or_the_standard_input_and_go_to_the_cli_by_its_own(
    folder: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "password").write_text(f"{PLANTED}-db\n", encoding="utf-8")
    secrets = ("--secret", f"database.password={folder}/password", "--secret", "directory.bindPassword=-")
    command(monkeypatch, "prod", *ELSEWHERE, *secrets, typed=f"{PLANTED}-ldap\n")
    assert {words[4]: secret for words, secret in told} == {
        "kopano:database.password": f"{PLANTED}-db",
        "kopano:directory.bindPassword": f"{PLANTED}-ldap",
    }
    assert {words[:4] for words, _ in told} == {("config", "set", "--secret", "--path")}
    said = capsys.readouterr().out
    assert PLANTED not in str([words for words, _ in told]) + said + (folder / "Pulumi.prod.yaml").read_text(encoding="utf-8")
    assert "encrypted in Pulumi.prod.yaml: kopano:database.password, kopano:directory.bindPassword" in said
    made = accepted(folder, "prod", database="x", directory="x")
    assert (made.blocks, made.smtp_server) == ({"db": False, "ldap": False, "mail": False}, "smtp.example.org:25")
    assert made.database is not None
    assert (made.database.host, made.database.port, made.database.name, made.database.user) == (
        "db.example.org",
        3307,
        "mails",
        "mail",
    )


def test_the_questions_make_a_stack_file_and_ask_again_after_a_wrong_answer(
    folder: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [
        "mail",
        "mail.example.org",
        "",
        "Europe/Berlin",
        "lab",
        "db.example.org",
        "kopano@db.example.org/kopano",
        "",
        "",
        "true",
    ]
    command(monkeypatch, "prod", ask=True, typed="".join(f"{line}\n" for line in [*answers, f"{PLANTED}-db"]))
    said = capsys.readouterr().out
    assert "kopano:fqdn: must be a host name in lower case" in said
    assert "must be USER@HOST/NAME" in said
    assert PLANTED not in said
    made = accepted(folder, "prod", database="x")
    assert (made.fqdn, made.organisation, made.timezone, made.demo_users) == ("mail.example.org", "Kopano", "Europe/Berlin", True)
    assert [secret for _, secret in told] == [f"{PLANTED}-db"]
    assert "organisation" not in written(folder, "prod")


def test_only_releases_that_the_program_does_not_know_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["", "", "", "", "", "", "", *(["11.0.2"] * 5)]
    command(monkeypatch, "prod", "--fqdn", "mail.example.org", "--tag", "core=11", ask=True, typed="\n".join(answers) + "\n")
    assert set(accepted(folder, "prod").image_tags) == {"core", "kdav", "meet", "scheduler", "webapp", "zpush"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("Prod", *LAB), "say how the stack is to be called"),
        (("old", *LAB), "the state has a stack old already: choose another name"),
        (("prod",), "kopano:fqdn = (empty): must be a host name"),
        (
            ("prod", "--fqdn", "mail.example.org:443", "--image-source", "lab"),
            "kopano:fqdn = mail.example.org:443: must be a host",
        ),
        (("prod", "--fqdn", "mail.example.org"), "kopano:imageTags.core = (empty): the release of kopano_core must be named"),
        (("prod", *LAB, "--database", "db.example.org"), "kopano:database = db.example.org: must be USER@HOST/NAME"),
        (("prod", *LAB, "--database", "k@db.example.org/k"), "kopano:database.password is missing: put it into a file"),
        (("prod", *LAB, "--directory", "ldap://x.y"), "kopano:directory.baseDn = (empty): must have a value"),
        (("prod", *LAB, "--smtp-server", "smtp"), "kopano:smtpServer = smtp: must be host:port"),
        (("prod", *LAB, "--set", "fqnd=x"), "kopano:fqnd: there is no such setting, docs/configuration.md lists"),
        (("prod", *LAB, "--set", "fqdn"), "--set fqdn: must be NAME=VALUE"),
        (("prod", *LAB, "--set", "fqdn.x=y"), "kopano:fqdn.x: fqdn has no entries"),
        (("prod", *LAB, "--set", "publish={"), "--set publish: is no YAML"),
        (("prod", *LAB, "--set", "publish=imaps", "--set", "publish.smtp=1"), "publish as a whole as well"),
        (("prod", *LAB, "--set", "httpPort=443"), "kopano:httpsPort = 443: is taken by kopano:httpPort"),
        (("prod", *LAB, "--set", "blocks.mail=false"), "kopano:smtpServer: must say what takes the place of the block mail"),
        (("prod", *LAB, "--set", f"database.password={PLANTED}"), "database.password is a secret, which others see on a command"),
        (("prod", *LAB, "--set", f"turn={{password: {PLANTED}}}"), "turn.password is a secret"),
        (("prod", *LAB, "--set", f"environment.webapp.MY_TOKEN={PLANTED}"), "environment.webapp.MY_TOKEN is a secret"),
        (("prod", *LAB, "--secret", "turn.password=/nowhere"), "/nowhere cannot be read: No such file"),
        (("prod", *LAB, "--secret", "turn.password=-", "--secret", "database.password=-"), "only one secret can come from the"),
    ],
)
def test_nonsense_is_refused_in_one_sentence_and_nothing_is_written(
    folder: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(FailureError) as caught:
        command(monkeypatch, *words, typed="x")
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert PLANTED not in message
    assert list(folder.iterdir()) == []
    assert told == []


def test_an_unanswered_question_writes_nothing(folder: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailureError, match="a question was not answered, and nothing was written"):
        command(monkeypatch, "prod", ask=True, typed="mail.example.org\n")
    assert list(folder.iterdir()) == []


def test_a_stack_file_that_is_there_is_never_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "Pulumi.prod.yaml"
    file.write_text("config: {}\n", encoding="utf-8")
    with pytest.raises(FailureError, match=r"Pulumi\.prod\.yaml is there already and is not changed"):
        command(monkeypatch, "prod", *LAB)
    # Also where it comes into being while the questions are answered.
    with pytest.raises(FailureError, match=r"Pulumi\.prod\.yaml is there already and is not changed"):
        stack_files.write(file, "prod", "comment", {"fqdn": "mail.example.org"}, {})
    assert file.read_text(encoding="utf-8") == "config: {}\n"


def test_a_secret_that_cannot_be_set_leaves_neither_a_file_nor_a_stack(
    folder: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: str, **_: Any) -> None:
        told.append((words, None))
        if words[0] == "config":
            raise FailureError("no secrets provider")

    monkeypatch.setattr(pulumi, "run", fail)
    database = ("--database", "k@db.example.org/k", "--secret", "database.password=-")
    with pytest.raises(FailureError, match="no secrets provider"):
        command(monkeypatch, "prod", *LAB, *database, typed=PLANTED)
    assert list(folder.iterdir()) == []
    assert told[-1][0] == ("stack", "rm", "--yes", "--stack", "prod")


def test_a_name_with_a_dot_is_one_entry_where_the_map_is_flat() -> None:
    assert new_environment.split_path("dkim.example.org") == ("dkim", "example.org")
    assert new_environment.split_path("environment.server.KCCONF_SERVER_X") == ("environment", "server", "KCCONF_SERVER_X")
    assert new_environment.cli_path(("dkim", "example.org")) == 'dkim["example.org"]'
    assert new_environment.cli_path(("database", "password")) == "database.password"


def test_the_recipe_in_the_documents_makes_a_stack_file(folder: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^scripts/new-environment (NAME --non-interactive(?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = shlex.split(recipe.replace("\\\n", " ").replace("NAME", "prod", 1).replace("/run/secrets/database", "-"))
    command(monkeypatch, *words, typed=PLANTED)
    made = accepted(folder, "prod", database="x")
    assert made.database is not None
    assert made.image_repository == "registry.example.org/kopano"


def test_every_option_that_gives_a_setting_gives_one_that_exists() -> None:
    assert set(new_environment.PLAIN_OPTIONS.values()) <= {key.name for key in KEYS}


def test_the_script_speaks_in_one_sentence() -> None:
    done = subprocess.run([ROOT / "scripts" / "new-environment", "NO"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: say how the stack is to be called")
    assert done.stderr.count("\n") == 1
