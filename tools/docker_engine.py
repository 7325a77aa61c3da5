"""The Docker Engine: the one that answers, else Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from tools import packages
from tools.words import FailureError, say

LOG = Path("/var/log/dockerd.log")
START_SECONDS = 60


def answers() -> bool:
    """Whether a Docker Engine answers, at DOCKER_HOST or at the local socket."""
    if not shutil.which("docker"):
        return False
    try:
        return subprocess.run(["docker", "version"], capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def is_local() -> bool:
    """Whether the engine runs on this machine, so that its published ports are this machine's."""
    return os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")


def ensure() -> None:
    """Make a Docker Engine answer: installs and starts one where this is root on Debian or Ubuntu, with or without systemd."""
    if answers():
        return
    if host := os.environ.get("DOCKER_HOST"):
        raise FailureError(f"no Docker Engine answers at DOCKER_HOST={host}: start it, or unset DOCKER_HOST to use the local one")
    if not shutil.which("dockerd"):
        packages.install("there is no Docker Engine", "docker.io", "iptables")
    if os.geteuid() != 0:
        raise FailureError(
            "the Docker Engine does not answer: start it (as root: systemctl start docker), and make sure that this user"
            " may use it (member of the group docker)"
        )
    say("Docker Engine: starting it")
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "enable", "--now", "docker"], check=False, capture_output=True)
    else:
        # No systemd (a container or a small virtual machine): the engine runs in a session of its own and outlives this command.
        with LOG.open("ab") as log:
            subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if time.monotonic() > deadline:
            raise FailureError(f"the Docker Engine did not answer within {START_SECONDS} seconds of its start: see {LOG}")
        time.sleep(0.5)
