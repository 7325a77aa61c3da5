"""The stack's outputs: the interface on which other stacks rely.

`SCHEMA` is its one description. docs/outputs.md is made from it, a test holds the program to it, and a change of it needs another
`VERSION` and an entry in CHANGELOG.md (docs/outputs.json keeps what each version had).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pulumi

from components.blocks import BACKUP, BLOCKS, FOLLOWS, FRONT
from components.db import DatabaseAccess
from components.images import Images
from components.ldap import DirectoryAccess
from components.network import Networks
from components.settings import SERVICES, Settings
from components.ssl import Ssl
from components.volumes import DATA

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


VERSION = "1.0"
"""The version of `SCHEMA`. The first number rises with a breaking change (something is gone, has another type, has become secret,
or is no longer always there), the second one with an addition."""


@dataclass(frozen=True)
class Value:
    """An output, or an entry of one.

    `type` is string, integer or map; `meaning` a sentence for those who use it. `block`: it is there only where this block runs;
    `absent`: when else it is missing (both empty: it is always there). `secret`: Pulumi keeps it encrypted. A map has either
    `entries`, all names that it can have, or `each`, where its names are the stack file's own.
    """

    type: str
    meaning: str = ""
    block: str = ""
    absent: str = ""
    secret: bool = False
    entries: Mapping[str, Value] = field(default_factory=dict)
    each: Value | None = None


URLS = {
    "webapp": "The WebApp.",
    "meet": "Meetings.",
    "calendar": "Kopano's calendar app.",
    "caldav": "Calendars by CalDAV.",
    "carddav": "Address books by CardDAV.",
    "activesync": "Phones, by ActiveSync.",
    "ldapAdmin": "Administration of the bundled directory.",
    "passwordReset": "Where users set a new password.",
    "openid": "The OpenID provider's configuration, from which its issuer and all else follows.",
}
ENDPOINTS = {
    "smtp": "Mail from other servers, SMTP with STARTTLS.",
    "submission": "Mail from users' programs, SMTP with STARTTLS and a log-in.",
    "smtps": "Mail from users' programs, SMTP over TLS with a log-in.",
    "imaps": "IMAP over TLS.",
    "pop3s": "POP3 over TLS.",
    "imap": "IMAP without TLS.",
    "pop3": "POP3 without TLS.",
    "ical": "Calendars over HTTP without TLS.",
    "ldap": "The bundled directory, without TLS.",
}
NETWORKS = {
    "kopano": "Where the server and what works with it are.",
    "web": "What the proxy reaches, and the proxy itself under the host name of the deployment.",
    "ldap": "Who reads the bundled directory.",
}


def _only(block: str) -> str:
    """The block without which something is missing; empty where that block always runs."""
    optional = block == FRONT or block in FOLLOWS or block in BACKUP or BLOCKS[block].optional is not None
    return block if optional else ""


SCHEMA: Mapping[str, Value] = {
    "fqdn": Value("string", "Host name under which users reach the deployment, without a port."),
    "urls": Value(
        "map",
        "Addresses of what browsers and other programs use over HTTPS.",
        entries={name: Value("string", URLS[name], block=_only(block)) for name, (block, _) in PATHS.items()},
    ),
    "endpoints": Value(
        "map",
        "What else is published on the Docker host, as address:port. The address is the first of kopano:bindAddress, in brackets "
        "where it is one of IPv6.",
        entries={
            name: Value("string", ENDPOINTS[name], absent="it is not published (kopano:publish)")
            for name in SERVICES
            if name not in INTERNAL_SERVICES
        },
    ),
    "networks": Value(
        "map",
        "Names of the networks on the Docker host that a container of another stack can join.",
        entries={name: Value("string", meaning) for name, meaning in NETWORKS.items()},
    ),
    "containers": Value(
        "map",
        "Names of the containers on the Docker host, by the name that each has on the stack's networks.",
        entries={block.alias: Value("string", f"The block {name}.", block=_only(name)) for name, block in BLOCKS.items()},
    ),
    "volumes": Value(
        "map",
        "Names of the data volumes on the Docker host. All are always there, those of blocks that are off as well.",
        entries={name: Value("string") for name in DATA},
    ),
    "caCertificate": Value("string", "Certificate of the stack's own authority in PEM, which clients have to trust."),
    "dkim": Value(
        "map",
        "What has to be in the DNS for signed mail: name of a TXT record -> its text. Empty without kopano:dkim.",
        each=Value("string", "The record's text, as one piece.", absent="kopano:dkim does not name the domain"),
    ),
    "database": Value(
        "map",
        "Access to Kopano's database, the bundled one or that of kopano:database. The bundled one is on the network kopano.",
        entries={
            "host": Value("string", "Host name."),
            "port": Value("integer", "TCP port."),
            "name": Value("string", "Name of the database."),
            "user": Value("string", "Account that is limited to this database."),
            "password": Value("string", "Password of that account.", secret=True),
        },
    ),
    "ldap": Value(
        "map",
        "Access to the directory, the bundled one or that of kopano:directory. The bundled one is on the network ldap.",
        entries={
            "uri": Value("string", "Address, for example ldap://ldap:389."),
            "baseDn": Value("string", "Where the entries are."),
            "bindDn": Value("string", "Account that reads."),
            "bindPassword": Value("string", "Password of that account.", secret=True),
        },
    ),
    "images": Value(
        "map",
        "Reference of the image that each block runs.",
        entries={name: Value("string", block=_only(name)) for name in BLOCKS},
    ),
}
"""Each output of the stack."""


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
    address = settings.bind_address.split()[0]
    address = f"[{address}]" if ":" in address else address
    endpoints = {
        service: f"{address}:{port}"
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
