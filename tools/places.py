"""Where things are in a checkout. All that the commands make is below `.venv` and `.local`, which git ignores."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCAL = ROOT / ".local"
TOOLS = LOCAL / "bin"
"""The Pulumi CLI, where this checkout brings its own."""
PULUMI_HOME = LOCAL / "pulumi-home"
"""Plug-ins and workspaces of the CLI. Apart from the user's own, so that the lab's plug-ins never end up there."""
STATE = LOCAL / "state"
OVER_SSH = "8"
"""How many resources the CLI works on at a time on a Docker host that is reached over SSH. Each connection is a log-in of its
own, and sshd as it comes (MaxStartups, MaxSessions) takes ten at a time and drops some of those beyond."""
PASSPHRASE = LOCAL / "passphrase"


def stack_file(stack: str) -> Path:
    """The settings of a stack."""
    return ROOT / f"Pulumi.{stack}.yaml"


def environment() -> dict[str, str]:
    """The environment in which the chosen CLI runs. What the user has set stands: a backend, a passphrase, a Docker host."""
    variables = dict(os.environ)
    variables["PATH"] = os.pathsep.join([str(VENV / "bin"), str(TOOLS), os.environ.get("PATH", os.defpath)])
    variables["PULUMI_HOME"] = str(PULUMI_HOME)
    variables.setdefault("PULUMI_BACKEND_URL", STATE.as_uri())
    variables.setdefault("PULUMI_SKIP_UPDATE_CHECK", "true")
    # Each plug-in is installed by the set-up; looking for another one on the internet would fail in a closed network.
    variables.setdefault("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
    if variables.get("DOCKER_HOST", "").startswith("ssh://"):
        variables.setdefault("PULUMI_PARALLEL", OVER_SSH)
    if "PULUMI_CONFIG_PASSPHRASE" not in variables and "PULUMI_CONFIG_PASSPHRASE_FILE" not in variables and PASSPHRASE.exists():
        variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(PASSPHRASE)
    return variables
