"""Stop a stack and keep its data: `python -m tools.down STACK`.

Removes the containers and networks alone. Volumes stay, and so do the passwords and keys in the state: after a plain `pulumi
destroy` the next deployment has to make new ones.
"""

from __future__ import annotations

from tools import docker_engine, pulumi, stack
from tools.words import FailureError, main, say


def stop(name: str) -> bool:
    """Remove the containers and networks of a stack, each after those that need it. Says whether there were any. Raises
    FailureError where somebody else is on the networks, before anything is changed, or when something stays."""
    targets = [entry["urn"] for entry in stack.of_types(stack.resources(name), stack.CONTAINER, stack.NETWORK)]
    if not targets:
        return False
    stack.refuse_guests(name)
    arguments = [word for urn in targets for word in ("--target", urn)]
    if pulumi.run("destroy", "--stack", name, "--yes", "--skip-preview", "--non-interactive", *arguments, check=False).returncode:
        raise FailureError(f"stack {name} could not be stopped completely: see above, and run make down STACK={name} again")
    return True


def _command() -> int:
    name = stack.name_from_arguments()
    if not stack.exists(name):
        raise FailureError(f"this checkout has no stack {name}: there is nothing to stop")
    docker_engine.ensure()
    stack.refuse_moved(name)
    if not stop(name):
        say(f"stack {name} is down already")
        return 0
    say(f"stack {name} is down; its data is kept (make up STACK={name} starts it again, make purge STACK={name} removes it)")
    return 0


if __name__ == "__main__":
    main(_command)
