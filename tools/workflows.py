"""Check the workflow files: `python -m tools.workflows` runs actionlint, which it builds the first time."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tools import cli
from tools.places import ROOT, TOOLS
from tools.words import FailureError, main, say

RELEASE = "v1.7.7"
MODULE = f"github.com/rhysd/actionlint/cmd/actionlint@{RELEASE}"


def actionlint() -> Path:
    """The path of the checker. Raises FailureError where it cannot be built."""
    program = TOOLS / f"actionlint-{RELEASE}"
    if not program.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        say(f"actionlint {RELEASE}: building it from its Go module")
        # Built beside its place and renamed, so that an interrupted build leaves no half of a program.
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
            environment = {**os.environ, "GOBIN": folder, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
            done = subprocess.run([cli.go(), "install", MODULE], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise FailureError(f"actionlint could not be built: {done.stderr.strip()[-1500:]}")
            (Path(folder) / "actionlint").rename(program)
    return program


def _command() -> int:
    # Not every machine has shellcheck: the same everywhere is better than more on some.
    return subprocess.run([actionlint(), "-shellcheck="], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    main(_command)
