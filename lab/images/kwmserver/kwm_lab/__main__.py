"""Starts the meeting server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from kopano_lab import waits
from kopano_lab.errors import told

from kwm_lab import BANNER, server, settings

MACHINE_ID = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
WRAPPER = ["wrapper.sh"]
"""The command with which the reference deployment starts the published image."""


def main() -> int:
    """Entry point of the container."""
    if len(sys.argv) > 1 and sys.argv[1:] != WRAPPER:
        os.execvp(sys.argv[1], sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return told("kwmserver", _serve)


def _serve() -> int:
    print(f"kwmserver: {BANNER}", flush=True)
    found = settings.load(os.environ)
    waits.for_files(MACHINE_ID, 10)
    asyncio.run(server.serve(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
