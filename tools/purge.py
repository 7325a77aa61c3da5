"""Remove a stack with all its data: `python -m tools.purge STACK`. Asks first; YES=1 in the environment answers."""

from __future__ import annotations

import os

from tools import docker_engine, pulumi, stack
from tools.words import FailureError, main, say


def _confirm(name: str, volumes: list[str]) -> None:
    if os.environ.get("YES") == "1":
        return
    print(f"This removes stack {name} and all its data, for good: {', '.join(volumes) or 'no volumes'}.")
    try:
        answer = input(f"Type the name of the stack ({name}) to go on: ")
    except EOFError:
        answer = ""
    if answer.strip() != name:
        raise FailureError("nothing was removed: the answer was not the name of the stack (YES=1 answers without asking)")


def _command() -> int:
    name = stack.name_from_arguments()
    docker_engine.ensure()
    known = stack.exists(name)
    if known:
        stack.refuse_moved(name)
    recorded = stack.of_types(stack.resources(name), stack.VOLUME) if known else []
    on_host = set(stack.docker("volume", "ls", "--quiet"))
    volumes = sorted(
        {entry["outputs"]["name"] for entry in recorded} & on_host | set(stack.volumes(name)) | set(stack.rooms(name))
    )
    if not known and not volumes and not stack.containers(name):
        say(f"there is nothing of stack {name}")
        return 0
    stack.refuse_guests(name)
    _confirm(name, volumes)
    if known:
        pulumi.run("state", "unprotect", "--all", "--yes", "--stack", name, quiet=True)
        if pulumi.run("destroy", "--stack", name, "--yes", "--skip-preview", "--non-interactive", check=False).returncode:
            raise FailureError(f"stack {name} could not be removed completely: see above, and run make purge STACK={name} again")
    # Left by a run that was killed, or made by a checkout whose state is gone.
    for container in stack.containers(name):
        stack.remove(container.name)
    for network in stack.docker("network", "ls", "--quiet", "--filter", f"label=kopano.stack={name}"):
        stack.docker("network", "rm", network)
    for volume in volumes:
        if volume in stack.docker("volume", "ls", "--quiet"):
            stack.docker("volume", "rm", volume)
    if known:
        pulumi.run("stack", "rm", name, "--yes", "--preserve-config", quiet=True)
    say(f"stack {name} is gone, with its data")
    return 0


if __name__ == "__main__":
    main(_command)
