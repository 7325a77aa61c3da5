"""Typed, validated settings: the only reader of the stack's configuration.

Every key stands once in `KEYS`, with the description that `Pulumi.yaml` repeats (a test compares the two) and the parser that
says what is allowed. All mistakes of a stack are found before the first resource is registered and are reported together.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components import certificates, parsers
from components.blocks import BLOCKS, NEEDS, enabled
from components.parsers import RefusedError

NAMESPACE = "kopano"


@dataclass(frozen=True)
class Service:
    """Something that can be published on the Docker host: the block that offers it, its port in the container, and the port
    under which it is published unless the stack file says otherwise (None: not published)."""

    block: str
    port: int
    default: int | None = None


SERVICES: Mapping[str, Service] = {
    "smtp": Service("mail", 25, 25),
    "submission": Service("mail", 587, 587),
    "smtps": Service("mail", 465, 465),
    "imaps": Service("gateway-tls", 993, 993),
    "pop3s": Service("gateway-tls", 995, 995),
    "imap": Service("gateway", 143),
    "pop3": Service("gateway", 110),
    "ical": Service("ical", 8080),
    "ldap": Service("ldap", 389),
    "server": Service("server", 236),
    "serverTls": Service("server", 237),
}
"""What `kopano:publish` can open on the Docker host beside HTTP and HTTPS."""

PUBLISHED_PROXY_PORTS = (443, 2015)
"""Where the published proxy serves users. Services inside the stack reach the OpenID issuer by the URL that browsers use."""

KWM_PORT = 8443
"""Where the proxy serves the bridge of Meet and nothing else."""


ROTATED: Mapping[str, str | None] = {
    "database": "db",
    "ldap": "ldap",
    "konnect": None,
    "kapi": None,
    "certificates": None,
}
"""Secrets that `kopano:generations` replaces -> the optional block that they belong to."""

LONGEST_CERTIFICATE = 825 * 24
"""Hours: the longest that browsers accept of a private authority."""


class SettingsError(pulumi.RunError):
    """All wrong settings of a stack in one message. A `RunError`, so that Pulumi prints it without a traceback."""


@dataclass(frozen=True)
class Key:
    """One configuration key of the stack file.

    `type` is the type in Pulumi's project schema, `default` the value when the stack file is silent (in the stack file's own
    form), `example` a value that is allowed, `parse` turns the raw value into the typed one or raises `RefusedError`.
    """

    name: str
    type: str
    description: str
    default: Any
    example: Any
    parse: Callable[[Any], Any]


OPTIONAL = {name: block for name, block in BLOCKS.items() if block.optional is not None}


@dataclass(frozen=True)
class Database:
    """An external database."""

    host: str
    port: int
    name: str
    user: str
    password: str


@dataclass(frozen=True)
class Directory:
    """An external directory. What is empty is as in the directory's `kind`: `user_filter` and `group_filter` are who is a user or
    a group of Kopano's, the attributes those with log-in names, addresses, and further addresses. `authority` (PEM) signed its
    certificate, where no public one did."""

    uri: str
    base_dn: str
    bind_dn: str
    bind_password: str
    kind: str = "openLdap"
    user_filter: str = ""
    group_filter: str = ""
    login_attribute: str = ""
    mail_attribute: str = ""
    alias_attribute: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Turn:
    """TURN servers for Meet."""

    uris: str
    user: str
    password: str


@dataclass(frozen=True)
class Relay:
    """The mail server that takes all outgoing mail, and who logs in there (empty: nobody does). `authority` (PEM) signed its
    certificate, where no public one did."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    authority: str = ""

    @property
    def verified(self) -> bool:
        """Whether it gets mail, and the password, only if its certificate is for that host and of an authority to trust."""
        return bool(self.user or self.authority)


@dataclass(frozen=True)
class Registry:
    """Who pulls images from a registry."""

    user: str
    password: str


@dataclass(frozen=True)
class Tls:
    """Who answers browsers' TLS where it is not the proxy with a certificate of the stack's authority or an own one. `acme`: the
    proxy, with a certificate that it gets from Let's Encrypt or from the ACME server at `directory` (`email` is whom that tells
    of trouble; `authority`, in PEM, is who signs there, and its own certificate, where that is no public one). `proxy`: another
    one in front, which hands plain HTTP to the address `bind_address` and is known by its own (`trusted_proxies`)."""

    mode: str
    email: str = ""
    trusted_proxies: tuple[str, ...] = ()
    bind_address: str = ""
    directory: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Certificate:
    """An own certificate with its issuers' and its key (PEM), and the authority that signed it where that is no public one."""

    certificate: str
    key: str
    authority: str = ""


