"""The outputs of the stack are those of docs/outputs.md, and a change of them is one that CHANGELOG.md tells of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from output_schema import differences
from test_backup import SCHEDULED
from test_graph import ASKED, ELSEWHERE, ELSEWHERE_SECRETS, OFF, TAKEN_OVER

from components.outputs import SCHEMA, VERSION
from tools import outputs
from tools.graph import Graph, Run
from tools.words import FailureError

FLAT = outputs.flat()
TEXT = outputs.CHANGELOG.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("stack", "changes", "secret"),
    [
        ("dev", {}, None),
        ("prod", {}, None),
        ("dev", ASKED, None),
        ("dev", TAKEN_OVER, None),
        ("dev", OFF, None),
        ("dev", SCHEDULED, None),
        ("dev", ELSEWHERE, ELSEWHERE_SECRETS),
    ],
    ids=["dev", "prod", "published", "taken over", "blocks off", "backup", "external services"],
)
def test_the_outputs_are_those_of_the_schema(run: Run, stack: str, changes: dict[str, Any], secret: list[str] | None) -> None:
    graph = run(stack, changes, secret) if secret else run(stack, changes)
    assert differences(graph.outputs, SCHEMA, set(graph.containers())) == []


def test_a_difference_from_the_schema_is_named(run: Run) -> None:
    graph: Graph = run("dev")
    running = set(graph.containers())
    wrong = {**graph.outputs, "fqdn": 1, "extra": "x", "urls": {**graph.outputs["urls"], "calendar": "https://x"}}
    wrong["database"] = {**graph.outputs["database"], "password": "plain", "port": "3306"}
    del wrong["ldap"], wrong["urls"]["webapp"]
    assert differences(wrong, SCHEMA, running) == [
        "extra is not in the schema",
        "fqdn is no string",
        "urls.webapp is missing",
        "urls.calendar is there without its block",
        "database.port is no integer",
        "database.password is plain",
        "ldap is missing",
    ]


def test_the_page_is_that_of_the_schema() -> None:
    assert outputs.PAGE.read_text(encoding="utf-8") == outputs.page(), "run: make outputs"


def test_the_page_says_of_each_output_and_entry_what_it_is() -> None:
    page = outputs.page()
    for path in FLAT:
        row = rf"^\| `{re.escape(path)}` \|" if "." in path else rf"^\| \[?{path}\b"
        assert re.search(row, page, re.MULTILINE), path


def test_what_the_outputs_have_is_recorded_and_the_changelog_says_it() -> None:
    assert outputs.troubles(outputs.recorded(), FLAT, TEXT) == []
    assert list(outputs.recorded())[-1] == VERSION


def test_an_output_that_is_added_removed_or_retyped_is_refused_until_the_version_says_so() -> None:
    added = {**FLAT, "monitoring": "string"}
    retyped = {**FLAT, "database.port": "string"}
    removed = {path: kind for path, kind in FLAT.items() if path != "urls.openid"}
    revealed = {**FLAT, "database.password": "string"}
    optional = {**FLAT, "urls.webapp": "string?"}
    assert "monitoring. Raise the second number" in outputs.troubles({VERSION: FLAT}, added, TEXT)[0]
    for changed, path in (
        (retyped, "database.port"),
        (removed, "urls.openid"),
        (revealed, "database.password"),
        (optional, "urls.webapp"),
    ):
        assert f"{path}. Raise the first number" in outputs.troubles({VERSION: FLAT}, changed, TEXT)[0]
    always = {**FLAT, "urls.meet": "string"}
    assert outputs.changes(FLAT, always) == ([], ["urls.meet"])


FIRST = "1.0"
# Two versions that came after one another, and how a changelog tells it.
OLD = {"fqdn": "string", "urls": "map"}
ADDED = {**OLD, "volumes": "map"}
RETYPED = {**OLD, "urls": "string"}


def told(new: str, has: Mapping[str, str], entries: str) -> str:
    """A changelog with one version of the outputs after the first."""
    return f"# Changelog\n\n## Unreleased\n\n{outputs.line(new, has)}\n\n{entries}\n\n## 1\n\n{outputs.line(FIRST, OLD)}\n"


@pytest.mark.parametrize(
    ("new", "has", "entries", "trouble"),
    [
        ("1.1", ADDED, "- `volumes` is new.", ""),
        ("2.0", ADDED, "- `volumes` is new.", "its second number has to rise by one"),
        ("1.1", ADDED, "- Something is new.", "CHANGELOG.md does not say it under version 1.1: `volumes`"),
        ("2.0", RETYPED, "- **Breaking:** `urls` is a string.", ""),
        ("1.1", RETYPED, "- **Breaking:** `urls` is a string.", "its first number has to rise by one"),
        ("2.0", RETYPED, "- `urls` is a string.", "CHANGELOG.md does not mark it as breaking: `urls`"),
        (
            "2.0",
            RETYPED,
            "- **Breaking:** something.\n- `urls` is a string.",
            "CHANGELOG.md does not mark it as breaking: `urls`",
        ),
    ],
)
def test_the_changelog_has_to_name_what_changed_and_mark_what_breaks(
    monkeypatch: pytest.MonkeyPatch, new: str, has: dict[str, str], entries: str, trouble: str
) -> None:
    versions = {FIRST: OLD, new: has}
    monkeypatch.setattr(outputs, "VERSION", new)
    found = outputs.troubles(versions, has, told(new, has, entries))
    assert (found == []) if not trouble else (len(found) == 1 and trouble in found[0]), found


def test_a_version_that_the_changelog_does_not_name_is_refused() -> None:
    without = TEXT.replace(outputs.line(VERSION, FLAT), "")
    assert outputs.troubles({VERSION: FLAT}, FLAT, without) == [
        f"no section of CHANGELOG.md has the line: {outputs.line(VERSION, FLAT)}"
    ]


def test_what_a_released_version_had_is_never_written_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(outputs, "VERSIONS", tmp_path / "outputs.json")
    monkeypatch.setattr(outputs, "CHANGELOG", tmp_path / "CHANGELOG.md")
    outputs.CHANGELOG.write_text(f"## Unreleased\n\n{outputs.line(VERSION, OLD)}\n", encoding="utf-8")
    monkeypatch.setattr(outputs, "recorded", lambda: {VERSION: OLD})
    outputs.record()  # not released yet
    assert "database.port" in outputs.VERSIONS.read_text(encoding="utf-8")
    outputs.CHANGELOG.write_text(f"## Unreleased\n\n## 1\n\n{outputs.line(VERSION, OLD)}\n", encoding="utf-8")
    with pytest.raises(FailureError, match="is released and had something else: raise VERSION"):
        outputs.record()
