"""The settings' page and the project file say what the program takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from pki import pair
from test_graph import ASKED, TAKEN_OVER

from components.blocks import BLOCKS
from components.settings import KEYS, validate
from tools import configuration
from tools.graph import Graph, Run, plain, settings_of
from tools.words import FailureError

PAGE = configuration.PAGE.read_text(encoding="utf-8")
REACHES = {name: reached for group in configuration.GROUPS for name, reached in group.keys.items()}

# Settings that reach different blocks, so that each block that changes is one setting's doing.
APART = {
    "kopano:organisation": "Example Ltd",
    "kopano:mailboxLocale": "de_DE.UTF-8",
    "kopano:httpPort": "80",
    "kopano:turn": {"uris": "turn:turn.example.org:3478", "user": "kopano", "password": "x"},
    "kopano:memory": {"spooler": 600},
}
SHARED = {"kopano:ldapBaseDn": "dc=example,dc=org", "kopano:httpsPort": "443", "kopano:bindAddress": "127.0.0.2"}


def section_of(name: str) -> str:
    """What the page says on one key."""
    return PAGE.partition(f"\n### {name}\n")[2].partition("\n#")[0]


def test_the_page_is_that_of_the_program() -> None:
    assert configuration.page() == PAGE, "run: make config"


def test_the_project_file_is_that_of_the_program() -> None:
    assert configuration.PROJECT.read_text(encoding="utf-8") == configuration.project(), "run: make config"


def test_a_key_without_a_group_or_in_two_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(len(keys) for _, keys in configuration.ordered()) == len(KEYS)
    monkeypatch.setattr(configuration, "KEYS", KEYS[1:])
    with pytest.raises(FailureError, match=r"kopano:fqdn is 1 times in GROUPS .* and 0 times in KEYS"):
        configuration.ordered()
    monkeypatch.setattr(configuration, "KEYS", KEYS)
    monkeypatch.setattr(configuration, "GROUPS", (*configuration.GROUPS, configuration.GROUPS[0]))
    with pytest.raises(FailureError, match="kopano:demoUsers is 2 times in GROUPS"):
        configuration.ordered()


def test_a_changed_key_makes_the_page_and_the_project_file_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = configuration.Key("fqdn", "string", "Another description.", "", "mail.example.org", KEYS[0].parse)
    monkeypatch.setattr(configuration, "KEYS", (changed, *KEYS[1:]))
    assert configuration.page() != PAGE
    assert configuration.project() != configuration.PROJECT.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [key.name for key in KEYS])
def test_the_example_on_the_page_is_a_stack_file_that_is_accepted(name: str) -> None:
    section = section_of(name)
    (example,) = re.findall(r"^```yaml$(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    values: dict[str, Any] = {"fqdn": "mail.example.org", "imageSource": "lab"}
    values |= {key.removeprefix("kopano:"): value for key, value in yaml.safe_load(example)["config"].items()}
    assert name in values
    for path in re.findall(r"--secret --path (\S+) ", section):
        *places, entry = re.findall(r"[^.\[\]\"]+(?:\.[^\]\"]+)*(?=\"\])|\w+", path.strip("'").removeprefix("kopano:"))
        holder = values
        for place in places:
            holder = holder[place]
        holder[entry] = "secret"
    if name == "certificate":
        # The page cannot show a whole one.
        assert values[name].keys() == {"certificate", "key"}
        values[name] = pair("mail.example.org").setting()
    tags = {"core": "1", "kdav": "1", "meet": "1", "scheduler": "1", "webapp": "1", "zpush": "1"}
    if values["imageSource"] == "published":
        values["imageTags"] = tags
    if name == "imageTags":
        values |= {"imageSource": "published", "imageTags": {**tags, **values["imageTags"]}}
    validate("prod", values)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_each_key_says_its_type_its_default_what_is_allowed_and_what_it_reaches(key: configuration.Key) -> None:
    section = section_of(key.name)
    assert f"- Type: {key.type}. Default: " in section
    assert ". Reaches: " in section
    assert re.search(r"^- Allowed: \S.+\.$", section, re.MULTILINE)
    assert key.description in section


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fqdn", "a host name in lower case with at least one dot, without a port and not an address"),
        ("publish", "values: a port number from 1 to 65535"),
        ("memory", "names: any [block](#names-of-blocks); values: a whole number of megabytes, at least 32"),
        (
            "database",
            "entries: `host`, `port`, `name`, `user`, `password`; `port`: a port number from 1 to 65535; any other: one",
        ),
        ("backup", "entries: `schedule`, `keep`; may be left out: `directory`; `schedule`: minute, hour"),
        ("environment", "in each, names: letters, digits and underscores; in each, values: one line of text"),
        ("imageTags", "names: `core`, `kapps`"),
    ],
)
def test_what_is_allowed_is_what_the_parser_says(name: str, words: str) -> None:
    assert words in section_of(name)


def test_no_password_stands_in_an_example() -> None:
    examples = re.findall(r"^```yaml$(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == len(KEYS)
    assert not re.search(r"password", "".join(examples), re.IGNORECASE)


def test_every_key_is_reached_from_the_top_of_the_page_by_an_anchor_of_its_own() -> None:
    headings = [configuration.anchor(title) for title in re.findall(r"^##+ (.*)$", PAGE, re.MULTILINE)]
    assert max(Counter(headings).values()) == 1
    links = re.findall(r"\]\(#([^)]*)\)", PAGE)
    assert set(links) == set(headings)
    top = PAGE.partition("\n## ")[0]
    assert [name for name in (key.name for key in KEYS) if f"[{name}](#{name.lower()})" not in top] == []


def _changed(before: Graph, after: Graph) -> set[str]:
    old, new = before.containers(), after.containers()
    return {
        block
        for block in {*old, *new}
        if block not in old or block not in new or plain(old[block].inputs) != plain(new[block].inputs)
    }


def _claimed(changes: Mapping[str, Any]) -> set[str]:
    claimed: set[str] = set()
    before = settings_of("dev")
    for key, value in changes.items():
        name = key.removeprefix("kopano:")
        reached = REACHES[name]
        if reached == configuration.ALL:
            return set(BLOCKS)
        claimed |= {*value, *before.get(key, {})} if reached == configuration.NAMED else set(reached)
    return claimed


@pytest.mark.parametrize("changes", [ASKED, TAKEN_OVER, SHARED], ids=["asked", "taken over", "shared"])
def test_no_container_changes_that_the_page_does_not_name_for_the_setting(run: Run, changes: dict[str, Any]) -> None:
    changed = _changed(run("dev"), run("dev", changes))
    assert len(changed) >= 3
    assert changed <= _claimed(changes), sorted(changed - _claimed(changes))


def test_each_container_that_the_page_names_for_a_setting_changes_with_it(run: Run) -> None:
    assert _changed(run("dev"), run("dev", APART)) == _claimed(APART)