@dataclass(frozen=True)
class Ipv6:
    """Addresses of the stack's networks where they have IPv6: the range from which each gets its /64, and that of their IPv4
    subnets, which cannot be left to the engine any more."""

    prefix: str
    ipv4: str


HOST_ITSELF = "host"
"""How `trustedProxies` names the Docker host, whose address inside the stack only the engine knows."""


def _data_volumes(value: Any) -> dict[str, str]:
    """Data volume -> the volume on the Docker host in its place, each another one."""
    from components.volumes import DATA

    name = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]+$")
    given: dict[str, str] = parsers.map_of(DATA, parsers.matching(name, "must be the name of a volume on the Docker host"))(value)
    owners: dict[str, str] = {}
    for item, volume in given.items():
        if volume in owners:
            raise RefusedError(f"is the volume of {owners[volume]} already, and each needs one of its own", item, volume)
        owners[volume] = item
    return given


@dataclass(frozen=True)
class Backup:
    """Backups on schedule: the times as in a crontab, how many archives are kept, and the folder on the Docker host in which
    they are (empty: the data volume `backups`)."""

    schedule: str
    keep: int
    directory: str = ""


KEYS: tuple[Key, ...] = (
    Key(
        "fqdn",
        "string",
        "Host name under which users reach the deployment, without a port. Required.",
        "",
        "mail.example.org",
        parsers.host_name,
    ),
    Key(
        "tls",
        "object",
        "Where browsers' TLS ends, if not in the proxy with kopano:certificate or one of the stack's own authority. mode: acme "
        "(the proxy gets a certificate from Let's Encrypt, which tells email of trouble; needs ports 80 and 443; directory: the "
        "address of another ACME server, one that wants no key of its own; authority (PEM): who signs there, and its own "
        "certificate, where that is no public one) or proxy (another one in front, which hands plain HTTP to httpPort; only "
        "trustedProxies may: addresses and networks separated by blanks, and the word host for the Docker host itself; "
        "bindAddress: address of httpPort if not kopano:bindAddress).",
        {},
        "{mode: proxy, trustedProxies: 192.0.2.7}",
        parsers.record(
            Tls,
            {
                "mode": parsers.choice("acme", "proxy"),
                "email": parsers.matching(parsers.MAIL, "must be a mail address"),
                "trustedProxies": parsers.networks(HOST_ITSELF),
                "bindAddress": parsers.address,
                "directory": parsers.https_url,
                "authority": parsers.pem(certificates.BLOCK, "must be a certificate in PEM"),
            },
        ),
    ),
    Key(
        "certificate",
        "object",
        "Own certificate for fqdn, for browsers, SMTP, IMAPS and POP3S: certificate (PEM, with those of its issuers), key (PEM, "
        "without a passphrase), and authority (PEM) where no public one signed it. Set the key as a secret. Empty: the stack has "
        "its own authority.",
        {},
        "{certificate: '-----BEGIN CERTIFICATE-----...', key: '-----BEGIN PRIVATE KEY-----...'}",
        parsers.record(
            Certificate,
            {
                "certificate": parsers.pem(certificates.BLOCK, "must be a certificate in PEM"),
                "key": parsers.pem(certificates.KEY, "must be a private key in PEM without a passphrase"),
                "authority": parsers.pem(certificates.BLOCK, "must be a certificate in PEM"),
            },
        ),
    ),
    Key(
        "organisation",
        "string",
        "Name of the organisation, shown in the directory.",
        "Kopano",
        "Example Ltd",
        parsers.required_text,
    ),
    Key(
        "ldapBaseDn",
        "string",
        "Base of the directory. Empty: made from fqdn (mail.example.org becomes dc=mail,dc=example,dc=org).",
        "",
        "dc=example,dc=org",
        parsers.matching(parsers.DN, "must be a distinguished name", empty=True),
    ),
    Key(
        "demoUsers",
        "boolean",
        "Fill the directory with demo users (user1, user2, ...; password = user name). Never for production.",
        False,
        "false",
        parsers.boolean,
    ),
    Key("timezone", "string", "Time zone of all blocks.", "Etc/UTC", "Europe/Berlin", parsers.timezone),
    Key(
        "mailboxLocale",
        "string",
        "Locale of new mailboxes: the names of their folders.",
        "en_US.UTF-8",
        "de_DE.UTF-8",
        parsers.matching(re.compile(r"^[a-z]{2,3}_[A-Z]{2}\.UTF-8$"), "must have the form ll_CC.UTF-8"),
    ),
    Key("httpPort", "integer", "Port on the Docker host for HTTP, which redirects to HTTPS.", 80, "80", parsers.port),
    Key("httpsPort", "integer", "Port on the Docker host for HTTPS.", 443, "443", parsers.port),
    Key(
        "bindAddress",
        "string",
        "Addresses of the Docker host on which all ports are published, separated by blanks. 0.0.0.0: every IPv4 address, ::: "
        "every IPv6 address. Over IPv6, services see the address of clients only with kopano:ipv6.",
        "0.0.0.0",
        "127.0.0.1",
        parsers.addresses,
    ),
    Key(
        "ipv6",
        "object",
        "IPv6 on the stack's networks: prefix (a /48 to /62 of local addresses, of which each network gets a /64) and ipv4 (a "
        "private range for the subnets that the same networks have in IPv4). Switching it on or off makes the networks and all "
        "containers anew; data stays. Before Docker 27, the engine has to run with ip6tables. Empty: IPv4 only.",
        {},
        "{prefix: 'fd12:3456:789a::/48', ipv4: 10.89.0.0/22}",
        parsers.record(
            Ipv6,
            {
                "prefix": parsers.network_within(["fd00::/8"], 48, 62, "must be a /48 to /62 within fd00::/8"),
                "ipv4": parsers.network_within(
                    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
                    8,
                    24,
                    "must be a /24 or larger of private addresses (in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16)",
                ),
            },
        ),
    ),
    Key(
        "publish",
        "object",
        "Ports to publish on the Docker host beside HTTP and HTTPS, service -> port. Services: smtp, submission, smtps, "
        "imaps, pop3s, imap, pop3, ical, ldap, server (Kopano over HTTP), serverTls (Kopano over HTTPS). Empty: smtp, "
        "submission, smtps, imaps and pop3s on their own ports, where their blocks run. Otherwise exactly those named.",
        {},
        "{imaps: 993, smtp: 25}",
        parsers.map_of(SERVICES, parsers.port),
    ),
    Key(
        "blocks",
        "object",
        "Switches of the optional blocks, block -> true or false: db, ldap, ldap-admin, password-self-service, mail, zpush, "
        "kdav, meet (with kwmserver) are on, kapps, spamd and kwmbridge off. Where db, ldap or mail is off, kopano:database, "
        "kopano:directory or kopano:smtpServer says what takes its place.",
        {},
        "{kapps: true, zpush: false}",
        parsers.map_of(OPTIONAL, parsers.boolean),
    ),
    Key(
        "database",
        "object",
        "An external database in place of the block db: host, port, name, user, password. Set the password as a secret.",
        {},
        "{host: db.example.org, port: 3306, name: kopano, user: kopano, password: ...}",
        parsers.record(Database, {"port": parsers.port}),
    ),
    Key(
        "directory",
        "object",
        "An external directory in place of the block ldap: uri, baseDn, bindDn, bindPassword (set it as a secret), and, where it "
        "is so, kind: activeDirectory; userFilter and groupFilter (LDAP filters of Kopano's users and groups in place of "
        "(kopanoAccount=1) and the like), loginAttribute, mailAttribute, aliasAttribute; authority (PEM) where no public one "
        "signed its certificate.",
        {},
        "{uri: ldaps://ldap.example.org, baseDn: dc=example, bindDn: cn=kopano, bindPassword: ...}",
        parsers.record(
            Directory,
            {
                "kind": parsers.choice("openLdap", "activeDirectory"),
                "uri": parsers.matching(parsers.LDAP_URI, "must be ldap://host or ldaps://host, with a port after it if need be"),
                **dict.fromkeys(("userFilter", "groupFilter"), parsers.ldap_filter),
                **dict.fromkeys(
                    ("loginAttribute", "mailAttribute", "aliasAttribute"),
                    parsers.matching(parsers.ATTRIBUTE, "must be the name of an attribute"),
                ),
                "authority": parsers.pem(certificates.BLOCK, "must be a certificate in PEM"),
            },
        ),
    ),
    Key(
        "smtpServer",
        "string",
        "Mail server to which the spooler gives outgoing mail when the block mail is off, as host:port.",
        "",
        "smtp.example.org:25",
        parsers.matching(re.compile(r"^[A-Za-z0-9.-]+:[0-9]{1,5}$"), "must be host:port", empty=True),
    ),
    Key(
        "relay",
        "object",
        "Mail server (smarthost) to which the block mail hands all mail for others: host, port, and, where it wants a log-in, "
        "user and password; with these only over TLS, with a certificate for that host, signed by a public authority or by "
        "authority (PEM). Set the password as a secret. Empty: mail goes to its recipients' servers.",
        {},
        "{host: smtp.example.net, port: 587, user: kopano, password: ...}",
        parsers.record(
            Relay,
            {
                "host": parsers.host_name,
                "port": parsers.port,
                "authority": parsers.pem(certificates.BLOCK, "must be a certificate in PEM"),
            },
        ),
    ),
    Key(
        "dkim",
        "object",
        "Mail domains whose outgoing mail is signed (DKIM), domain -> selector. What has to be in the DNS for it is the "
        "stack's output dkim. A new selector gets a new key. Empty: nothing is signed.",
        {},
        "{example.org: mail2026}",
        parsers.selectors,
    ),
    Key(
        "webappPlugins",
        "string",
        "Plug-ins of the WebApp, separated by blanks: NAME for Kopano's package kopano-webapp-plugin-NAME, for example files, "
        "mdm or smime. The published image installs them at each start, with a root that it can write to, from what it brings "
        "and from Debian's mirror. Their own settings are variables KCCONF_WEBAPPPLUGIN_* (kopano:environment).",
        "",
        "desktopnotifications webappmanual",
        parsers.plug_ins,
    ),
    Key(
        "meetGuests",
        "boolean",
        "Let guests without an account join public rooms of Meet by a link.",
        False,
        "false",
        parsers.boolean,
    ),
    Key(
        "turn",
        "object",
        "TURN servers for Meet: uris (separated by blanks), user, password. Set the password as a secret.",
        {},
        "{uris: 'turn:turn.example.org:3478', user: kopano, password: ...}",
        parsers.record(Turn, {}),
    ),
    Key(
        "openidClients",
        "object",
        "Programs beside Kopano's own to which users may log in by OpenID, client id -> redirect address. They have no "
        "secret and should use PKCE, which Konnect checks but does not demand; each user is asked for consent. Addresses begin "
        "with https://, or with http://localhost for a program on the user's own machine.",
        {},
        "{mailbox: 'https://mailbox.example.org/callback'}",
        parsers.openid_clients,
    ),
    Key(
        "imageSource",
        "string",
        "Where images come from: published (imageRepository and the third parties' own), or lab (stand-ins built on this "
        "machine: not Kopano).",
        "published",
        "published",
        parsers.choice("published", "lab"),
    ),
    Key(
        "imageRepository",
        "string",
        "Registry and repository of the kopano_* images when imageSource is published.",
        "docker.io/zokradonh",
        "registry.example.org/kopano",
        parsers.matching(
            re.compile(r"^[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9._-]+)*$"), "must be a registry and path in lower case"
        ),
    ),
    Key(
        "imageTags",
        "object",
        "Tags of the kopano_* images when imageSource is published, image -> tag, for example core or webapp. Images "
        "whose release is pinned by the program can be left out; latest is used only where it is written here.",
        {},
        "{core: 11.0.2, webapp: 6.0.0}",
        parsers.map_of(None, parsers.matching(parsers.TAG, "must be an image tag")),
    ),
    Key(
        "images",
        "object",
        "Image of single blocks, block -> reference with tag or digest. Wins over imageSource.",
        {},
        "{server: registry.example.org/kopano_core:11.0.2}",
        parsers.map_of(BLOCKS, parsers.image),
    ),
    Key(
        "registries",
        "object",
        "Log-ins of private registries, registry (host, or host:port) -> user and password. Set the passwords as secrets.",
        {},
        "{registry.example.org: {user: kopano, password: ...}}",
        parsers.registries(parsers.record(Registry, {})),
    ),
    Key(
        "dockerHost",
        "string",
        "Docker Engine that runs the stack, as ssh://user@host or ssh://user@host:port (the user may use Docker there and logs "
        "in with a key; the host's own key is known here), or unix:// and a path. Empty: DOCKER_HOST, else this machine's.",
        "",
        "ssh://kopano@docker.example.org",
        parsers.matching(parsers.DOCKER_HOST, "must be ssh://user@host, ssh://user@host:port, or unix:// and a path", empty=True),
    ),
    Key(
        "memory",
        "object",
        "Memory limit of single blocks in megabytes, block -> number.",
        {},
        "{db: 2048}",
        parsers.map_of(BLOCKS, parsers.megabytes),
    ),
    Key(
        "deployTimeout",
        "integer",
        "How long a deployment waits for a block to become healthy before it ends with an error, in seconds.",
        300,
        "600",
        parsers.whole(10, 3600),
    ),
    Key(
        "environment",
        "object",
        "Extra variables of single blocks, block -> variable -> value. KCCONF_* names must be options that Kopano knows.",
        {},
        '{server: {KCCONF_SERVER_LOG_LEVEL: "4"}}',
        parsers.variables(BLOCKS),
    ),
    Key(
        "generations",
        "object",
        "Generation of secrets, secret -> number: database, ldap, konnect, kapi, certificates, 1 where nothing is said. A higher "
        "number replaces that secret with the next deployment and restarts what reads it.",
        {},
        "{database: 2}",
        parsers.map_of(ROTATED, parsers.whole(1, 9999)),
    ),
    Key(
        "certificateHours",
        "integer",
        "Hours for which certificates are valid.",
        LONGEST_CERTIFICATE,
        "2160",
        parsers.whole(1, LONGEST_CERTIFICATE),
    ),
    Key(
        "certificateRenewalHours",
        "integer",
        "Hours before the end of a certificate from which on a deployment renews it. As many as certificateHours: each "
        "deployment does.",
        720,
        "720",
        parsers.whole(1, LONGEST_CERTIFICATE),
    ),
    Key(
        "databaseName",
        "string",
        "Name of the database in the block db. Another one than kopano only for data that was taken over.",
        "kopano",
        "kopano",
        parsers.matching(re.compile(r"^[A-Za-z0-9_]{1,64}$"), "must be at most 64 letters, digits and underscores"),
    ),
    Key(
        "volumes",
        "object",
        "Volumes on the Docker host that a first deployment takes over with what is in them, data volume -> name on the host. "
        "Data volumes: those in the output volumes. The passwords in them are replaced by new ones.",
        {},
        "{mysql: kopano_mysql, kopanodata: kopano_kopanodata}",
        _data_volumes,
    ),
    Key(
        "backup",
        "object",
        "Backups on schedule: schedule (minute, hour, day, month and weekday as in a crontab), keep (how many archives), "
        "directory (a folder on the Docker host; otherwise they are in the data volume backups, which make purge removes with "
        "the rest). Empty: none.",
        {},
        '{schedule: "30 1 * * *", keep: 7, directory: /srv/backups}',
        parsers.record(Backup, {"schedule": parsers.schedule, "keep": parsers.whole(1, 1000), "directory": parsers.folder}),
    ),
    Key(
        "protectData",
        "boolean",
        "Refuse every plan that would delete a data volume.",
        True,
        "true",
        parsers.boolean,
    ),
)


