"""A Docker host over SSH: how it is reached, and what the commands say and do about it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lab.plugins import docker_ssh
from lab.plugins.resource import Refusal
from tools import docker_engine, doctor, places, pulumi, stack, up
from tools.words import FailureError

HOST = "ssh://deploy@docker.example.org:2222"


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command `ssh` that only the test answers for: a shell script that the test writes."""
    program = tmp_path / "ssh"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return program


def script(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stacks of this checkout: name -> Docker host. Nothing is wrong with them."""
    known: dict[str, str] = {}

    def stack_file(name: str) -> Path:
        file = tmp_path / f"Pulumi.{name}.yaml"
        file.write_text(f"config:\n  kopano:dockerHost: {known[name]}\n" if known[name] else "config: {}\n", encoding="utf-8")
        return file

    monkeypatch.setattr(docker_engine, "stack_file", stack_file)
    monkeypatch.setattr(docker_engine, "GIVEN", None)
    # Set first, so that it is put back whatever becomes of it.
    monkeypatch.setenv("DOCKER_HOST", "")
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr(doctor, "STATE", tmp_path)
    monkeypatch.setattr(doctor.cli, "present", lambda: True)
    monkeypatch.setattr(doctor.cli, "missing_plugins", list)
    monkeypatch.setattr(doctor.stack, "names", lambda: list(known))
    monkeypatch.setattr(doctor.recovery, "describe", lambda _: "")
    monkeypatch.setattr(doctor, "_full", lambda _: "")
    monkeypatch.setattr(doctor, "_trouble", lambda _: "")
    return known


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (HOST, ["-l", "deploy", "-p", "2222", "--", "docker.example.org"]),
        ("ssh://docker.example.org", ["--", "docker.example.org"]),
        ("ssh://deploy@Docker", ["-l", "deploy", "--", "Docker"]),
    ],
)
def test_the_labs_plug_in_runs_ssh_as_docker_does_and_asks_nobody(address: str, words: list[str]) -> None:
    command = docker_ssh.command(address)
    assert command[-len(words) - 3 :] == [*words, "docker", "system", "dial-stdio"]
    assert "BatchMode=yes" in command


def test_a_connection_through_the_tunnel_serves_until_it_is_closed(ssh: Path) -> None:
    script(ssh, "exec cat")
    tunnel = docker_ssh.Tunnel(HOST)
    path = tunnel.url.removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.connect(path)
        other.connect(path)
        for connection, sent in ((one, b"first"), (other, b"second"), (one, b"third")):
            connection.sendall(sent)
            assert connection.recv(100) == sent
        tunnel.close()
        assert one.recv(100) == other.recv(100) == b""
    assert not Path(path).parent.exists()


def test_what_ssh_says_of_a_log_in_that_failed_is_told(ssh: Path) -> None:
    script(ssh, "echo 'Host key verification failed.' >&2; exit 255")
    tunnel = docker_ssh.Tunnel(HOST)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(tunnel.url.removeprefix("unix://"))
        assert connection.recv(100) == b""
    assert tunnel.trouble == "Host key verification failed."
    tunnel.close()


def test_without_the_command_ssh_the_labs_plug_in_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="openssh-client"):
        docker_ssh.Tunnel(HOST)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            'error during connect: Get "http://docker/v1.50/version": command [ssh -l deploy -- docker.example.org docker system'
            " dial-stdio] has exited with exit status 255, please make sure the URL is valid, and Docker 18.09 or later is"
            " installed on the remote host: stderr=Host key verification failed.",
            "Host key verification failed.",
        ),
        ("Cannot connect to the Docker daemon at unix:///x.sock.\nIs it running?", "daemon at unix:///x.sock. Is it running?"),
        ("", "no answer"),
    ],
)
def test_why_no_engine_answers_is_said_without_the_words_around_it(tmp_path: Path, ssh: Path, said: str, why: str) -> None:
    script(tmp_path / "docker", f"cat >&2 <<'END'\n{said}\nEND\nexit 1")
    assert docker_engine.trouble().endswith(why)
    assert "exit status" not in docker_engine.trouble()


def test_how_to_log_in_by_hand_is_said_where_an_engine_over_ssh_does_not_answer(stacks: dict[str, str]) -> None:
    stacks["far"] = HOST
    docker_engine.of_stack("far")
    said = docker_engine.refusal("Host key verification failed.")
    assert said.startswith(f"no Docker Engine answers at kopano:dockerHost = {HOST} (Host key verification failed.): ")
    assert "ssh -p 2222 deploy@docker.example.org docker version;" in said


def test_over_ssh_fewer_connections_are_made_at_a_time_than_sshd_takes(stacks: dict[str, str]) -> None:
    stacks.update(far=HOST, near="")
    docker_engine.of_stack("far")
    assert int(places.environment()["PULUMI_PARALLEL"]) < 10
    assert "--parallel" not in up.deploy("far")
    docker_engine.of_stack("near")
    assert "PULUMI_PARALLEL" not in places.environment()
    assert "--parallel" in up.deploy("near")


@pytest.mark.parametrize("words", [["up", "--stack", "far"], ["-s", "far", "refresh"], ["stack", "output", "--stack=far"]])
def test_a_command_for_the_cli_speaks_with_the_host_of_the_stack_that_it_names(
    stacks: dict[str, str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    stacks["far"] = HOST
    ran: list[dict[str, str]] = []
    monkeypatch.setattr(pulumi.os, "execve", lambda command, arguments, environment: ran.append(environment))
    monkeypatch.setattr(pulumi.os, "chdir", lambda _: None)
    monkeypatch.setattr(pulumi, "executable", lambda: "pulumi")
    monkeypatch.setattr(pulumi.sys, "argv", ["pulumi", *words])
    pulumi._exec()
    assert [environment["DOCKER_HOST"] for environment in ran] == [HOST]


def test_the_doctor_asks_for_no_engine_here_where_every_stack_has_a_host(
    stacks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks["far"] = HOST
    monkeypatch.setattr(docker_engine, "trouble", lambda: "" if os.environ.get("DOCKER_HOST") == HOST else "no answer")
    assert dict(doctor.findings()) == {
        "Pulumi CLI": "",
        "plug-ins": "",
        "disk": "",
        "Docker Engine of stack far": "",
        "state of stack far": "",
        "space of stack far": "",
        "stack far": "",
    }


def test_the_doctor_says_why_the_host_of_a_stack_does_not_answer_and_looks_at_the_others(
    stacks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks.update(far=HOST, near="")
    monkeypatch.setattr(docker_engine, "trouble", lambda: "Connection refused" if "DOCKER_HOST" in os.environ else "")
    monkeypatch.setattr(doctor.build, "present", set)
    found = dict(doctor.findings())
    assert f"at kopano:dockerHost = {HOST} (Connection refused)" in found["Docker Engine of stack far"]
    assert "stack far" not in found
    assert found["Docker Engine"] == found["stack near"] == ""


def provider(host: str | None) -> list[dict[str, object]]:
    return [{"type": stack.ENGINE, "urn": "urn:pulumi:far::kopano::pulumi:providers:docker::docker", "inputs": {"host": host}}]


def test_a_stack_that_was_deployed_to_another_host_is_not_removed_and_no_empty_one_takes_its_place(
    stacks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks.update(far=HOST, near="")
    volume = "kopano:volumes:DataVolumes$kopano:volumes:DataVolume$docker:index/volume:Volume::data-mysql-volume"
    there = {"type": stack.VOLUME, "urn": f"urn:pulumi:far::kopano::{volume}", "outputs": {"name": "kopano-far-mysql"}}
    monkeypatch.setattr(stack, "docker", lambda *_: [])
    monkeypatch.setattr(stack, "resources", lambda _: [*provider(None), there])
    docker_engine.of_stack("near")
    stack.refuse_moved("near")
    with pytest.raises(FailureError, match="restore a backup"):
        stack.changed_by_hand("near")
    docker_engine.of_stack("far")
    for look in (stack.refuse_moved, stack.changed_by_hand):
        with pytest.raises(FailureError, match=f"was deployed to unix:///var/run/docker.sock, and .*{HOST}"):
            look("far")
