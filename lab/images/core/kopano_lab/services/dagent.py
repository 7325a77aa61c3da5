"""How a container becomes the dagent."""

from __future__ import annotations

from collections.abc import Mapping

from kopano_lab import service

PROGRAM = "/usr/sbin/kopano-dagent"


def prepare(environ: Mapping[str, str], checks: bool) -> None:
    """Drop to kopano, wait for the server."""
    service.prepare("dagent", environ, checks)