@dataclass(frozen=True)
class Settings:
    """The validated settings of one stack; `stack` is its name, the rest are the keys of `KEYS` in the same order."""

    stack: str
    fqdn: str
    tls: Tls | None
    certificate: Certificate | None
    organisation: str
    ldap_base_dn: str
    demo_users: bool
    timezone: str
    mailbox_locale: str
    http_port: int
    https_port: int
    bind_address: str
    ipv6: Ipv6 | None
    publish: Mapping[str, int]
    blocks: Mapping[str, bool]
    database: Database | None
    directory: Directory | None
    smtp_server: str
    relay: Relay | None
    dkim: Mapping[str, str]
    webapp_plugins: tuple[str, ...]
    meet_guests: bool
    turn: Turn | None
    openid_clients: Mapping[str, str]
    image_source: str
    image_repository: str
    image_tags: Mapping[str, str]
    images: Mapping[str, str]
    registries: Mapping[str, Registry]
    docker_host: str
    memory: Mapping[str, int]
    deploy_timeout: int
    environment: Mapping[str, Mapping[str, str]]
    environment_is_secret: bool
    generations: Mapping[str, int]
    certificate_hours: int
    certificate_renewal_hours: int
    database_name: str
    volumes: Mapping[str, str]
    backup: Backup | None
    protect_data: bool

    @property
    def prefix(self) -> str:
        """What the names of this stack's containers, networks and volumes begin with, so that stacks can share a host."""
        return f"kopano-{self.stack}"

    @property
    def tls_mode(self) -> str:
        """`acme`, `proxy`, or empty: the proxy has the own certificate or one of the stack's authority."""
        return self.tls.mode if self.tls else ""

    @property
    def http_address(self) -> str:
        """The addresses of the Docker host on which HTTP is published, separated by blanks."""
        return (self.tls and self.tls.bind_address) or self.bind_address

    @property
    def web_ports(self) -> Mapping[str, int]:
        """Setting -> port of the Docker host on which web browsers, or the proxy in front of them, are answered."""
        http = {"httpPort": self.http_port}
        return http if self.tls_mode == "proxy" else {**http, "httpsPort": self.https_port}

    def listen(self, port: int) -> str:
        """Where a service of Kopano's listens, in its own words: on all addresses of its container that there may be."""
        return f"*:{port}" if self.ipv6 else f"0.0.0.0:{port}"

    @property
    def authority(self) -> str:
        """Who signs what clients are shown (PEM, perhaps several), where that is neither the stack's own authority nor public."""
        return "".join(dict.fromkeys(each.authority for each in (self.certificate, self.tls) if each))

    def data_volume(self, name: str) -> str:
        """The name of a data volume on the Docker host."""
        return self.volumes.get(name, f"{self.prefix}-{name}")

    @property
    def enabled(self) -> frozenset[str]:
        """The blocks that run."""
        return enabled(self.blocks, backup=self.backup is not None, fronted=self.tls_mode == "proxy")

    @property
    def running(self) -> tuple[str, ...]:
        """The blocks that run, in the order of `BLOCKS`."""
        return tuple(block for block in BLOCKS if block in self.enabled)

    @property
    def published(self) -> Mapping[str, int]:
        """Service -> port on the Docker host, of what is published."""
        if self.publish:
            return self.publish
        running = self.enabled
        return {name: service.default for name, service in SERVICES.items() if service.default and service.block in running}

    def keepers(self, secret: str) -> dict[str, str] | None:
        """What a random value of this secret is kept for (`keepers`). None for the first generation: a value that was made
        before it had any would be replaced otherwise."""
        generation = self.generations.get(secret, 1)
        return {"generation": str(generation)} if generation > 1 else None

    def suffix(self, secret: str) -> str:
        """What the names of this secret's keys end with, which have no `keepers`: another name is another key."""
        generation = self.generations.get(secret, 1)
        return f"-{generation}" if generation > 1 else ""

    @property
    def origin(self) -> str:
        """The URL of the deployment without a path; the port only where it is not HTTPS's own."""
        return f"https://{self.fqdn}" + ("" if self.https_port == 443 else f":{self.https_port}")


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def _problem(key: Key, item: str, value: object, allowed: str) -> str:
    where = f"{NAMESPACE}:{key.name}" + (f".{item}" if item else "")
    if not isinstance(value, str) or not value.isprintable():
        value = json.dumps(value)
    return f"{where} = {value or '(empty)'}: {allowed}, for example {key.example}"


