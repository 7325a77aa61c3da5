"""The blocks of the architecture that this program deploys, by the short names that settings and outputs use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A block: its network alias, on which the published images rely, and its memory limit in megabytes."""

    alias: str
    memory: int


BLOCKS: Mapping[str, Block] = {
    "web": Block("web", 256),
    "ssl": Block("kopano_ssl", 64),
    "db": Block("db", 1024),
    "ldap": Block("ldap", 256),
    "server": Block("kopano_server", 1024),
    "webapp": Block("kopano_webapp", 512),
}
