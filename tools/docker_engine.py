"""The Docker Engine: the one that answers, else Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import yaml

from tools import packages
from tools.places import stack_file
from tools.words import FailureError, say

SETTING = "kopano:dockerHost"
GIVEN = os.environ.get("DOCKER_HOST") or None
"""The engine that this command was told to use, before any stack file was read."""
LOCAL = "unix:///var/run/docker.sock"
LOG = Path("/var/log/dockerd.log")
START_SECONDS = 60


def of_stack(stack: str) -> None:
    """From now on, everything that this command runs speaks with the engine that the stack file names in `kopano:dockerHost`, or,
    where it names none, with the one that it was told. Raises FailureError where the two contradict each other."""
    file = stack_file(stack)
    settings = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("config") if file.exists() else None
    host = (settings or {}).get(SETTING)
    if host and not isinstance(host, str):
        raise FailureError(
            f"{SETTING} in {file.name}: must be plain text and no secret, for example ssh://kopano@docker.example.org"
        )
    if host and GIVEN and host != GIVEN:
        raise FailureError(f"{SETTING} = {host} in {file.name} contradicts DOCKER_HOST, which is {GIVEN}: unset DOCKER_HOST")
    as_given()
    if host:
        os.environ["DOCKER_HOST"] = host


def as_given() -> None:
    """From now on, everything that this command runs speaks with the engine that it was told to use."""
    if GIVEN:
        os.environ["DOCKER_HOST"] = GIVEN
    else:
        os.environ.pop("DOCKER_HOST", None)


def is_given() -> bool:
    """Whether that is the engine which this command was told to use, and not one that a stack file names."""
    return os.environ.get("DOCKER_HOST") == GIVEN


def address() -> str:
    """Where the engine is that this command speaks with."""
    return os.environ.get("DOCKER_HOST") or LOCAL


def trouble() -> str:
    """Why no Docker Engine answers, at DOCKER_HOST or at the local socket; empty where one does."""
    if not shutil.which("docker"):
        return "there is no docker command"
    try:
        asked = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "no answer within 20 seconds"
    if asked.returncode == 0:
        return ""
    # Of a log-in over SSH that failed, what ssh says of it is enough.
    said = " ".join(asked.stderr.rpartition("stderr=")[2].split()) or " ".join(asked.stderr.split())
    return said[-300:] or "no answer"


def refusal(why: str) -> str:
    """That no Docker Engine answers, where and why, and what to do: of one that was named, by DOCKER_HOST or a stack file."""
    host, source = os.environ["DOCKER_HOST"], "DOCKER_HOST" if is_given() else SETTING
    hint = "start it"
    if over_ssh():
        login, _, port = host.removeprefix("ssh://").partition(":")
        hint = f"make this work, which also shows the host's key: ssh {f'-p {port} ' if port else ''}{login} docker version;"
    return f"no Docker Engine answers at {source} = {host} ({why}): {hint} or correct {source}"


def answers() -> bool:
    """Whether a Docker Engine answers, at DOCKER_HOST or at the local socket."""
    return not trouble()


def is_local() -> bool:
    """Whether the engine runs on this machine, so that its published ports are this machine's."""
    return os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")


def over_ssh() -> bool:
    """Whether the engine is reached over SSH."""
    return os.environ.get("DOCKER_HOST", "").startswith("ssh://")


def ensure() -> None:
    """Make a Docker Engine answer: installs and starts one where this is root on Debian or Ubuntu, with or without systemd."""
    if not is_local() and not shutil.which("docker"):
        packages.install("there is no docker command", "docker.io", "iptables")
    if over_ssh() and not shutil.which("ssh"):
        packages.install("there is no ssh command", "openssh-client")
    if not (why := trouble()):
        return
    if os.environ.get("DOCKER_HOST"):
        raise FailureError(f"{refusal(why)}; nothing was changed")
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