def validate(stack: str, values: Mapping[str, Any], secret_keys: frozenset[str] = frozenset()) -> Settings:
    """Turn the raw values of a stack file into `Settings`.

    Arguments: the stack's name; key without namespace -> raw value (strings, or decoded JSON for maps); the keys whose values
    are secret and must not be shown. Raises `SettingsError` with every mistake in it.
    """
    problems: list[str] = []
    parsed: dict[str, Any] = {}
    known = {key.name for key in KEYS}
    for name in sorted(set(values) - known):
        problems.append(f"{NAMESPACE}:{name}: there is no such setting, there are {', '.join(sorted(known))}")
    for key in KEYS:
        raw = values.get(key.name, key.default)
        try:
            parsed[_snake(key.name)] = key.parse(raw)
        except RefusedError as error:
            shown = "[secret]" if key.name in secret_keys else (raw if error.shown is None else error.shown)
            problems.append(_problem(key, error.item, shown, error.allowed))
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,39}", stack):
        problems.append(
            f"stack name {stack}: must be at most 40 lower-case letters, digits and hyphens, since containers carry it,"
            " for example prod"
        )
    problems += _contradictions(parsed, secret_keys - set(values))
    if problems:
        raise SettingsError(
            f"The settings of stack {stack} cannot be used (nothing was changed):\n"
            + "\n".join(f"  - {problem}" for problem in problems)
        )
    if not parsed["ldap_base_dn"]:
        parsed["ldap_base_dn"] = ",".join(f"dc={label}" for label in parsed["fqdn"].split("."))
    return Settings(stack=stack, environment_is_secret="environment" in secret_keys, **parsed)


