"""The Pulumi CLI in the environment of this checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

from tools.places import ROOT, environment
from tools.words import FailureError, main


def executable() -> str:
    """The path of the chosen CLI. Raises FailureError when there is none."""
    found = shutil.which("pulumi", path=environment()["PATH"])
    if not found:
        raise FailureError("there is no Pulumi CLI on this machine: run 'make setup', which installs one in this checkout")
    return found


def run(*arguments: str, quiet: bool = False, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the CLI. `quiet` captures what it prints."""
    return subprocess.run([executable(), *arguments], cwd=ROOT, env=environment(), text=True, capture_output=quiet, check=check)


def query(*arguments: str) -> Any:
    """What a command prints as JSON."""
    return json.loads(run(*arguments, "--json", quiet=True).stdout or "null")


def _exec() -> int:
    os.chdir(ROOT)
    os.execve(executable(), ["pulumi", *sys.argv[1:]], environment())


if __name__ == "__main__":
    main(_exec)
