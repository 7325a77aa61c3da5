"""How a container becomes the service that notes what is spam."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kopano_lab import privileges, service

PROGRAM = "/usr/sbin/kopano-spamd"


def prepare(environ: Mapping[str, str], checks: bool) -> None:
    """Own the volume, drop to kopano, wait for the server."""
    privileges.own(Path("/var/lib/kopano/spamd"))
    service.prepare("spamd", environ, checks)
