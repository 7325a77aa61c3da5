"""The commands of the Makefile do what they say, on a real engine."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass

import pytest
from deployments import LEFT_OUT, SMALL, Deployment, Prepare, docker

from components import blocks


def running(deployment: Deployment) -> dict[str, str]:
    return deployment.containers()


def private_line(key: str) -> str:
    """A line of a key that is in no public key: nothing prints a key without its line breaks. An RSA key begins with numbers that
    are public, and an elliptic one, of few lines, ends with some."""
    lines = key.splitlines()[1:-1]
    return lines[0] if len(lines) < 5 else lines[len(lines) // 2]


def secrets_of(deployment: Deployment) -> list[str]:
    """Every secret of the stack, from its state."""
    state = json.loads(deployment.pulumi("stack", "export", "--show-secrets").stdout)
    found = set()
    for resource in state["deployment"]["resources"]:
        kind = resource["type"].rpartition(":")[2]
        for name in {"RandomPassword": ["result"], "RandomBytes": ["base64", "hex"], "PrivateKey": ["privateKeyPem"]}.get(
            kind, []
        ):
            secret = json.loads(resource["outputs"][name]["plaintext"])
            found.add(private_line(secret) if "\n" in secret else secret)
    assert len(found) >= 4 + 3 + 11
    return sorted(found)


@dataclass(frozen=True)
class Again:
    """The commands that change nothing, on a deployment that is up: what each of them printed, and the containers before and
    after all of them."""

    up: str
    preview: str
    unchanged: str
    refreshed: str
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="module")
def again(deployment: Deployment) -> Again:
    """They run once for all tests that read what they print: each takes seconds."""
    before = running(deployment)
    nothing = ("up", "--yes", "--skip-preview", "--expect-no-changes")
    said = [deployment.make(target).stdout for target in ("up", "preview")]
    said += [deployment.pulumi(*nothing, *more).stdout for more in ((), ("--refresh",))]
    return Again(*said, before, running(deployment))


def test_a_second_up_and_one_with_refresh_change_nothing(again: Again) -> None:
    # That they change nothing in the state, they were told to see to by themselves.
    assert again.after == again.before
    for said in (again.up, again.unchanged, again.refreshed):
        assert "unchanged" in said


def test_preview_says_that_nothing_would_change(again: Again) -> None:
    assert "unchanged" in again.preview
    assert "to create" not in again.preview
    assert "to update" not in again.preview
    assert "to replace" not in again.preview


def test_up_ends_with_the_addresses_and_the_demo_log_ins(deployment: Deployment, again: Again) -> None:
    assert deployment.outputs["urls"]["webapp"] in again.up
    assert "user1 with password user1" in again.up
    assert "not Kopano" in again.up


def test_no_secret_is_printed_or_can_be_seen_on_a_label_a_command_line_or_in_a_log(deployment: Deployment, again: Again) -> None:
    shown = [again.up, again.preview, again.unchanged, again.refreshed, deployment.pulumi("stack", "output").stdout]
    for container in running(deployment).values():
        inspected = json.loads(docker("inspect", container))[0]
        shown.append(
            json.dumps(
                [
                    inspected["Config"]["Labels"],
                    inspected["Path"],
                    inspected["Args"],
                    inspected["Config"].get("Healthcheck", ""),
                ]
            )
        )
        shown.append(docker("logs", container))
        if inspected["State"]["Running"]:
            shown.append(docker("top", container, "-eo", "pid,args"))
    everything = "\n".join(shown)
    for secret in secrets_of(deployment):
        assert secret not in everything


def test_new_certificates_restart_exactly_their_readers(deployment: Deployment) -> None:
    before = running(deployment)
    state = json.loads(deployment.pulumi("stack", "export").stdout)["deployment"]["resources"]
    (certificate,) = [entry["urn"] for entry in state if entry["urn"].endswith("::ssl-web-certificate")]
    deployment.pulumi("up", "--yes", "--skip-preview", "--replace", certificate)
    changed = {block for block, container in running(deployment).items() if container != before[block]}
    assert changed == {"ssl", "web"}


def test_mistakes_in_the_settings_are_reported_together_before_anything_is_changed(prepare: Prepare) -> None:
    wrong = prepare()
    wrong.configure(
        {
            "kopano:fqdn": "NOT A NAME",
            "kopano:timezone": "Mars/Olympus",
            "kopano:environment": {"server": {"KCCONF_SERVER_NONSENSE": "1"}},
        }
    )
    for command in (("make", "up", f"STACK={wrong.stack}"), ("scripts/pulumi", "up", "--yes", "--stack", wrong.stack)):
        done = wrong.run(*command, check=False)
        assert done.returncode != 0
        for key in ("kopano:fqdn", "kopano:timezone", "kopano:environment.server.KCCONF_SERVER_NONSENSE"):
            assert key in done.stdout, done.stdout
        assert "Traceback" not in done.stdout
    assert wrong.containers() == {}
    assert wrong.volumes() == []
    assert wrong.networks() == []


def test_a_port_that_is_taken_is_named_before_anything_is_changed(deployment: Deployment, prepare: Prepare) -> None:
    late = prepare()
    late.configure({"kopano:httpsPort": deployment.https_port})
    done = late.make("up", check=False)
    assert f"error: kopano:httpsPort = {deployment.https_port}: the port is in use" in done.stdout
    assert late.containers() == {}


def test_two_stacks_live_side_by_side_and_only_purge_removes_data(deployment: Deployment, prepare: Prepare) -> None:
    before = running(deployment)
    second = prepare()
    second.configure(SMALL)
    second.make("up")
    assert set(second.containers()) == blocks.enabled(LEFT_OUT)
    details = second.execute("server", "kopano-admin", "--details", "user1")
    # Another checkout with a stack of that name keeps its hands off.
    stranger = prepare()
    stranger.stack = second.stack
    stranger.configure(SMALL)
    refused = stranger.make("up", check=False)
    assert f"runs a deployment of stack {second.stack} that is not in this checkout's state" in refused.stdout
    assert set(second.containers()) == blocks.enabled(LEFT_OUT)
    # Stopped, it goes on with its data.
    second.make("down")
    assert (second.containers(), second.networks()) == ({}, [])
    assert len(second.volumes()) > 5
    second.make("up")
    assert second.execute("server", "kopano-admin", "--details", "user1") == details
    # The data outlives what Pulumi itself removes, and goes after a yes alone.
    second.pulumi("destroy", "--yes", "--skip-preview")
    assert (second.containers(), second.networks()) == ({}, [])
    assert f"kopano-{second.stack}-mysql" in second.volumes()
    refused = second.make("purge", check=False)
    assert refused.returncode != 0
    assert "nothing was removed" in refused.stdout
    assert f"kopano-{second.stack}-mysql" in second.volumes()
    second.make("purge", YES="1")
    assert second.volumes() == []
    assert running(deployment) == before


def test_doctor_finds_nothing_on_a_machine_that_is_set_up_and_names_a_sick_block(deployment: Deployment) -> None:
    well = deployment.make("doctor")
    assert f"ok   stack {deployment.stack}" in well.stdout
    page = deployment.containers()["password-self-service"]
    docker("stop", "--time", "1", page)
    try:
        sick = deployment.make("doctor", check=False)
    finally:
        docker("start", page)
    assert sick.returncode != 0
    assert f"fix  stack {deployment.stack}: container kopano-{deployment.stack}-password-self-service is 'Exited" in sick.stdout
    end = time.monotonic() + 60
    while docker("inspect", "--format", "{{.State.Health.Status}}", page).strip() != "healthy":
        assert time.monotonic() < end
        time.sleep(1)


def test_doctor_names_what_a_fresh_checkout_lacks(prepare: Prepare) -> None:
    fresh = prepare()
    (fresh.root / ".local" / "bin").unlink(missing_ok=True)
    said = fresh.make("doctor", check=False, PATH=os.defpath + ":/usr/local/bin")
    assert "fix  plug-ins: docker, tls, random missing" in said.stdout
