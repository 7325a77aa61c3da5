"""How a container becomes the search service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kopano_lab import privileges, service

PROGRAM = "/usr/sbin/kopano-search"


def prepare(environ: Mapping[str, str], checks: bool) -> None:
    """Own the volumes, drop to kopano, wait for the server."""
    index = Path(environ.get("KCCONF_SEARCH_INDEX_PATH", "/var/lib/kopano/search/"))
    privileges.own(Path("/kopano/data"), index, Path("/run/kopano"))
    service.prepare("search", environ, checks)
