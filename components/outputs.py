"""The stack's outputs: the interface on which other stacks rely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pulumi

from components.db import DatabaseAccess
from components.images import Images
from components.ldap import DirectoryAccess
from components.network import Networks
from components.settings import SERVICES, Settings
from components.ssl import Ssl

# Published for administrators' tools; users' programs have no use for them.
INTERNAL_SERVICES = ("server", "serverTls")

PATHS: Mapping[str, tuple[str, str]] = {
    "webapp": ("webapp", "/webapp/"),
    "meet": ("meet", "/meet/"),
    "calendar": ("kapps", "/calendar/"),
    "caldav": ("kdav", "/kdav/"),
    "carddav": ("kdav", "/kdav/"),
    "activesync": ("zpush", "/Microsoft-Server-ActiveSync"),
    "ldapAdmin": ("ldap-admin", "/ldap-admin/"),
    "passwordReset": ("password-self-service", "/password-reset/"),
    "openid": ("konnect", "/.well-known/openid-configuration"),
}
"""URL in the outputs -> the block that serves it and its path."""


class Running(Protocol):
    """A component that runs containers: network alias -> container name."""

    @property
    def containers(self) -> Mapping[str, pulumi.Output[str]]:
        """Network alias -> container name."""


def export(
    settings: Settings,
    *,
    images: Images,
    networks: Networks,
    volumes: Mapping[str, pulumi.Output[str]],
    ssl: Ssl,
    database: DatabaseAccess,
    directory: DirectoryAccess,
    components: Sequence[Running],
) -> None:
    """Export the outputs of the stack: what the blocks that run offer, and only what is published."""
    running = settings.enabled
    urls = {url: f"{settings.origin}{path}" for url, (block, path) in PATHS.items() if block in running}
    endpoints = {
        service: f"{settings.bind_address}:{port}"
        for service, port in settings.published.items()
        if service not in INTERNAL_SERVICES and SERVICES[service].block in running
    }
    containers = {"kopano_ssl": ssl.container}
    for component in components:
        containers |= component.containers
    pulumi.export("fqdn", settings.fqdn)
    pulumi.export("urls", urls)
    pulumi.export("endpoints", endpoints)
    pulumi.export("networks", networks.names)
    pulumi.export("containers", containers)
    pulumi.export("volumes", volumes)
    pulumi.export("caCertificate", ssl.ca_certificate)
    pulumi.export("dkim", ssl.dkim)
    pulumi.export(
        "database",
        {
            "host": database.host,
            "port": database.port,
            "name": database.name,
            "user": database.user,
            "password": pulumi.Output.secret(database.password),
        },
    )
    pulumi.export(
        "ldap",
        {
            "uri": directory.uri,
            "baseDn": directory.base_dn,
            "bindDn": directory.bind_dn,
            "bindPassword": pulumi.Output.secret(directory.bind_password),
        },
    )
    pulumi.export("images", images.references)
