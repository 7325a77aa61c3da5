"""Say what is missing or broken on this machine, and the fix: `python -m tools.doctor`. Changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from lab.images import build, catalog
from tools import cli, docker_engine, names, recovery, stack
from tools.places import ROOT, STATE
from tools.words import FailureError, main

NEEDED_GIGABYTES = 5
NEEDED_MEGABYTES = 100
"""What a data volume needs at least, so that mail can be taken."""


def findings() -> Iterator[tuple[str, str]]:
    """What was looked at -> the trouble with its fix, or an empty text where all is well."""
    usable = cli.present()
    yield "Pulumi CLI", "" if usable else "there is none that can run this program: make setup"
    missing = cli.missing_plugins()
    yield "plug-ins", f"{', '.join(missing)} missing or out of date: make setup" if missing else ""
    free = shutil.disk_usage(ROOT).free // 1024**3
    yield "disk", "" if free >= NEEDED_GIGABYTES else f"{free} GB free where {NEEDED_GIGABYTES} are needed: make room"
    stacks = stack.names() if usable and STATE.exists() else []
    elsewhere = []
    for name in stacks:
        docker_engine.of_stack(name)
        if not docker_engine.is_given():
            elsewhere.append(name)
    # Where each stack runs on a host of its own, this machine needs no engine.
    if not stacks or len(elsewhere) < len(stacks):
        docker_engine.as_given()
        yield from _engine()
    for name in stacks:
        docker_engine.of_stack(name)
        why = docker_engine.trouble()
        if name in elsewhere:
            yield f"Docker Engine of stack {name}", docker_engine.refusal(why) if why else ""
        if not why:
            yield f"state of stack {name}", recovery.describe(name)
            yield f"space of stack {name}", _full(name)
            yield f"stack {name}", _trouble(name)


def _engine() -> Iterator[tuple[str, str]]:
    """The engine that this machine has, or was told to use, as `findings`."""
    why = docker_engine.trouble()
    fix = f"make setup (as root), or see {docker_engine.LOG}" if docker_engine.is_local() else "see DOCKER_HOST"
    yield "Docker Engine", f"it does not answer ({why}): {fix}" if why else ""
    if docker_engine.is_local():
        machine_id = Path("/etc/machine-id")
        known = machine_id.is_file() and machine_id.read_text(encoding="ascii").strip()
        yield "/etc/machine-id", "" if known else "missing, and the published images refuse to start: systemd-machine-id-setup"
    if not why:
        absent = sorted(build.missing(catalog.names(), build.present()))
        yield "lab images", f"{', '.join(absent)} not built (only the lab needs them): make setup" if absent else ""


def _full(name: str) -> str:
    """Which data volumes are short of space, where this machine can see it."""
    if not docker_engine.is_local():
        return ""
    form = "{{.Name}} {{.Mountpoint}}"
    known = [entry["outputs"]["name"] for entry in stack.of_types(stack.resources(name), stack.VOLUME)]
    there = set(stack.docker("volume", "ls", "--quiet")).intersection(known)
    short = []
    for line in stack.docker("volume", "inspect", "--format", form, *sorted(there)) if there else []:
        volume, path = line.split(" ", 1)
        try:
            free = shutil.disk_usage(path).free // 1024**2
        except OSError:
            continue  # not for this user to see
        if free < NEEDED_MEGABYTES:
            short.append(f"volume {volume} has {free} MB left")
    return f"{'; '.join(short)}: make room on the Docker host (mail waits meanwhile, and nothing is lost)" if short else ""


def _trouble(name: str) -> str:
    """What is wrong with a deployment, with the fix."""
    try:
        changed = stack.changed_by_hand(name)
    except FailureError as failure:
        return str(failure)
    if lost := names.describe(name):
        changed.append(lost)
    sick = [box for box in stack.sick(name) if box.state.startswith(("Up", "Restarting"))]
    if sick:
        said = "; ".join(f"block {box.block} is '{box.state}'" for box in sick)
        return f"{'; '.join([*changed, said])}: docker logs {sick[0].name}, then make up STACK={name}"
    return f"{'; '.join(changed)}: make up STACK={name} puts it back" if changed else ""


def _command() -> int:
    broken = 0
    for looked_at, trouble in findings():
        broken += bool(trouble)
        print(f"{'fix' if trouble else 'ok ':4} {looked_at}{': ' + trouble if trouble else ''}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    main(_command)
