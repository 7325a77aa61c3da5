"""Deploy or remove an example beside a running stack: `python -m tools.example up|down EXAMPLE STACK`.

An example is a Pulumi program of its own below `examples/`. Its stack has the name of the Kopano stack and is in the same state.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from lab.images import catalog
from tools import docker_engine, pulumi, setup, stack
from tools.places import ROOT
from tools.words import FailureError, main, say


def _cli(folder: Path, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    return pulumi.run("--cwd", str(folder), *arguments, "--non-interactive", quiet=quiet, check=False)


def _told(folder: Path, *arguments: str) -> None:
    if pulumi.run_told("--cwd", str(folder), *arguments):
        raise FailureError(f"the example {folder.name} was not deployed or removed completely: see the messages above")


def deploy(example: str, name: str) -> None:
    """Build the example's image, deploy it and print its outputs. Raises FailureError where the stack is not there, or the
    deployment fails."""
    if not stack.exists(name):
        raise FailureError(
            f"this checkout has no stack {name}, which the example {example} needs: run make up STACK={name} first"
        )
    setup.setup()
    if subprocess.run([sys.executable, "-m", "lab.images.build", example], cwd=ROOT, check=False).returncode:
        raise FailureError(f"the image of the example {example} could not be built: see above")
    folder = catalog.EXAMPLES / example
    file = folder / f"Pulumi.{name}.yaml"
    if not file.exists():
        shutil.copy(folder / "Pulumi.example.yaml", file)
    done = _cli(folder, "stack", "select", "--create", name, quiet=True)
    if done.returncode:
        raise FailureError(f"the stack of the example {example} could not be made: {done.stderr.strip()}")
    _told(folder, "config", "set", "image", catalog.reference(example), "--stack", name)
    _told(folder, "up", "--stack", name, "--yes", "--skip-preview", "--suppress-outputs")
    say(f"example {example} is up")
    _told(folder, "stack", "output", "--stack", name)


def remove(example: str, name: str) -> None:
    """Remove the example's containers and its stack; its settings stay. It is no mistake where there is none."""
    folder = catalog.EXAMPLES / example
    if _cli(folder, "stack", "select", name, quiet=True).returncode:
        say(f"example {example} is not deployed beside stack {name}")
        return
    _told(folder, "destroy", "--stack", name, "--yes", "--skip-preview", "--suppress-outputs")
    _told(folder, "stack", "rm", name, "--yes", "--preserve-config")


def _command() -> int:
    verbs = {"up": deploy, "down": remove}
    allowed = ", ".join(catalog.examples())
    if len(sys.argv) != 4 or sys.argv[1] not in verbs or sys.argv[2] not in catalog.examples():
        raise FailureError(f"name an example ({allowed}) and a stack, for example: make example EXAMPLE=monitoring STACK=dev")
    docker_engine.of_stack(sys.argv[3])
    verbs[sys.argv[1]](*sys.argv[2:])
    return 0


if __name__ == "__main__":
    main(_command)
