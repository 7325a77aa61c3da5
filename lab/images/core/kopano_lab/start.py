"""The image's entry point: configuration from variables, waits, then the service in place of this process."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from kopano_lab import BANNER, VERSION, kcconf, services, waits
from kopano_lab.errors import Refusal, told

MACHINE_ID = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
SOURCE = Path("/etc/kopano")
_FIXED = {"AUTOCONFIGURE": "true", "DISABLE_CONFIG_CHANGES": "false", "KOPANO_CONFIG_PATH": "/tmp/kopano"}


def main() -> int:
    """Entry point of the container."""
    # As process 1 this one would otherwise not end on SIGTERM while it waits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return told("kopano_core", lambda: start(sys.argv[1:], os.environ))


def start(command: list[str], environ: Mapping[str, str]) -> int:
    """Become the service, or the command if one is given."""
    service = services.find(environ.get("SERVICE_TO_START", ""))
    for name, allowed in _FIXED.items():
        if environ.get(name, allowed) != allowed:
            raise Refusal(f"{name}='{environ[name]}': the lab does not have this: leave it unset, or {allowed}.")
    print(f"{BANNER}\nUsing Kopano Groupware Core: {VERSION}", flush=True)
    if environ.get("ADDITIONAL_KOPANO_PACKAGES", "").strip('" '):
        print("ADDITIONAL_KOPANO_PACKAGES: nothing is installed, as the container is read-only.", flush=True)
    kcconf.write(environ, SOURCE, Path(_FIXED["KOPANO_CONFIG_PATH"]), pwd.getpwnam("kopano").pw_gid)
    if command:
        _become(command, environ)
    checks = environ.get("DISABLE_CHECKS", "false") == "false"
    if checks:
        waits.for_files(MACHINE_ID, 10)
    service.prepare(environ, checks)
    # What is in the configuration files need not be in the environment of the running service as well.
    _become([service.PROGRAM], {name: value for name, value in environ.items() if not name.startswith(kcconf.PREFIXES)})
    return 0


def _become(command: list[str], environ: Mapping[str, str]) -> None:
    try:
        os.execvpe(command[0], command, dict(environ))
    except OSError as problem:
        raise Refusal(f"{command[0]} cannot be run: {problem.strerror}.", 127) from problem


if __name__ == "__main__":
    sys.exit(main())
