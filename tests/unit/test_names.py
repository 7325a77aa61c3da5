"""Whether names are found is asked of whoever can tell, and twice."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tools import names


def box(name: str, *networks: str) -> dict[str, Any]:
    endpoints = {network: {"Aliases": [name, f"id-of-{name}"[:8]]} for network in networks}
    return {"Id": f"id-of-{name}", "Name": f"/{name}", "NetworkSettings": {"Networks": {**endpoints, "host": {"Aliases": None}}}}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A Docker host: its containers, how asking in each of them ends, and what was asked and done."""
    here: dict[str, Any] = {"boxes": [], "ends": {}, "asked": [], "done": []}

    def docker(*arguments: str) -> list[str]:
        if arguments[0] == "ps":
            return [each["Id"] for each in here["boxes"]]
        if arguments[0] == "inspect":
            return json.dumps(here["boxes"], indent=1).splitlines()
        here["done"].append(arguments)
        return []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        asker, *rest = command[2:]
        here["asked"].append((asker, rest[2:]))
        ends = here["ends"].get(asker, [0])
        if ends == ["no answer"]:
            raise subprocess.TimeoutExpired(command, 15)
        return subprocess.CompletedProcess(command, ends.pop(0) if len(ends) > 1 else ends[0])

    monkeypatch.setattr(names.stack, "docker", docker)
    monkeypatch.setattr(names.subprocess, "run", run)
    monkeypatch.setattr(names, "AGAIN_SECONDS", 0)
    return here


def test_each_network_is_asked_for_the_names_of_the_others_on_it(host: dict[str, Any]) -> None:
    host["boxes"] = [box("db", "kopano"), box("server", "kopano", "ldap"), box("ldap", "ldap"), box("alone", "jobs")]
    assert names.forgotten("dev") == {}
    assert sorted(host["asked"]) == [("db", ["server"]), ("server", ["ldap"])]


def test_a_container_that_cannot_ask_is_passed_over(host: dict[str, Any]) -> None:
    host["boxes"] = [box("db", "kopano"), box("server", "kopano")]
    host["ends"] = {"db": [127], "server": [2]}
    assert names.forgotten("dev") == {"kopano": ["db", "server"]}
    host["ends"] = {"db": [127], "server": [126]}
    assert names.forgotten("dev") == {}


def test_a_name_that_the_resolvers_of_the_host_keep_silent_about_is_not_found(host: dict[str, Any]) -> None:
    host["boxes"] = [box("db", "kopano"), box("server", "kopano")]
    host["ends"] = {"db": ["no answer"]}
    assert names.forgotten("dev") == {"kopano": ["db", "server"]}


def test_a_name_that_is_missed_for_a_moment_is_nothing(host: dict[str, Any]) -> None:
    host["boxes"] = [box("db", "kopano"), box("server", "kopano")]
    host["ends"] = {"db": [2, 0]}
    names.mend("dev")
    assert host["done"] == []


def test_what_has_lost_its_name_is_started_again_in_good_order(host: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    host["boxes"] = [box("db", "kopano"), box("server", "kopano"), box("web", "web"), box("meet", "web")]
    host["ends"] = {"db": [2]}
    names.mend("dev")
    assert sorted(host["done"]) == [("restart", "--time", "60", "db"), ("restart", "--time", "60", "server")]
    assert "starting its 2 containers again" in capsys.readouterr().out
    assert "network kopano (a Swarm was left" in names.describe("dev")


def test_a_stack_without_containers_misses_nothing(host: dict[str, Any]) -> None:
    assert names.describe("dev") == ""
