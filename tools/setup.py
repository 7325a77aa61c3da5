"""Set up what this machine lacks: `python -m tools.setup [images] [browser]`. Run again, it changes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tools import cli, docker_engine, packages
from tools.places import ROOT
from tools.words import FailureError, main, say


def images() -> None:
    """Build the lab's images that the Docker Engine lacks."""
    if shutil.which("debootstrap") is None and packages.can_install():
        packages.install("the lab's images need a Debian root file system", "debootstrap")
    if subprocess.run([sys.executable, "-m", "lab.images.build"], cwd=ROOT, check=False).returncode:
        raise FailureError("the lab's images could not be built: see above")


def browser() -> None:
    """A browser for the tests."""
    if not shutil.which("chromium"):
        packages.install("the tests need a browser", "chromium")


def setup(*more: str) -> None:
    """The CLI, the plug-ins and the Docker Engine, and what `more` names (images, browser)."""
    cli.ensure()
    cli.ensure_plugins()
    docker_engine.ensure()
    for step in more:
        {"images": images, "browser": browser}[step]()


def _command() -> None:
    setup(*sys.argv[1:])
    say("this machine is set up")


if __name__ == "__main__":
    main(_command)
