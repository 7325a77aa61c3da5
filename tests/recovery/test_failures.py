"""What fails comes back by itself or by `make up` alone, and no mail is lost by it."""

from __future__ import annotations

import os
import signal
import time

import pytest
from checks import unchanged, until_healthy
from deployments import SMALL, Deployment, docker
from traffic import SHORT_GREYLISTING, Traffic, all_arrive


@pytest.fixture(scope="module")
def running(stack: Deployment) -> Deployment:
    stack.configure({**SMALL, "kopano:environment": SHORT_GREYLISTING})
    stack.make("up")
    return stack


def blocks_of(deployment: Deployment) -> list[str]:
    """The blocks whose containers run."""
    return sorted(set(deployment.containers()) - {"ssl"})


def test_each_container_that_is_killed_comes_back_by_itself_and_no_mail_is_lost(running: Deployment) -> None:
    with Traffic(running) as traffic:
        traffic.wait_for(3)
        for block in blocks_of(running):
            process = int(docker("inspect", "--format", "{{.State.Pid}}", running.containers()[block]))
            os.kill(process, signal.SIGKILL)
            time.sleep(1)
        until_healthy(running)
        traffic.wait_for(3)
    all_arrive(running, traffic)
    unchanged(running)


@pytest.mark.parametrize("first", [0, 1], ids=["first-half-stopped", "second-half-stopped"])
def test_containers_that_were_stopped_or_removed_by_hand_are_put_back_by_make_up(running: Deployment, first: int) -> None:
    blocks = blocks_of(running)
    stopped, removed = blocks[first::2], blocks[1 - first :: 2]
    with Traffic(running) as traffic:
        traffic.wait_for(3)
        for block in stopped:
            docker("stop", "--time", "60", running.containers()[block])
        for block in removed:
            docker("rm", "--force", running.containers()[block])
        said = running.make("doctor", check=False).stdout
        for block in blocks:
            assert f"container kopano-{running.stack}-{block} is " in said
        assert f"make up STACK={running.stack} puts it back" in said
        drifted = running.make("drift", check=False)
        assert drifted.returncode == 2
        for block in removed:
            assert f"container kopano-{running.stack}-{block} is missing" in drifted.stdout
        for block in stopped:
            assert f"container kopano-{running.stack}-{block} differs in " in drifted.stdout
        assert "all blocks are healthy" in running.make("up").stdout
        traffic.wait_for(3)
    all_arrive(running, traffic)
    unchanged(running)


def test_a_network_that_was_removed_is_put_back_by_make_up(running: Deployment) -> None:
    with Traffic(running) as traffic:
        traffic.wait_for(3)
        network = f"kopano-{running.stack}-kopano-net"
        for container in docker("network", "inspect", "--format", "{{range .Containers}}{{.Name}} {{end}}", network).split():
            docker("network", "disconnect", "--force", network, container)
        docker("network", "rm", network)
        said = running.make("doctor", check=False).stdout
        assert f"network {network} is gone" in said
        assert f"network {network} is missing" in running.make("drift", check=False).stdout
        assert "all blocks are healthy" in running.make("up").stdout
        traffic.wait_for(3)
    all_arrive(running, traffic)
    unchanged(running)


def test_a_setting_that_is_not_deployed_is_told_from_a_change_by_hand(running: Deployment) -> None:
    """And a value that may be secret is not shown."""
    running.configure({**SMALL, "kopano:environment": {**SHORT_GREYLISTING, "web": {"PLANTED": "planted-0451"}}})
    drifted = running.make("drift", check=False)
    running.configure({**SMALL, "kopano:environment": SHORT_GREYLISTING})
    assert drifted.returncode == 2
    planned = f"in the program or the settings, and not deployed yet: container kopano-{running.stack}-web differs in envs"
    assert planned in drifted.stdout
    assert "changed on the Docker host" not in drifted.stdout
    assert "planted-0451" not in drifted.stdout
