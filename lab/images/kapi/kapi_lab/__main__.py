"""The image's entry point: root's part, then the service as user kopano."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from kopano_lab import privileges, waits
from kopano_lab.errors import Refusal, told

from kapi_lab import BANNER, grapi, kapi, settings, sockets

SERVICES = ("grapi", "kapi")
MACHINE_ID = ["/etc/machine-id", "/var/lib/dbus/machine-id"]


def main() -> int:
    """Entry point of the container."""
    if len(sys.argv) > 1:
        os.execvp(sys.argv[1], sys.argv[1:])
    # As process 1 this one would otherwise not end on SIGTERM while it waits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return told(os.environ.get("SERVICE_TO_START") or "kapi", _start)


def _start() -> int:
    service = os.environ.get("SERVICE_TO_START", "")
    if service not in SERVICES:
        raise Refusal(f"SERVICE_TO_START is '{service}': this image has {' and '.join(SERVICES)} only.", 64)
    print(f"{service}: {BANNER}", flush=True)
    waits.for_files(MACHINE_ID, 10)
    if service == "grapi":
        found = settings.grapi(os.environ)
        listening = sockets.prepared(found.persistence)
        privileges.drop()
        asyncio.run(grapi.serve(listening))
    else:
        wanted = settings.kapi(os.environ)
        privileges.own(Path("/kopano/data"))
        privileges.drop()
        asyncio.run(kapi.serve(wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
