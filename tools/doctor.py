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
    engine = docker_engine.answers()
    yield "Docker Engine", "" if engine else f"it does not answer: make setup (as root), or see {docker_engine.LOG}"
    machine_id = Path("/etc/machine-id")
    known = machine_id.is_file() and machine_id.read_text(encoding="ascii").strip()
    yield "/etc/machine-id", "" if known else "missing, and the published images refuse to start: systemd-machine-id-setup"
    free = shutil.disk_usage(ROOT).free // 1024**3
    yield "disk", "" if free >= NEEDED_GIGABYTES else f"{free} GB free where {NEEDED_GIGABYTES} are needed: make room"
    if engine:
        absent = sorted(build.missing(catalog.names(), build.present()))
        yield "lab images", f"{', '.join(absent)} not built (only the lab needs them): make setup" if absent else ""
    if usable and STATE.exists():
        for entry in stack.names():
            docker_engine.of_stack(entry)
            if docker_engine.is_given():
                if not engine:
                    continue
            elif why := docker_engine.trouble():
                yield f"Docker Engine of stack {entry}", f"it does not answer: {why}"
                continue
            yield f"state of stack {entry}", recovery.describe(entry)
            yield f"space of stack {entry}", _full(entry)
            yield f"stack {entry}", _trouble(entry)


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
