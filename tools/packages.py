"""Debian's packages, for what only the system can bring."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.words import FailureError, say


def can_install() -> bool:
    """Whether this is root on Debian or Ubuntu, so that the set-up may install packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def install(reason: str, *packages: str) -> None:
    """Install packages. Raises FailureError with what to do by hand where that is not possible."""
    names = " ".join(packages)
    if not can_install():
        raise FailureError(f"{reason}: install it (on Debian or Ubuntu, as root: apt-get install {names}) and run this again")
    say(f"{reason}: installing {names} from the distribution")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "-qq", *command], env=quiet, check=True, capture_output=True, text=True)