def _contradictions(parsed: Mapping[str, Any], hidden: frozenset[str]) -> list[str]:
    """Mistakes that only show between settings that are fine by themselves."""
    problems = []
    ports: dict[int, str] = {}
    tls: Tls | None = parsed.get("tls")
    published = {"httpPort": parsed.get("http_port")}
    if not (tls and tls.mode == "proxy"):
        published["httpsPort"] = parsed.get("https_port")
    published |= {f"publish.{service}": port for service, port in parsed.get("publish", {}).items()}
    problems += _block_contradictions(parsed, hidden)
    problems += _tls_contradictions(parsed)
    for name, port in published.items():
        if port is None:
            continue
        if port in ports:
            problems.append(
                f"{NAMESPACE}:{name} = {port}: is taken by {NAMESPACE}:{ports[port]}, each needs a port of its own,"
                f" for example {port + 1}"
            )
        ports.setdefault(port, name)
    hours, renewal = parsed.get("certificate_hours"), parsed.get("certificate_renewal_hours")
    if hours is not None and renewal is not None and renewal > hours:
        problems.append(
            f"{NAMESPACE}:certificateRenewalHours = {renewal}: must not be more than {NAMESPACE}:certificateHours, {hours},"
            f" for example {max(1, hours // 3)}"
        )
    if parsed.get("image_source") == "lab":
        from components.images import LAB_LACKS, LAB_WEBAPP_PLUGINS

        strangers = [] if "webapp" in parsed.get("images", {}) else parsed.get("webapp_plugins", ())
        for plug_in in [each for each in strangers if each not in LAB_WEBAPP_PLUGINS]:
            problems.append(
                f"{NAMESPACE}:webappPlugins = {plug_in}: the lab has stand-ins for {' and '.join(LAB_WEBAPP_PLUGINS)} alone, for"
                f" example {LAB_WEBAPP_PLUGINS[0]}"
            )
        for block in enabled(parsed.get("blocks", {})).intersection(LAB_LACKS) - frozenset(parsed.get("images", {})):
            problems.append(f"{NAMESPACE}:blocks.{block} = true: the lab has no stand-in for it, for example false")
    if parsed.get("image_source") == "lab" and parsed.get("https_port") == KWM_PORT:
        problems.append(f"{NAMESPACE}:httpsPort = {KWM_PORT}: the proxy serves the meetings' bridge there, for example 2015")
    if parsed.get("image_source") == "published":
        from components.images import missing_tags, unused_tags

        if parsed.get("https_port") not in (None, *PUBLISHED_PROXY_PORTS):
            allowed = " or ".join(map(str, PUBLISHED_PROXY_PORTS))
            problems.append(
                f"{NAMESPACE}:httpsPort = {parsed['https_port']}: must be {allowed}, where the published proxy answers to the"
                " services inside the stack too, for example 443"
            )
        tags = parsed.get("image_tags", {})
        needed = enabled(parsed.get("blocks", {})) - frozenset(parsed.get("images", {}))
        for image in missing_tags(tags, needed, demo_users=bool(parsed.get("demo_users"))):
            problems.append(
                f"{NAMESPACE}:imageTags.{image} = (empty): the release of kopano_{image} must be named, or latest to"
                f" take what is newest, for example {{{image}: 11.0.2}}"
            )
        for image, allowed in unused_tags(tags).items():
            problems.append(f"{NAMESPACE}:imageTags.{image}: no such image, there are {allowed}, for example core")
    return problems


