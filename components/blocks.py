"""The blocks of the architecture, by the short names that settings and outputs use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A block: its network alias, on which the published images rely; its memory limit in megabytes; and whether
    `kopano:blocks` can switch it (`optional` is what it is by default, None for a block that always runs)."""

    alias: str
    memory: int
    optional: bool | None = None


BLOCKS: Mapping[str, Block] = {
    "web": Block("web", 256),
    "web-front": Block("web_front", 128),
    "ssl": Block("kopano_ssl", 64),
    "db": Block("db", 1024, optional=True),
    "ldap": Block("ldap", 256, optional=True),
    "ldap-admin": Block("ldap-admin", 256, optional=True),
    "password-self-service": Block("password-self-service", 256, optional=True),
    "mail": Block("mail", 2048, optional=True),
    "server": Block("kopano_server", 1024),
    "dagent": Block("kopano_dagent", 512),
    "spooler": Block("kopano_spooler", 512),
    "gateway": Block("kopano_gateway", 512),
    "gateway-tls": Block("gateway_tls", 128),
    "ical": Block("kopano_ical", 512),
    "monitor": Block("kopano_monitor", 256),
    "search": Block("kopano_search", 1024),
    "grapi": Block("kopano_grapi", 512),
    "kapi": Block("kopano_kapi", 256),
    "spamd": Block("kopano_spamd", 256, optional=False),
    "webapp": Block("kopano_webapp", 512),
    "zpush": Block("kopano_zpush", 512, optional=True),
    "kdav": Block("kopano_kdav", 512, optional=True),
    "konnect": Block("kopano_konnect", 256),
    "kapps": Block("kopano_kapps", 128, optional=False),
    "meet": Block("kopano_meet", 128, optional=True),
    "kwmserver": Block("kopano_kwmserver", 256),
    "kwmbridge": Block("kopano_kwmbridge", 512, optional=False),
    "scheduler": Block("kopano_scheduler", 128),
    "docker-proxy": Block("docker_proxy", 128),
    "backup": Block("backup", 256),
    "backup-ldap": Block("backup_ldap", 128),
}

BACKUP: Mapping[str, str | None] = {"backup": None, "backup-ldap": "ldap"}
"""Blocks that `kopano:backup` switches on -> the block without which they have nothing to do."""

FRONT = "web-front"
"""The block that `kopano:tls` switches on, where TLS ends in a proxy in front."""

FOLLOWS: Mapping[str, str] = {"kwmserver": "meet"}
"""Blocks that run exactly when another one does."""

NEEDS: Mapping[str, str] = {"ldap-admin": "ldap", "spamd": "mail", "kwmbridge": "meet"}
"""Optional blocks that make no sense without another: off where it is off, unless the stack file insists, which is a mistake."""


def enabled(switches: Mapping[str, bool], *, backup: bool = False, fronted: bool = False) -> frozenset[str]:
    """The blocks that run under the switches of a stack file; `backup`: whether backups are made on schedule; `fronted`: whether
    TLS ends in a proxy in front."""

    def runs(name: str) -> bool:
        if name == FRONT:
            return fronted
        if name in BACKUP:
            needed = BACKUP[name]
            return backup and (needed is None or runs(needed))
        if name in FOLLOWS:
            return runs(FOLLOWS[name])
        optional = BLOCKS[name].optional
        if optional is None:
            return True
        return switches.get(name, optional) and (name not in NEEDS or runs(NEEDS[name]))

    return frozenset(name for name in BLOCKS if runs(name))
