"""What a run that was killed leaves behind, and how it is cleared: a lock, pending creates, and containers and networks that
are in no state. A run that is still alive, and what another checkout deployed, are never touched."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools import pulumi, stack
from tools.places import STATE
from tools.words import FailureError, say

STOP_SECONDS = 60
"""How long a container that is removed may take to close what it has open."""

DYING_SECONDS = 3
"""How long a run that holds the lock may take to be gone, when it was killed a moment ago."""


@dataclass(frozen=True)
class Lock:
    """A run's lock on the state: the file, and which process took it where and when."""

    file: Path
    pid: int
    user: str
    host: str
    since: str

    @property
    def alive(self) -> bool:
        """Whether that run may still be going on. One on another machine cannot be seen from here, so it may."""
        if self.host != socket.gethostname():
            return True
        try:
            # The number, the command in brackets, and the state, which for one that has ended and is still listed is Z.
            command, _, rest = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").partition("(")[2].rpartition(")")
            started = Path(f"/proc/{self.pid}").stat().st_mtime
        except OSError:
            return False
        # Numbers of processes are used again: another program, or one that began after the lock was taken, is not that run.
        return command.startswith("pulumi") and rest.split()[0] not in "ZX" and started <= self.file.stat().st_mtime + 1


@dataclass(frozen=True)
class Leftovers:
    """What is left of earlier runs of a stack. `containers` and `networks` (name -> id) carry the stack's label and are in no
    state; `foreign` says that nothing shows them to be of this checkout."""

    locks: list[Lock] = field(default_factory=list)
    pending: int = 0
    containers: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False


def locks(name: str) -> list[Lock]:
    """The locks on the state of a stack."""
    found = []
    for file in sorted(STATE.glob(f".pulumi/locks/**/{name}/*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # gone or half written: a run that is just beginning or ending
        found.append(
            Lock(file, int(content["pid"]), str(content["username"]), str(content["hostname"]), str(content["timestamp"])[:19])
        )
    return found


def _labelled(name: str, *command: str) -> dict[str, str]:
    listed = stack.docker(*command, "--no-trunc", "--filter", f"label=kopano.stack={name}")
    return {label: resource for resource, _, label in (line.partition(" ") for line in listed)}


def find(name: str) -> Leftovers:
    """Look for what is left of earlier runs. Changes nothing."""
    deployment = stack.deployment(name)
    known = {entry["id"] for entry in deployment.get("resources") or [] if "id" in entry}
    pending = len(deployment.get("pending_operations") or [])
    containers = _labelled(name, "ps", "--all", "--format", "{{.ID}} {{.Names}}")
    networks = _labelled(name, "network", "ls", "--format", "{{.ID}} {{.Name}}")
    held = locks(name)
    # Names of networks and containers are the stack's, so that two checkouts cannot have the same stack on one host: where
    # one of them is in this checkout's state, or a run of this checkout was cut off, all are its own.
    ours = bool(held or pending or known.intersection([*containers.values(), *networks.values()]))
    orphans = {label: resource for label, resource in containers.items() if resource not in known}
    strays = {label: resource for label, resource in networks.items() if resource not in known}
    return Leftovers(held, pending, orphans, strays, foreign=not ours and bool(orphans or strays))


def check(name: str, left: Leftovers) -> None:
    """Raise FailureError where going on would disturb a run that is alive, or another checkout's deployment."""
    for lock in left.locks:
        if lock.alive:
            raise FailureError(
                f"stack {name} is being changed by process {lock.pid} of {lock.user} on {lock.host} since {lock.since}: wait for"
                f" its end; if it is known to be gone, release the lock with: scripts/pulumi cancel --yes --stack {name}"
            )
    if left.foreign:
        raise FailureError(
            f"the Docker host runs a deployment of stack {name} that is not in this checkout's state"
            f" ({', '.join(sorted({**left.containers, **left.networks})[:3])}, ...): deploy from the checkout that made it, name"
            f" this stack differently, or remove that deployment with: make purge STACK={name}"
        )


def clear(name: str) -> None:
    """Clear what a run that was killed left behind, so that the next one can go on. Data volumes are never touched. Raises
    FailureError as `check`."""
    left = find(name)
    end = time.monotonic() + DYING_SECONDS
    while any(lock.alive for lock in left.locks) and time.monotonic() < end:
        time.sleep(0.2)
        left = find(name)
    check(name, left)
    # In this order, since the lock and the pending creates are what shows the rest to be of this checkout.
    for label, container in left.containers.items():
        say(f"container {label} is of a run that was cut off: removing it (it holds no data)")
        stack.remove(container, STOP_SECONDS)
    for label, network in left.networks.items():
        say(f"network {label} is of a run that was cut off: removing it")
        for container in _attached(network):
            stack.docker("network", "disconnect", "--force", network, container)
        stack.docker("network", "rm", network)
    if left.locks:
        say(f"the state of stack {name} is locked by a run that was killed: releasing it")
        pulumi.run("cancel", "--yes", "--stack", name, quiet=True)
    if left.pending:
        say(f"{left.pending} changes of stack {name} were cut off: looking at what is there")
        pulumi.run("refresh", "--clear-pending-creates", "--yes", "--skip-preview", "--stack", name, quiet=True)


def _attached(network: str) -> list[str]:
    inspected: list[dict[str, Any]] = json.loads("\n".join(stack.docker("network", "inspect", network)))
    return list(inspected[0].get("Containers") or {})


def describe(name: str) -> str:
    """The leftovers of a stack in words, with the way out; empty where there are none."""
    left = find(name)
    try:
        check(name, left)
    except FailureError as failure:
        return str(failure)
    found = [f"locked by a run that was killed (process {lock.pid}, {lock.since})" for lock in left.locks]
    found += [f"{left.pending} changes were cut off"] if left.pending else []
    found += [f"{label} is in no state" for label in sorted({**left.containers, **left.networks})]
    return f"{'; '.join(found)}: make up STACK={name} clears this and goes on" if found else ""
