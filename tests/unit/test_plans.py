"""A plan that would touch data is told from one that does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import check_plan, plans
from tools.words import FailureError

VOLUME = (
    "urn:pulumi:prod::kopano::kopano:volumes:DataVolumes$kopano:volumes:DataVolume$docker:index/volume:Volume::data-mysql-volume"
)
SCRATCH = "urn:pulumi:prod::kopano::kopano:core:Core$kopano:volumes:ScratchVolume$docker:index/volume:Volume::core-sockets-volume"
CONTAINER = "urn:pulumi:prod::kopano::kopano:db:Database$kopano:workload:Workload$docker:index/container:Container::db-container"


def previewed(*steps: tuple[str, str]) -> dict[str, Any]:
    return {"steps": [{"op": operation, "urn": urn} for operation, urn in steps], "changeSummary": {}}


def saved(*steps: tuple[str, str]) -> dict[str, Any]:
    return {"manifest": {}, "resourcePlans": {urn: {"goal": None, "steps": [operation]} for operation, urn in steps}}


@pytest.mark.parametrize("form", [previewed, saved])
@pytest.mark.parametrize("operation", ["delete", "replace", "create-replacement", "delete-replaced", "discard"])
def test_a_plan_that_deletes_or_replaces_a_data_volume_is_found_in_either_form(form: Any, operation: str) -> None:
    assert plans.endangered(form((operation, VOLUME), ("replace", CONTAINER))) == {"data-mysql-volume": [operation]}


@pytest.mark.parametrize("form", [previewed, saved])
def test_a_plan_may_make_and_change_anything_else(form: Any) -> None:
    assert plans.endangered(form(("create", VOLUME), ("delete", SCRATCH), ("replace", CONTAINER))) == {}
    assert plans.endangered(form(("update", VOLUME))) == {}


@pytest.mark.parametrize("content", ["[]", "{}", '{"steps": 3}', "null"])
def test_what_is_no_plan_is_not_taken_for_a_harmless_one(content: str) -> None:
    with pytest.raises(FailureError, match="this is no plan"):
        plans.endangered(json.loads(content))


def command(monkeypatch: pytest.MonkeyPatch, file: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["check_plan", "prod", str(file)])
    return check_plan._command()


def test_the_command_names_the_volume_and_what_would_be_done_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(saved(("replace", VOLUME))), encoding="utf-8")
    with pytest.raises(FailureError, match=r"would delete or replace data volumes \(data-mysql-volume: replace\)"):
        command(monkeypatch, tmp_path / "plan.json")


def test_the_command_passes_a_plan_that_leaves_the_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(previewed(("update", CONTAINER))), encoding="utf-8")
    assert command(monkeypatch, tmp_path / "plan.json") == 0
    assert "no data volume is deleted or replaced" in capsys.readouterr().out


def test_a_plan_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailureError, match="cannot be read: No such file"):
        command(monkeypatch, tmp_path / "absent.json")
    (tmp_path / "page.html").write_text("<html>", encoding="utf-8")
    with pytest.raises(FailureError, match="is not JSON"):
        command(monkeypatch, tmp_path / "page.html")


def test_a_preview_that_fails_says_why() -> None:
    printed = json.dumps({"diagnostics": [{"severity": "error", "message": "kopano:fqdn is wrong\n"}]})
    assert check_plan.failure(printed, "noise") == "kopano:fqdn is wrong"
    assert check_plan.failure("", "error: no stack") == "error: no stack"
