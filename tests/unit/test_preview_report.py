"""What a reviewer reads of a preview: golden files of a real one, what blocks a merge, and what is never shown."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from components.blocks import BLOCKS
from tools import check_plan, preview_report
from tools.graph import PLANTED, ROOT, SECRET, SECRET_SIGNATURE
from tools.preview_report import EFFECTS, UNKNOWN, report
from tools.words import FailureError

DATA = ROOT / "tests" / "unit" / "data"
VOLUME = (
    "urn:pulumi:rep::kopano::kopano:volumes:DataVolumes$kopano:volumes:DataVolume$docker:index/volume:Volume::data-mysql-volume"
)


@pytest.fixture
def plan() -> dict[str, Any]:
    """What the engine printed of a stack in which another image, port, variable, memory limit, password and block were set."""
    return dict(json.loads((DATA / "preview.json").read_text(encoding="utf-8")))


def container(plan: dict[str, Any], block: str) -> dict[str, Any]:
    (step,) = [step for step in plan["steps"] if step["urn"].endswith(f"{block}-container")]
    return dict(step)


def test_a_preview_of_the_engine_is_reported_as_in_the_golden_file(plan: dict[str, Any]) -> None:
    assert report("rep", plan) == (DATA / "preview.md").read_text(encoding="utf-8")


def test_a_data_volume_that_would_go_blocks_the_merge_and_the_rest_is_still_reported(plan: dict[str, Any]) -> None:
    state = {"custom": True, "type": "docker:index/volume:Volume", "inputs": {"name": "kopano-rep-mysql"}}
    for operation in ("delete-replaced", "replace", "create-replacement"):
        plan["steps"].append({"op": operation, "urn": VOLUME, "oldState": state, "newState": state})
    said = report("rep", plan)
    assert "**Do not merge.** This plan deletes or replaces data volumes:\n> - `data-mysql-volume`: delete-replaced" in said
    assert "No data volume is deleted" not in said
    assert "### Blocks, and what users notice" in said


def test_the_command_ends_with_2_where_the_merge_is_blocked(
    plan: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "preview.json"
    monkeypatch.setattr(preview_report.sys, "argv", ["preview_report", "rep", str(file)])
    file.write_text(json.dumps(plan), encoding="utf-8")
    assert preview_report._command() == 0
    state = {"custom": True, "type": "docker:index/volume:Volume", "inputs": {}}
    plan["steps"].append({"op": "delete", "urn": VOLUME, "oldState": state})
    file.write_text(json.dumps(plan), encoding="utf-8")
    assert preview_report._command() == 2
    assert "**Do not merge.**" in capsys.readouterr().out


@pytest.mark.parametrize("command", [preview_report, check_plan], ids=["report", "check-plan"])
@pytest.mark.parametrize("given", [[], ["rep", "preview.json", "more"]], ids=["nothing", "too much"])
def test_a_command_line_without_a_stack_or_with_too_much_is_answered_with_an_example(
    command: Any, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.sys, "argv", ["command", *given])
    with pytest.raises(FailureError, match=r"^name one stack, and a .* if there is one"):
        command._command()


def test_nothing_to_do_is_said_so(plan: dict[str, Any]) -> None:
    assert "Nothing changes." in report("rep", {"steps": [step for step in plan["steps"] if step["op"] == "same"]})


@pytest.mark.parametrize("what", [{"resourcePlans": {}}, [], {"steps": ["x"]}, {"steps": [{"urn": "x"}]}], ids=str)
def test_what_is_no_preview_is_refused_in_a_sentence(what: Any) -> None:
    with pytest.raises(FailureError, match="this is no preview: give what 'scripts/pulumi preview --json' printed"):
        report("rep", what)


def planted(value: Any, form: Any) -> Any:
    """The value with each hidden secret in another form."""
    if value == "[secret]":
        return form
    if isinstance(value, dict):
        return {key: planted(inner, form) for key, inner in value.items()}
    return [planted(inner, form) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "form",
    [
        {SECRET_SIGNATURE: SECRET, "plaintext": json.dumps([f"A={PLANTED}"])},
        {SECRET_SIGNATURE: SECRET, "ciphertext": PLANTED},
        [f"MYSQL_PASSWORD={PLANTED}", "KCCONF_SERVER_LOG_LEVEL=6"],
        PLANTED,
    ],
    ids=["shown as a secret", "encrypted", "shown as a list", "shown as text"],
)
def test_no_secret_of_a_preview_is_in_the_report_in_whatever_form_it_comes(plan: dict[str, Any], form: Any) -> None:
    told = planted(plan, form)
    assert PLANTED in json.dumps(told)
    for step in told["steps"]:
        # As after a rotation: before and after differ.
        step["oldState"] = json.loads(json.dumps(step.get("oldState", {})).replace(PLANTED, f"{PLANTED}-old"))
        for state in (step["oldState"], step.get("newState", {})):
            inputs = state.get("inputs", {})
            inputs["command"] = [PLANTED]
            inputs["uploads"] = [{"file": "/seed/x", "content": PLANTED}]
            inputs["keepers"] = {"a": PLANTED}
            if isinstance(inputs.get("labels"), list):
                inputs["labels"].append({"label": "kopano.keys", "value": f"{PLANTED}{len(json.dumps(step))}"})
    told["config"]["kopano:database"] = json.dumps({"password": PLANTED})
    told["diagnostics"] = [{"severity": "info", "message": PLANTED}]
    assert PLANTED not in report("rep", told)


def test_a_variable_whose_name_says_that_it_is_a_secret_is_called_changed_and_not_shown(plan: dict[str, Any]) -> None:
    web = container(plan, "web")
    web["newState"]["inputs"]["envs"] = [*web["newState"]["inputs"]["envs"], f"SMTP_PASSWORD={PLANTED}"]
    said = report("rep", plan)
    assert "| web | `SMTP_PASSWORD` |  | changed |" in said
    assert PLANTED not in said


def test_secret_variables_that_a_plan_shows_are_named_and_their_values_are_not(plan: dict[str, Any]) -> None:
    server = container(plan, "core-server")
    for state, value in (("oldState", "one"), ("newState", "two")):
        server[state]["inputs"]["envs"] = [f"KCCONF_SERVER_MYSQL_PASSWORD={PLANTED}-{value}", "KCCONF_SERVER_LOG_LEVEL=3"]
    said = report("rep", plan)
    assert "| server | `KCCONF_SERVER_MYSQL_PASSWORD` |  | changed |" in said
    assert PLANTED not in said


def described(step: dict[str, Any], state: str, plain: dict[str, str], envs: Any) -> None:
    """Give a container these plain variables in its label, and this list of all."""
    inputs = step[state]["inputs"]
    labels = [entry for entry in inputs["labels"] if entry["label"] != "kopano.environment"]
    inputs["labels"] = [*labels, {"label": "kopano.environment", "value": json.dumps(plain)}]
    inputs["envs"] = envs


@pytest.mark.parametrize("shown", [False, True], ids=["hidden", "shown"])
@pytest.mark.parametrize("block", ["web", "core-server"], ids=["the block's first secret", "one of several"])
def test_a_plain_variable_that_becomes_a_secret_is_named_once_and_its_value_is_not_shown(
    plan: dict[str, Any], block: str, shown: bool
) -> None:
    step = container(plan, block)
    if block == "web":
        step["oldState"]["inputs"]["envs"] = ["TZ=UTC", f"FOO={PLANTED}"]
    else:
        described(step, "oldState", {"TZ": "UTC", "FOO": PLANTED}, ["TZ=UTC", f"FOO={PLANTED}"] if shown else "[secret]")
    described(step, "newState", {"TZ": "UTC"}, ["TZ=UTC", f"FOO={PLANTED}"] if shown else "[secret]")
    said = report("rep", plan)
    assert PLANTED not in said
    (line,) = [line for line in said.splitlines() if "`FOO`" in line]
    assert line.endswith("|  | changed |" if shown else "|  | removed, or a secret now |")


def test_a_secret_variable_that_becomes_plain_is_named_once_and_its_value_is_not_shown(plan: dict[str, Any]) -> None:
    step = container(plan, "core-server")
    described(step, "oldState", {"TZ": "UTC"}, ["TZ=UTC", f"FOO={PLANTED}"])
    described(step, "newState", {"TZ": "UTC", "FOO": PLANTED}, ["TZ=UTC", f"FOO={PLANTED}"])
    said = report("rep", plan)
    assert PLANTED not in said
    assert said.count("`FOO`") == 1


@pytest.mark.parametrize(
    "labels", [UNKNOWN, {SECRET_SIGNATURE: SECRET, "plaintext": "[]"}, None], ids=["unknown", "secret", "missing"]
)
def test_where_nothing_tells_which_variables_are_secret_all_are_taken_for_it(plan: dict[str, Any], labels: Any) -> None:
    inputs = container(plan, "core-server")["newState"]["inputs"]
    inputs["labels"], inputs["envs"] = labels, ["TZ=UTC", f"FOO={PLANTED}"]
    assert PLANTED not in report("rep", plan)


@pytest.mark.parametrize("labels", [["x"], [None], [{"value": "x"}]], ids=str)
def test_labels_of_another_shape_are_no_reason_to_fail(plan: dict[str, Any], labels: Any) -> None:
    container(plan, "web")["newState"]["inputs"]["labels"] = labels
    assert "| **web** | replaced |" in report("rep", plan)


def test_outputs_that_a_plan_hides_leave_the_images_of_before_unknown(plan: dict[str, Any]) -> None:
    (stack,) = [step for step in plan["steps"] if step["urn"].endswith("::kopano-rep")]
    stack["oldState"]["outputs"]["images"] = "[secret]"
    assert "| dagent | (none) | `registry.example.org/kopano_core:12.0.0` |" in report("rep", plan)


def test_another_docker_host_is_said_with_what_becomes_of_the_data(plan: dict[str, Any]) -> None:
    hosts = ("", "ssh://kopano@docker.example.org")
    states = [{"type": preview_report.ENGINE, "custom": True, "inputs": {"host": host} if host else {}} for host in hosts]
    urn = "urn:pulumi:rep::kopano::pulumi:providers:docker::docker"
    plan["steps"].append({"op": "update", "urn": urn, "oldState": states[0], "newState": states[1]})
    assert f"> **Another Docker host**, `this machine` → `{hosts[1]}`: nothing is moved there." in report("rep", plan)


def test_values_cannot_break_out_of_their_table(plan: dict[str, Any]) -> None:
    web = container(plan, "web")
    web["newState"]["inputs"]["envs"] = ["EXTRA=a|b`c\n# Approved " + "x" * 300]
    (line,) = [line for line in report("rep", plan).splitlines() if "`EXTRA`" in line]
    assert "`a\\|b'c # Approved xxx" in line
    assert line.endswith("…` |")


def test_a_block_that_goes_closes_its_ports_for_good(plan: dict[str, Any]) -> None:
    step = copy.deepcopy(container(plan, "core-gateway-tls"))
    plan["steps"] = [{"op": "delete", "urn": step["urn"], "oldState": step["oldState"]}]
    said = report("rep", plan)
    assert "| **gateway-tls** | deleted |  | users of IMAP and POP3, for good |  |" in said
    assert "| closed | `127.0.0.1:12993 → 993/tcp` | gateway-tls |" in said


def test_every_block_has_an_effect_and_what_is_called_measured_is_in_the_table_of_measurements() -> None:
    assert set(EFFECTS) == set(BLOCKS)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    part = page.partition("## Downtime of an upgrade")[2].partition("\n## ")[0]
    table = {
        block: float(seconds)
        for names, seconds in re.findall(r"\| ([a-z, -]+) \| ([0-9.]+) (?=\|)", part)
        for block in names.split(", ")
    }
    assert {block: effect.seconds for block, effect in EFFECTS.items() if effect.measured} == table
