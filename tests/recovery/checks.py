"""What is asked of a deployment after it was broken."""

from __future__ import annotations

import subprocess
import time

from deployments import Deployment, docker

from components.volumes import DATA


def states(deployment: Deployment) -> dict[str, str]:
    """Block -> what Docker says of its container."""
    form = '{{.Label "kopano.block"}}\t{{.Status}}'
    listed = docker("ps", "--all", "--filter", f"label=kopano.stack={deployment.stack}", "--format", form)
    return dict(line.split("\t", 1) for line in listed.splitlines())


def until_healthy(deployment: Deployment, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while sick := {block: state for block, state in states(deployment).items() if block != "ssl" and "(healthy)" not in state}:
        assert time.monotonic() < end, sick
        time.sleep(1)


def unchanged(deployment: Deployment) -> None:
    assert "no drift" in deployment.make("drift").stdout


def made(deployment: Deployment) -> dict[str, str]:
    """Data volume -> when its folder came into being, and its number there. (What Docker calls the time of its creation is that
    of the last change of the folder.)"""
    names = [f"kopano-{deployment.stack}-{name}" for name in DATA]
    folders = docker("volume", "inspect", "--format", "{{.Mountpoint}}", *names).split()
    born = subprocess.run(["stat", "--format", "%W %i", *folders], capture_output=True, text=True, check=True).stdout
    return dict(zip(names, born.splitlines(), strict=True))