def _block_contradictions(parsed: Mapping[str, Any], hidden: frozenset[str]) -> list[str]:
    """Switches that contradict each other or other settings. `hidden` are set, but to secrets that cannot be read
    here."""
    problems = []
    switches = parsed.get("blocks", {})
    running = enabled(switches)

    def mistake(setting: str, trouble: str, example: str) -> None:
        problems.append(f"{NAMESPACE}:{setting}: {trouble}, for example {example}")

    for block, needed in NEEDS.items():
        if switches.get(block) and needed not in running:
            mistake(f"blocks.{block}", f"needs the block {needed}, which is off", f"{{{block}: false}}")
    for block, setting in (("db", "database"), ("ldap", "directory"), ("mail", "smtpServer")):
        if _snake(setting) not in parsed:
            continue  # wrong in itself, which is said already
        given = setting in hidden or parsed[_snake(setting)] not in (None, "")
        if block not in running and not given:
            example = next(key.example for key in KEYS if key.name == setting)
            mistake(setting, f"must say what takes the place of the block {block}, which is off", example)
        if block in running and given:
            mistake(setting, f"contradicts the block {block}, which is on", f"kopano:blocks: {{{block}: false}}")
    directory: Directory | None = parsed.get("directory")
    if directory and directory.kind == "activeDirectory" and "password-self-service" in running:
        trouble = "cannot change passwords in Active Directory, where users have their own ways"
        mistake("blocks.password-self-service", trouble, "{password-self-service: false}")
    if parsed.get("demo_users") and "ldap" not in running:
        mistake("demoUsers", "needs the block ldap, which is off", "false")
    for secret in parsed.get("generations", {}):
        owner = ROTATED[secret]
        if owner and owner not in running:
            trouble = f"belongs to the block {owner}, which is off: change the password of the external one where it is set"
            mistake(f"generations.{secret}", trouble, "leave it out")
    for service in parsed.get("publish", {}):
        if SERVICES[service].block not in running:
            mistake(f"publish.{service}", f"needs the block {SERVICES[service].block}, which is off", "leave it out")
    relay = parsed.get("relay")
    for setting, wanted in (("dkim", bool(parsed.get("dkim"))), ("relay", bool(relay) or "relay" in hidden)):
        if wanted and "mail" not in running:
            mistake(setting, "needs the block mail, which is off", "leave it out")
    if relay and bool(relay.user) != bool(relay.password):
        mistake("relay", "must have both of user and password, or neither", "{host: smtp.example.net, port: 25}")
    if "mdm" in parsed.get("webapp_plugins", ()) and "zpush" not in running:
        mistake("webappPlugins = mdm", "needs the block zpush, which is off", "leave it out")
    if parsed.get("meet_guests") and "meet" not in running:
        mistake("meetGuests", "needs the block meet, which is off", "false")
    return problems


