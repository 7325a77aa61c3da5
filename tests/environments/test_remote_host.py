"""A stack on a Docker host that is reached over SSH alone (`kopano:dockerHost`)."""

from __future__ import annotations

import contextlib
import imaplib
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import ROOT, SMALL, Deployment, free_port
from docker_host import DockerHost, docker_host

from lab.images import catalog

EXAMPLE = "monitoring"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with docker_host(tmp_path_factory.mktemp("ssh")) as running, pytest.MonkeyPatch.context() as patch:
        patch.delenv("DOCKER_HOST", raising=False)
        patch.setenv("PATH", running.path)
        yield running


def prepared(host: DockerHost, folder: Path, url: str) -> Deployment:
    deployment = Deployment.prepare(folder)
    deployment.configure({**SMALL, "kopano:dockerHost": url, "kopano:publish": {"imaps": deployment.ports["imaps"]}})
    return deployment


@pytest.fixture(scope="module")
def remote(host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack on that host that is up. In the end it is stopped and removed as its user would do it."""
    deployment = prepared(host, tmp_path_factory.mktemp("project"), host.url)
    try:
        assert "all blocks are healthy" in deployment.make("up").stdout
        yield deployment
        data = sorted(deployment.outputs["volumes"].values())
        deployment.make("down")
        assert [volume for volume in there(host, deployment) if volume in data] == data
        assert host.docker("ps", "--all", "--quiet", "--filter", f"label=kopano.stack={deployment.stack}") == ""
        deployment.make("purge", YES="1")
        assert there(host, deployment) == []
    finally:
        # What went astray; the host itself goes with all that is on it.
        deployment.remove()


def there(host: DockerHost, deployment: Deployment) -> list[str]:
    """What the host has of a stack: containers, networks, volumes."""
    labelled = ["--quiet", "--filter", f"label=kopano.stack={deployment.stack}"]
    commands = (["ps", "--all"], ["network", "ls"], ["volume", "ls"])
    return [line for command in commands for line in host.docker(*command, *labelled).splitlines()]


def here(deployment: Deployment) -> list[str]:
    """What this machine's own engine has of a stack."""
    return [*deployment.containers(), *deployment.networks(), *deployment.volumes()]


def test_all_of_the_stack_is_on_that_host_and_answers_there(host: DockerHost, remote: Deployment) -> None:
    form = '{{.Label "kopano.block"}} {{.Status}}'
    listed = host.docker("ps", "--all", "--filter", f"label=kopano.stack={remote.stack}", "--format", form).splitlines()
    states = dict(line.split(" ", 1) for line in listed)
    assert {"web", "webapp", "server", "db", "ldap", "mail", "gateway-tls", "ssl"} <= set(states)
    assert [block for block, state in states.items() if block != "ssl" and "(healthy)" not in state] == []
    assert here(remote) == []
    context = ssl.create_default_context(cadata=remote.outputs["caCertificate"])
    context.check_hostname = False  # it is asked for by its address

    def log_in() -> str:
        with imaplib.IMAP4_SSL("127.0.0.1", remote.ports["imaps"], ssl_context=context, timeout=30) as imap:
            return str(imap.login("user1", "user1")[0])

    answer = host.engine.inside(lambda: remote.web("/webapp/"))
    assert answer.status == 200, answer
    assert host.engine.inside(log_in) == "OK"


def test_the_host_takes_all_connections_and_a_second_deployment_changes_nothing(host: DockerHost, remote: Deployment) -> None:
    remote.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert "no drift" in remote.make("drift").stdout
    logged = subprocess.run(["docker", "logs", host.container], capture_output=True, text=True, check=True).stderr
    assert "Accepted publickey for deploy" in logged
    assert "MaxStartups" not in logged


def test_the_doctor_looks_at_the_stacks_host_and_at_no_engine_of_this_machine(host: DockerHost, remote: Deployment) -> None:
    said = remote.make("doctor").stdout
    assert f"ok   Docker Engine of stack {remote.stack}" in said
    assert f"ok   stack {remote.stack}" in said
    assert "ok   Docker Engine\n" not in said
    host.docker("stop", f"kopano-{remote.stack}-monitor")
    try:
        assert f"container kopano-{remote.stack}-monitor is 'Exited" in remote.make("doctor", check=False).stdout
    finally:
        host.docker("start", f"kopano-{remote.stack}-monitor")


def test_an_example_beside_the_stack_runs_on_that_host(host: DockerHost, remote: Deployment) -> None:
    subprocess.run([sys.executable, "-m", "lab.images.build", EXAMPLE], cwd=ROOT, check=True, capture_output=True)
    host.engine.load([catalog.reference(EXAMPLE)])
    file = remote.root / "examples" / EXAMPLE / f"Pulumi.{remote.stack}.yaml"
    file.write_text(json.dumps({"config": {f"kopano-{EXAMPLE}:port": free_port()}}), encoding="utf-8")
    container = f"kopano-{EXAMPLE}-{remote.stack}"
    try:
        remote.make("example", EXAMPLE=EXAMPLE)
        assert "(healthy)" in host.docker("ps", "--filter", f"name=^{container}$", "--format", "{{.Status}}")
    finally:
        remote.make("example-down", EXAMPLE=EXAMPLE)
    assert host.docker("ps", "--all", "--quiet", "--filter", f"name=^{container}$") == ""


def test_a_stack_is_not_deployed_or_removed_on_another_host_by_a_changed_setting(host: DockerHost, remote: Deployment) -> None:
    before = there(host, remote)
    file = remote.root / f"Pulumi.{remote.stack}.yaml"
    content = file.read_text(encoding="utf-8")
    file.write_text(content.replace(host.url, "unix:///var/run/docker.sock"), encoding="utf-8")
    try:
        for target in ("up", "down", "purge"):
            ended = remote.make(target, check=False, YES="1")
            assert ended.returncode != 0
            assert f"error: stack {remote.stack} was deployed to {host.url}, and " in ended.stdout
    finally:
        file.write_text(content, encoding="utf-8")
    assert there(host, remote) == before
    assert here(remote) == []


@pytest.mark.parametrize("broken", ["port", "key"])
def test_a_host_that_cannot_be_logged_in_to_ends_in_one_sentence_and_nothing_was_changed(
    host: DockerHost, tmp_path: Path, broken: str
) -> None:
    url = f"ssh://deploy@127.0.0.1:{free_port()}" if broken == "port" else host.url
    deployment = prepared(host, tmp_path, url)
    with host.unknown() if broken == "key" else contextlib.nullcontext():
        ended = deployment.make("up", check=False)
    assert ended.returncode != 0
    (error,) = [line for line in ended.stdout.splitlines() if "error" in line.lower() and not line.startswith("make: ***")]
    why = "Connection refused" if broken == "port" else "Host key verification failed."
    assert error.startswith(f"error: no Docker Engine answers at kopano:dockerHost = {url} (")
    assert f"{why}): make this work" in error
    assert error.endswith("nothing was changed")
    assert there(host, deployment) + here(deployment) == []
    assert not (deployment.root / ".local" / "state").exists()


def test_a_backup_of_that_host_comes_here_and_is_restored_there(
    host: DockerHost, remote: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = remote.root / "archive.tar"
    assert f"{archive} has all of stack {remote.stack}" in remote.make("backup", FILE=str(archive)).stdout
    other = prepared(host, tmp_path_factory.mktemp("project"), host.url)
    shutil.copy2(remote.root / ".local" / "passphrase", other.root / ".local" / "passphrase")
    try:
        other.make("restore", FILE=str(archive))
        restored = there(host, other)
        assert {f"kopano-{other.stack}-{volume}" for volume in ("mysql", "ldap", "maildata")} <= set(restored)
        assert here(other) == []
    finally:
        other.make("purge", YES="1")
    assert there(host, other) == []
