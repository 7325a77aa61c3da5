"""Whether the containers of a stack find each other by name. Docker Engine 20.10 forgets all names when it leaves a Swarm, and
learns one again when its container starts."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from components.workload import STOP_SECONDS
from tools import stack
from tools.words import say

NOT_FOUND = 2
"""With this `getent` ends where it does not find a name. Another end tells nothing: the image may be without the command."""


ANSWER_SECONDS = 10
"""The engine knows the names that there are at once. For all others it asks the host's resolvers, which may be out of reach."""

AGAIN_SECONDS = 2


def members(name: str) -> dict[str, dict[str, list[str]]]:
    """Network -> its running containers of the stack -> the names that they have on it."""
    running = stack.docker("ps", "--quiet", "--filter", "status=running", "--filter", f"label=kopano.stack={name}")
    inspected: list[dict[str, Any]] = json.loads("\n".join(stack.docker("inspect", *running))) if running else []
    found: dict[str, dict[str, list[str]]] = {}
    for box in inspected:
        for network, endpoint in box["NetworkSettings"]["Networks"].items():
            # Docker adds the beginning of the id to them.
            names = [alias for alias in endpoint["Aliases"] or [] if not box["Id"].startswith(alias)]
            if names:
                found.setdefault(network, {})[box["Name"].removeprefix("/")] = names
    return found


def _forgotten(boxes: dict[str, list[str]]) -> bool:
    """Whether a container of a network misses the name of another one, as the first says that can tell."""
    for asker in boxes:
        names = [alias for box, aliases in boxes.items() if box != asker for alias in aliases]
        command = ["docker", "exec", asker, "getent", "hosts", *names]
        try:
            end = subprocess.run(command, capture_output=True, timeout=ANSWER_SECONDS, check=False).returncode if names else None
        except subprocess.TimeoutExpired:
            end = NOT_FOUND
        if end in (0, NOT_FOUND):
            return end == NOT_FOUND
    return False


def _ask(name: str) -> dict[str, list[str]]:
    networks = members(name)
    with ThreadPoolExecutor() as pool:
        lost = list(pool.map(_forgotten, networks.values()))
    return {network: sorted(boxes) for (network, boxes), bad in zip(networks.items(), lost, strict=True) if bad}


def forgotten(name: str) -> dict[str, list[str]]:
    """The networks of the stack on which names are not found -> the containers on them."""
    if _ask(name):
        # Asked again, since a container that has just begun or ended is not found for a moment.
        time.sleep(AGAIN_SECONDS)
        return _ask(name)
    return {}


def describe(name: str) -> str:
    """What `forgotten` found, in words; empty where all is well."""
    lost = sorted(forgotten(name))
    return (
        f"names of containers are not found on network {', '.join(lost)} (a Swarm was left on this Docker host?)" if lost else ""
    )


def mend(name: str) -> None:
    """Start the containers again whose names are not found. Each gets the time that it needs to close what it has open."""
    lost = forgotten(name)
    boxes = sorted({box for found in lost.values() for box in found})
    if not boxes:
        return
    say(f"names are not found on network {', '.join(sorted(lost))}: starting its {len(boxes)} containers again; nothing is lost")
    with ThreadPoolExecutor(max_workers=len(boxes)) as pool:
        list(pool.map(lambda box: stack.docker("restart", "--time", str(STOP_SECONDS), box), boxes))