def _tls_contradictions(parsed: Mapping[str, Any]) -> list[str]:
    """Mistakes in who answers browsers' TLS, and with what."""
    tls: Tls | None = parsed.get("tls")
    own: Certificate | None = parsed.get("certificate")
    problems = []

    def mistake(setting: str, trouble: str, example: str) -> None:
        problems.append(f"{NAMESPACE}:{setting}: {trouble}, for example {example}")

    if tls and tls.mode == "acme":
        if not tls.email:
            mistake("tls.email", "must be whom the authority tells of trouble", "admin@example.org")
        if tls.authority and not tls.directory:
            mistake(
                "tls.authority", "belongs to another authority than Let's Encrypt, whose directory must be named", "leave it out"
            )
        if (parsed.get("http_port"), parsed.get("https_port")) != (80, 443):
            mistake("tls.mode = acme", "needs httpPort 80 and httpsPort 443, where the authority looks", "{mode: proxy, ...}")
        if not tls.directory and parsed.get("image_source") == "lab" and "web" not in parsed.get("images", {}):
            mistake("tls.mode = acme", "the lab asks no public authority: name another one's directory, or leave it out", "{}")
    if tls and tls.mode == "proxy":
        if not tls.trusted_proxies:
            mistake("tls.trustedProxies", "must name the proxy in front, who alone may speak to this one", "192.0.2.7")
        listens = tls.bind_address or parsed.get("bind_address")
        local = listens and all(ipaddress.ip_address(each).is_loopback for each in listens.split())
        if HOST_ITSELF in tls.trusted_proxies and listens and not local:
            # The engine hands on what comes to a published port from some ways under this address, whoever sent it.
            mistake("tls.trustedProxies", f"must not name the {HOST_ITSELF} unless tls.bindAddress is its loopback", "127.0.0.1")
    of_acme, of_proxy = ("email", "directory", "authority"), ("trusted_proxies", "bind_address")
    for field, mode in [*dict.fromkeys(of_acme, "acme").items(), *dict.fromkeys(of_proxy, "proxy").items()]:
        if tls and tls.mode != mode and getattr(tls, field):
            mistake(f"tls.{parsers.camel(field)}", f"belongs to mode {mode}", "leave it out")
    host = parsed.get("fqdn")
    if own and host and (trouble := certificates.trouble(own.certificate, own.key, host, own.authority)):
        mistake("certificate", f"cannot be used for {host} ({trouble})", "one from your authority for that name")
    return problems


def load() -> Settings:
    """The settings of the stack that is being deployed, from Pulumi's configuration. Raises `SettingsError`."""
    config = pulumi.Config(NAMESPACE)
    set_keys = {
        name.removeprefix(f"{NAMESPACE}:") for name in pulumi.runtime.config.get_config_env() if name.startswith(f"{NAMESPACE}:")
    }
    types = {key.name: key.type for key in KEYS}
    values: dict[str, Any] = {}
    for name in set_keys | set(types):
        raw = config.get(name)
        if raw is not None:
            values[name] = _decoded(raw) if types.get(name) == "object" else raw
    secret = frozenset(name for name in values if pulumi.runtime.is_config_secret(f"{NAMESPACE}:{name}"))
    return validate(pulumi.get_stack(), values, secret)


def _decoded(raw: str) -> Any:
    try:
        return json.loads(raw)
    except json.JSONDecodeError:
        return raw
