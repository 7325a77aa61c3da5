"""What the real Pulumi engine plans for the whole program, with the plug-ins of this checkout."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from deployments import Deployment

from components import blocks

PLANTED = "planted-0451"
WITH_POLICIES = ("preview", "--policy-pack", "policy/pack")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack that is made but never deployed."""
    deployment = Deployment.prepare(tmp_path_factory.mktemp("project"))
    try:
        deployment.begin()
        yield deployment
    finally:
        deployment.remove()


@pytest.fixture
def planned(made: Deployment) -> Deployment:
    """That stack, with the settings of the demo."""
    made.configure({})
    return made


def steps(deployment: Deployment) -> list[dict[str, Any]]:
    return list(json.loads(deployment.pulumi("preview", "--json").stdout)["steps"])


@pytest.fixture(scope="module")
def first(made: Deployment) -> list[dict[str, Any]]:
    """The steps of the stack's first plan. One plan for all who read it, since each takes seconds."""
    made.configure({})
    return steps(made)


def test_a_first_plan_creates_everything_and_touches_nothing(made: Deployment, first: list[dict[str, Any]]) -> None:
    assert Counter(step["op"] for step in first) == {"create": len(first)}
    kinds = Counter(step["newState"]["type"] for step in first)
    assert kinds["docker:index/container:Container"] == len(blocks.enabled({}))
    assert kinds["docker:index/network:Network"] == 4
    # One for each distinct image: the services of the core share theirs.
    assert kinds["docker:index/remoteImage:RemoteImage"] == 17
    assert (made.containers(), made.networks(), made.volumes()) == ({}, [], [])


def test_the_report_on_a_first_plan_names_every_block(planned: Deployment) -> None:
    planned.pulumi("config", "set", "--secret", "--path", "kopano:environment.server.MY_TOKEN", PLANTED)
    said = planned.run("scripts/preview-report", planned.stack).stdout
    assert f"## What changes in stack `{planned.stack}`" in said
    assert "No data volume is deleted or replaced." in said
    for block in blocks.enabled({}):
        assert f"| **{block}** | created |  | nobody: it is new |  |" in said
    assert PLANTED not in said


def test_no_resource_uses_a_default_docker_provider(first: list[dict[str, Any]]) -> None:
    providers = {step["newState"].get("provider", "") for step in first}
    assert {provider.split("::")[3] for provider in providers if "providers:docker" in provider} == {"docker"}


def test_a_production_plan_protects_the_data_and_nothing_that_has_to_be_replaced(planned: Deployment) -> None:
    images = dict.fromkeys(("server", "webapp"), "registry.example.org/kopano:1")
    planned.configure({"kopano:protectData": True, "kopano:images": images})
    guarded = {step["newState"]["type"] for step in steps(planned) if step["newState"].get("protect")}
    assert guarded == {"docker:index/volume:Volume"}


def test_a_secret_variable_is_in_no_preview_in_no_form(planned: Deployment) -> None:
    planned.pulumi("config", "set", "--secret", "--path", "kopano:environment.server.MY_TOKEN", PLANTED)
    assert PLANTED not in (planned.root / f"Pulumi.{planned.stack}.yaml").read_text(encoding="utf-8")
    for form in (["--diff"], ["--json"], []):
        said = planned.pulumi("preview", *form).stdout
        assert "core-server-container" in said
        assert PLANTED not in said


def test_a_wrong_setting_ends_a_plan_without_a_traceback(planned: Deployment) -> None:
    planned.configure({"kopano:bindAddress": "nowhere"})
    for command in (["make", "preview", f"STACK={planned.stack}"], ["scripts/pulumi", "preview", "--stack", planned.stack]):
        done = planned.run(*command, check=False)
        assert done.returncode != 0
        assert "kopano:bindAddress = nowhere: must be IP addresses of the Docker host, separated by blanks" in done.stdout
        assert "Traceback" not in done.stdout


def test_a_plan_that_keeps_the_rules_passes_the_pack(planned: Deployment) -> None:
    planned.configure({"kopano:publish": {}})
    said = planned.pulumi(*WITH_POLICIES).stdout
    assert "kopano" in said.partition("Policies:")[2], said[-2000:]
    assert "[mandatory]" not in said


def test_a_plan_against_the_rules_is_stopped_with_the_words_of_each(planned: Deployment) -> None:
    planned.configure(
        {
            "kopano:publish": {"ldap": 3890},
            "kopano:images": {"webapp": "registry.example.org/webapp:latest"},
            "kopano:environment": {"server": {"MY_TOKEN": "0451"}},
        }
    )
    done = planned.pulumi(*WITH_POLICIES, check=False)
    assert done.returncode != 0
    violations = [line for line in done.stdout.splitlines() if "[mandatory]" in line]
    for rule in ("directory-and-database-unpublished", "pinned-images", "no-secret-in-labels"):
        assert any(rule in line for line in violations), done.stdout[-4000:]
    assert "the directory is published on port 3890 of the Docker host: take it out of kopano:publish" in done.stdout
