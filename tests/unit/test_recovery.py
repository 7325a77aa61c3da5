"""What a killed run left is told from what is somebody's; and what differs from the program is said in words."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools import drift, recovery, stack
from tools.words import FailureError

DEAD = 2**22 + 1
"""No process has such a number."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A state, and a Docker host; both are empty at first. Commands are written down."""
    here: dict[str, Any] = {"state": {}, "containers": [], "networks": [], "done": []}

    def docker(*arguments: str) -> list[str]:
        if arguments[0] == "ps":
            return list(here["containers"])
        if arguments[:2] == ("network", "ls"):
            return list(here["networks"])
        if arguments[:2] == ("network", "inspect"):
            return ['[{"Containers": {}}]']
        here["done"].append(" ".join(arguments))
        return []

    monkeypatch.setattr(recovery, "STATE", tmp_path)
    monkeypatch.setattr(recovery, "DYING_SECONDS", 0)
    monkeypatch.setattr(recovery.stack, "docker", docker)
    monkeypatch.setattr(recovery.stack, "deployment", lambda _: here["state"])
    monkeypatch.setattr(recovery.pulumi, "run", lambda *arguments, **_: here["done"].append(" ".join(arguments)))
    return here


def lock(state: Path, pid: int, host: str) -> Path:
    file = state / ".pulumi/locks/organization/kopano/dev/lock.json"
    file.parent.mkdir(parents=True)
    content = {"pid": pid, "username": "ann", "hostname": host, "timestamp": "2026-01-02T03:04:05.678901Z"}
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_container_that_the_engine_is_removing_already_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["removal of container 1a is already in progress", "Error: No such container: 1a", "out of memory"]

    def docker(*_: str) -> list[str]:
        raise subprocess.CalledProcessError(1, "docker", stderr=answers.pop(0))

    monkeypatch.setattr(stack, "docker", docker)
    monkeypatch.setattr(stack.time, "sleep", lambda seconds: None)
    stack.remove("1a")
    assert answers == ["out of memory"]
    with pytest.raises(subprocess.CalledProcessError):
        stack.remove("1a")


def test_nothing_is_done_where_nothing_is_left(world: dict[str, Any]) -> None:
    recovery.clear("dev")
    assert world["done"] == []
    assert recovery.describe("dev") == ""


def test_containers_and_networks_that_are_in_no_state_go_when_a_run_of_this_checkout_was_cut_off(world: dict[str, Any]) -> None:
    world["state"] = {"resources": [{"id": "known"}, {"type": "component"}], "pending_operations": [{}, {}]}
    world["containers"] = ["known kopano-dev-db", "orphan kopano-dev-web"]
    world["networks"] = ["stray kopano-dev-web-net"]
    assert "kopano-dev-web is in no state" in recovery.describe("dev")
    recovery.clear("dev")
    assert world["done"] == [
        "stop --time 60 orphan",
        "rm --force orphan",
        "network rm stray",
        "refresh --clear-pending-creates --yes --skip-preview --stack dev",
    ]


def test_what_another_checkout_deployed_is_left_alone(world: dict[str, Any]) -> None:
    world["containers"] = ["theirs kopano-dev-db"]
    with pytest.raises(FailureError, match=r"not in this checkout's state \(kopano-dev-db, \.\.\.\)"):
        recovery.clear("dev")
    assert world["done"] == []


def test_the_lock_of_a_dead_run_is_released(world: dict[str, Any], tmp_path: Path) -> None:
    lock(tmp_path, DEAD, socket.gethostname())
    assert f"locked by a run that was killed (process {DEAD}, 2026-01-02T03:04:05)" in recovery.describe("dev")
    recovery.clear("dev")
    assert world["done"] == ["cancel --yes --stack dev"]


def test_a_process_that_only_has_the_number_of_the_run_does_not_keep_its_lock(world: dict[str, Any], tmp_path: Path) -> None:
    lock(tmp_path, os.getpid(), socket.gethostname())  # alive, and not the CLI
    recovery.clear("dev")
    assert world["done"] == ["cancel --yes --stack dev"]


def test_a_run_that_has_ended_and_is_still_listed_does_not_keep_its_lock(world: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    program.symlink_to("/bin/true")
    with subprocess.Popen([program]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{ended.pid}/comm").read_text(encoding="utf-8") == "pulumi\n"
        lock(tmp_path, ended.pid, socket.gethostname())
        recovery.clear("dev")
    assert world["done"] == ["cancel --yes --stack dev"]


def test_the_lock_of_a_run_that_may_be_alive_stops_everything(world: dict[str, Any], tmp_path: Path) -> None:
    lock(tmp_path, DEAD, "elsewhere")
    world["containers"] = ["orphan kopano-dev-web"]
    with pytest.raises(FailureError, match=r"by process .* of ann on elsewhere since 2026-01-02T03:04:05: wait for its end"):
        recovery.clear("dev")
    assert world["done"] == []
    assert "scripts/pulumi cancel --yes --stack dev" in recovery.describe("dev")


def test_attributes_of_the_state_that_a_killed_run_has_half_written_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "STATE", tmp_path)
    folder = tmp_path / ".pulumi" / "stacks"
    folder.mkdir(parents=True)
    contents = {
        "dev.json": "{",
        "dev.json.attrs": "",
        "prod.json": "{}",
        "prod.json.attrs": '{"user.md5": "x"}',
        "ci.json.attrs": '{"u',
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    stack.mend()
    assert {file.name for file in folder.iterdir()} == {"dev.json", "prod.json", "prod.json.attrs"}


def step(operation: str, **more: Any) -> dict[str, Any]:
    state = {"custom": True, "type": "docker:index/container:Container", "inputs": {"name": "kopano-dev-web"}}
    return {"op": operation, "urn": "urn:pulumi:dev::kopano::x::web-container", "newState": state, **more}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (step("same"), ""),
        (step("create"), "container kopano-dev-web is missing"),
        (step("delete"), "container kopano-dev-web is no longer in the program"),
        (
            step("replace", detailedDiff={"envs[3]": {"kind": "update"}, "envs[4]": {}, "image": {}}),
            "container kopano-dev-web differs in envs, image",
        ),
        (step("update", diffReasons=["memory"]), "container kopano-dev-web differs in memory"),
    ],
)
def test_a_difference_is_said_in_words_and_without_values(change: dict[str, Any], words: str) -> None:
    assert drift.describe(change) == words


def test_components_are_no_differences() -> None:
    change = step("create")
    change["newState"] = {"custom": False, "type": "kopano:web:Web"}
    assert drift.differences({"steps": [change]}) == {}
