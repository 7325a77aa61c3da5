"""Set up what this machine lacks: `python -m tools.setup [images] [browser] [ssh]`. Run again, it changes nothing."""

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


def ssh() -> None:
    """What logs in to other hosts, and makes keys for that."""
    if not shutil.which("ssh-keygen"):
        packages.install("the tests log in over SSH", "openssh-client")


def setup(*more: str) -> None:
    """The CLI, the plug-ins and the Docker Engine, and what `more` names (images, browser, ssh)."""
    cli.ensure()
    cli.ensure_plugins()
    docker_engine.ensure()
    for step in more:
        {"images": images, "browser": browser, "ssh": ssh}[step]()


def _command() -> None:
    setup(*sys.argv[1:])
    say("this machine is set up")


if __name__ == "__main__":
    main(_command)
