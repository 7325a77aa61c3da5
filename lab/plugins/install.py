"""Installs the lab's plug-ins for the Pulumi CLI: `python -m lab.plugins.install`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

NAMES = ("docker", "tls", "random")
CHECKOUT = Path(__file__).resolve().parents[2]


class InstallError(Exception):
    """A plug-in could not be installed; the text says what to do."""


def launcher(name: str) -> str:
    """The script that the engine starts: it runs the plug-in from this checkout, so that changes take effect."""
    python, checkout = shlex.quote(sys.executable), shlex.quote(str(CHECKOUT))
    # -P keeps the engine's working directory, a Pulumi program, out of the module search.
    return f'#!/bin/sh\nPYTHONPATH={checkout} exec {python} -P -m lab.plugins.launch {name} "$@"\n'


def version(name: str) -> str:
    """The version for which the plug-in stands in: the one that the installed package asks for."""
    try:
        return metadata.version(f"pulumi-{name}")
    except metadata.PackageNotFoundError:
        raise InstallError(f"the Python package pulumi-{name} is missing: install requirements.txt into {sys.prefix}") from None


def home() -> Path:
    """The directory in which the Pulumi CLI keeps its plug-ins."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def is_installed(name: str) -> bool:
    """Whether exactly this launcher is installed."""
    executable = home() / "plugins" / f"resource-{name}-v{version(name)}" / f"pulumi-resource-{name}"
    return executable.is_file() and executable.read_text(errors="replace") == launcher(name)


def install(pulumi: str = "pulumi") -> list[str]:
    """Install the plug-ins that are missing or changed; their names."""
    wanted = [name for name in NAMES if not is_installed(name)]
    if wanted and shutil.which(pulumi) is None:
        raise InstallError(f"the Pulumi CLI {pulumi!r} is not on PATH: build it or name it with --pulumi")
    for name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            executable = Path(folder) / f"pulumi-resource-{name}"
            executable.write_text(launcher(name))
            executable.chmod(0o755)
            command = [pulumi, "plugin", "install", "resource", name, version(name), "--file", folder, "--reinstall"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InstallError(f"'pulumi plugin install' failed for {name}: {done.stderr.strip()}")
    return wanted


def main(arguments: list[str]) -> int:
    """Install and say what was done."""
    if arguments and (arguments[0] != "--pulumi" or len(arguments) != 2):
        print("Usage: python -m lab.plugins.install [--pulumi PATH-OF-THE-CLI]", file=sys.stderr)
        return 2
    try:
        installed = install(*arguments[1:])
    except InstallError as error:
        print(f"The lab's plug-ins could not be installed: {error}.", file=sys.stderr)
        return 1
    print(f"Lab plug-ins installed: {', '.join(installed)}." if installed else "The lab's plug-ins are installed.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
