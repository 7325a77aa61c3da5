"""A deployment that is cut off at any moment goes on with `make up` alone: nothing is left over, and no mail is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checks import made
from deployments import LEFT_OUT, Deployment, docker
from traffic import SHORT_GREYLISTING, Traffic, all_arrive

from components.blocks import enabled

ROUNDS = 20
SEED = int(os.environ.get("INTERRUPT_SEED", "20"))
"""The moments are the same in each run; another seed gives other moments."""


def configure(deployment: Deployment, generator: random.Random) -> None:
    """Change a variable of some blocks, so that their containers are replaced."""
    changed = generator.sample(sorted(enabled(LEFT_OUT) - {"ssl"}), 5)
    variables = {block: {"ROUND": str(generator.randrange(10**6))} for block in changed}
    variables["mail"] = {**variables.get("mail", {}), **SHORT_GREYLISTING["mail"]}
    deployment.configure({"kopano:blocks": LEFT_OUT, "kopano:environment": variables})


def begin(deployment: Deployment) -> subprocess.Popen[bytes]:
    """Start `make up` in a process group of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "MAKE", "MFLAGS"))}
    command = ["make", "up", f"STACK={deployment.stack}"]
    with (deployment.root / "cut-off.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=deployment.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def cut_off(deployment: Deployment, how: signal.Signals, after: float) -> None:
    """Deploy, and end that by a signal after some seconds."""
    running = begin(deployment)
    try:
        running.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, how)
        running.wait(180)


def complete(deployment: Deployment) -> None:
    """Nothing is missing, and nothing is left over."""
    listed = docker("ps", "--all", "--filter", f"label=kopano.stack={deployment.stack}", "--format", "{{.Names}}").splitlines()
    assert sorted(listed) == sorted(f"kopano-{deployment.stack}-{block}" for block in enabled(LEFT_OUT))
    assert len(deployment.networks()) == 4
    assert sorted((deployment.root / ".local/state/.pulumi/locks").glob("**/*.json")) == []
    state = json.loads(deployment.pulumi("stack", "export").stdout)["deployment"]
    assert not state.get("pending_operations")


def test_a_deployment_that_is_cut_off_twenty_times_converges_and_loses_no_mail(stack: Deployment) -> None:
    generator = random.Random(SEED)
    moments = [(generator.choice([signal.SIGKILL, signal.SIGINT]), generator.uniform(1, 14)) for _ in range(ROUNDS)]
    configure(stack, generator)
    cut_off(stack, signal.SIGKILL, 9)  # the very first deployment
    stack.make("up")
    complete(stack)
    volumes = made(stack)
    with Traffic(stack, pause=1) as traffic:
        traffic.wait_for(3)
        for how, after in moments:
            configure(stack, generator)
            cut_off(stack, how, after)
            said = stack.make("up", check=False).stdout
            assert "all blocks are healthy" in said, f"{how.name} after {after:.1f} s:\n{said[-3000:]}"
            complete(stack)
        traffic.wait_for(3)
    all_arrive(stack, traffic)
    assert made(stack) == volumes
    assert f"ok   state of stack {stack.stack}" in stack.make("doctor").stdout


@pytest.fixture
def lock(stack: Deployment) -> Iterator[Path]:
    """A lock as a run on another machine takes it."""
    stack.make("preview")
    file = stack.root / f".local/state/.pulumi/locks/organization/kopano/{stack.stack}/elsewhere.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"pid": 1, "username": "ann", "hostname": "elsewhere", "timestamp": "2026-01-02T03:04:05.6Z"}
    file.write_text(json.dumps(content), encoding="utf-8")
    yield file
    file.unlink(missing_ok=True)


def test_a_lock_that_may_be_somebodys_is_named_with_the_way_to_release_it(stack: Deployment, lock: Path) -> None:
    release = f"scripts/pulumi cancel --yes --stack {stack.stack}"
    refused = stack.make("up", check=False)
    assert "is being changed by process 1 of ann on elsewhere since 2026-01-02T03:04:05" in refused.stdout
    assert release in refused.stdout
    assert release in stack.make("doctor", check=False).stdout
    assert lock.exists()
    stack.run(*release.split())
    assert not lock.exists()


def test_a_run_that_is_still_alive_is_left_alone(stack: Deployment) -> None:
    configure(stack, random.Random(1))
    first = begin(stack)
    try:
        locks = stack.root / ".local/state/.pulumi/locks"
        end = time.monotonic() + 60
        while not list(locks.glob("**/*.json")):
            assert first.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        second = stack.make("up", check=False)
        assert f"stack {stack.stack} is being changed by process" in second.stdout
        assert first.wait(300) == 0
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    complete(stack)
