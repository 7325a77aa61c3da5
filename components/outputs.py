"""The stack's outputs: the interface on which other stacks rely."""

from __future__ import annotations

import pulumi

from components.core import Core
from components.db import Database
from components.frontends import Frontends
from components.images import Images
from components.ldap import Directory
from components.network import Networks
from components.settings import Settings
from components.ssl import Ssl
from components.web import Web


def export(
    settings: Settings,
    images: Images,
    networks: Networks,
    ssl: Ssl,
    db: Database,
    ldap: Directory,
    core: Core,
    frontends: Frontends,
    web: Web,
) -> None:
    """Export the outputs of the stack: what the blocks that exist offer, and only what is published."""
    pulumi.export("fqdn", settings.fqdn)
    pulumi.export("urls", {"webapp": f"{settings.origin}/webapp/"})
    # server and serverTls are no protocol for users; they are published for administrators' tools only.
    published = {service: port for service, port in settings.publish.items() if service == "ldap"}
    pulumi.export("endpoints", {service: f"{settings.bind_address}:{port}" for service, port in published.items()})
    pulumi.export("networks", {"kopano": networks.kopano, "web": networks.web, "ldap": networks.ldap})
    pulumi.export(
        "containers",
        {
            "kopano_ssl": ssl.container,
            "db": db.container,
            "ldap": ldap.container,
            **core.containers,
            **frontends.containers,
            **web.containers,
        },
    )
    pulumi.export("volumes", {"mysql": db.volume, **ldap.volumes, **core.volumes, **frontends.volumes})
    pulumi.export("caCertificate", ssl.ca_certificate)
    pulumi.export(
        "database",
        {"host": db.host, "port": db.port, "name": db.database, "user": db.user, "password": db.password},
    )
    pulumi.export(
        "ldap",
        {"uri": ldap.uri, "baseDn": ldap.base_dn, "bindDn": ldap.bind_dn, "bindPassword": ldap.bind_password},
    )
    pulumi.export("images", images.references)
