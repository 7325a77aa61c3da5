"""How a container becomes the monitor."""

from __future__ import annotations

from collections.abc import Mapping

from kopano_lab import service

PROGRAM = "/usr/sbin/kopano-monitor"


def prepare(environ: Mapping[str, str], checks: bool) -> None:
    """Drop to kopano, wait for the server."""
    service.prepare("monitor", environ, checks)
