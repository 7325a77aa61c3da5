"""No plan of the engine deletes or replaces a data volume, whatever is changed in the settings or was changed in the program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from deployments import Deployment, docker
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from components.volumes import DATA
from tools.plans import DATA_VOLUME, endangered

EXTERNAL = {
    "db": ("kopano:database", {"host": "db.example.org", "port": "3306", "name": "k", "user": "k", "password": "external"}),
    "ldap": (
        "kopano:directory",
        {"uri": "ldap://l.example.org", "baseDn": "dc=example", "bindDn": "cn=k", "bindPassword": "external"},
    ),
    "mail": ("kopano:smtpServer", "smtp.example.org:25"),
}
CHANGES: dict[str, dict[str, Any]] = {
    **{f"{block} off": {"kopano:blocks": {block: False}} for block in ("zpush", "kdav", "meet", "ldap-admin")},
    **{f"{block} external": {"kopano:blocks": {block: False}, key: value} for block, (key, value) in EXTERNAL.items()},
    "no demo users": {"kopano:demoUsers": False},
    "protected": {"kopano:protectData": True},
    "another name": {"kopano:fqdn": "mail.example.org"},
    "another organisation": {"kopano:organisation": "Example", "kopano:ldapBaseDn": "dc=other"},
    "another time zone": {"kopano:timezone": "Europe/Berlin", "kopano:mailboxLocale": "de_DE.UTF-8"},
    "another image": {"kopano:images": {"db": "registry.example.org/mariadb:11", "server": "registry.example.org/core:12"}},
    "less memory": {"kopano:memory": {"db": 512, "mail": 1024}},
    "a variable": {"kopano:environment": {"server": {"KCCONF_SERVER_LOG_LEVEL": "6"}, "db": {"LANG": "C.UTF-8"}}},
    "another address": {"kopano:bindAddress": "127.0.0.2"},
}
"""Changes of settings by name. Two of them make a pair."""


def both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The settings with both changes: maps are merged, so that neither takes the other back."""
    maps = {key: {**one[key], **other[key]} for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    # Ports of blocks that may be off are not asked for.
    together = {"kopano:publish": {"imaps": 2993}, **one, **other, **maps}
    if not together.get("kopano:blocks", {}).get("ldap", True):
        together["kopano:demoUsers"] = False
        together["kopano:blocks"].pop("ldap-admin", None)
    return together


@pytest.fixture(scope="module")
def with_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack of which only the data volumes are deployed, one of them adopted with foreign labels and driver options, and
    refreshed: the state in which the plug-in wants to replace it."""
    deployment = Deployment.prepare(tmp_path_factory.mktemp("project"))
    try:
        deployment.begin()
        docker("volume", "create", "--label", "com.docker.compose.project=old", f"kopano-{deployment.stack}-mysql")
        deployment.pulumi("up", "--yes", "--skip-preview", "--target", "**kopano:volumes:DataVolume**")
        deployment.pulumi("refresh", "--yes", "--skip-preview", "--target", "**kopano:volumes:DataVolume**")
        yield deployment
    finally:
        docker("volume", "rm", f"kopano-{deployment.stack}-mysql", check=False)
        deployment.remove()


def plan(deployment: Deployment, changes: dict[str, Any]) -> Any:
    deployment.configure(changes)
    return json.loads(deployment.pulumi("preview", "--json").stdout)


# Each example takes the engine seconds: a failing one is told as it is, without looking for a simpler one.
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(pair=st.tuples(st.sampled_from(sorted(CHANGES)), st.sampled_from(sorted(CHANGES))))
def test_no_pair_of_changes_in_the_settings_touches_a_data_volume(with_data: Deployment, pair: tuple[str, str]) -> None:
    planned = plan(with_data, both(CHANGES[pair[0]], CHANGES[pair[1]]))
    assert endangered(planned) == {}
    assert {step["op"] for step in planned["steps"] if DATA_VOLUME in step["urn"]} <= {"same"}, "every one is there already"


def as_formerly(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The state as an earlier release left it: each data volume below the component that made it then."""
    stack = next(entry["urn"] for entry in resources if entry["type"] == "pulumi:pulumi:Stack")
    place = stack.rsplit("::", 2)[0]
    before: list[dict[str, Any]] = []
    for entry in resources:
        if entry["type"] == "kopano:volumes:DataVolumes":
            for former in {former for former in DATA.values() if former}:
                urn = f"{place}::{former.type}::{former.name}"
                before.append({"urn": urn, "custom": False, "type": former.type, "parent": stack})
            continue
        if "kopano:volumes:DataVolumes$" in entry["urn"]:
            kind, name = entry["urn"].split("::")[2:]
            logical = name.removeprefix("data-").removesuffix("-volume")
            former = DATA[logical]
            if former is None:
                continue  # no earlier release had it
            entry["urn"] = "::".join(
                [
                    place,
                    kind.replace("kopano:volumes:DataVolumes", former.type),
                    name.replace("data-", f"{former.name}-", 1),
                ]
            )
            entry["parent"] = (
                f"{place}::{former.type}$kopano:volumes:DataVolume::{former.name}-{logical}"
                if entry["custom"]
                else f"{place}::{former.type}::{former.name}"
            )
        before.append(entry)
    return before


def test_a_volume_that_moved_in_the_program_is_the_same_volume(with_data: Deployment) -> None:
    exported = with_data.pulumi("stack", "export").stdout
    state = json.loads(exported)
    file = with_data.root / "state.json"
    state["deployment"]["resources"] = as_formerly(state["deployment"]["resources"])
    assert sum("$docker:index/volume:Volume::data-" in entry["urn"] for entry in state["deployment"]["resources"]) == 0
    file.write_text(json.dumps(state), encoding="utf-8")
    try:
        with_data.pulumi("stack", "import", "--file", str(file))
        planned = plan(with_data, {})
        changed = [step for step in planned["steps"] if step["urn"].endswith("-volume") and "DataVolume" in step["urn"]]
        new = {f"data-{logical}-volume" for logical, former in DATA.items() if former is None}
        assert {step["urn"].rpartition("::")[2] for step in changed} == new
        assert {step["op"] for step in changed} == {"create"}
        assert endangered(planned) == {}
    finally:
        file.write_text(exported, encoding="utf-8")
        with_data.pulumi("stack", "import", "--file", str(file))


def test_check_plan_passes_what_is_harmless_and_stops_what_is_not(with_data: Deployment) -> None:
    with_data.configure({})
    assert "no data volume is deleted or replaced" in with_data.make("check-plan").stdout
    file = with_data.root / "plan.json"
    volume = next(
        entry["urn"]
        for entry in json.loads(with_data.pulumi("stack", "export").stdout)["deployment"]["resources"]
        if entry["urn"].endswith("::data-mysql-volume")
    )
    with_data.pulumi("preview", "--save-plan", str(file), "--replace", volume)
    stopped = with_data.make("check-plan", check=False, PLAN=str(file))
    assert stopped.returncode != 0
    assert "would delete or replace data volumes (data-mysql-volume" in stopped.stdout
    assert "Traceback" not in stopped.stdout
