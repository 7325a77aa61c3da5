"""How a container becomes the calendar service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kopano_lab import privileges, service

PROGRAM = "/usr/sbin/kopano-ical"
_DATA = Path("/kopano/data")


def prepare(environ: Mapping[str, str], checks: bool) -> None:
    """Own the volume, drop to kopano, wait for the server."""
    privileges.own(_DATA, _DATA / "dav")
    service.prepare("ical", environ, checks)
