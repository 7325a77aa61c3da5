"""The Kopano core."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.settings import PUBLISHABLE, Settings
from components.volumes import DataVolume, ScratchVolume, VolumeArgs
from components.workload import KEYS_PATH, Health, KeyBundle, Mount, Port, Workload, WorkloadArgs

SOCKETS_PATH = "/run/kopano"
DATA_PATH = "/kopano/data"

# What the start scripts of the core images do as root before they hand over to the user kopano: own and read its files,
# change to it, and (their init process) signal it. Ports below 1024 need a capability on older engines.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
)


@dataclass(frozen=True)
class DatabaseAccess:
    """How the core reaches its database."""

    host: pulumi.Input[str]
    port: pulumi.Input[int]
    database: pulumi.Input[str]
    user: pulumi.Input[str]
    password: pulumi.Input[str]


@dataclass(frozen=True)
class DirectoryAccess:
    """How the core reads the directory."""

    uri: pulumi.Input[str]
    base_dn: pulumi.Input[str]
    bind_dn: pulumi.Input[str]
    bind_password: pulumi.Input[str]


@dataclass(frozen=True)
class CoreArgs:
    """Arguments of `Core`: the settings, the core image's id, the networks to join, the server's keys, and access to the
    database and the directory."""

    settings: Settings
    image: pulumi.Input[str]
    kopano_network: pulumi.Input[str]
    web_network: pulumi.Input[str]
    ldap_network: pulumi.Input[str]
    server_keys: KeyBundle
    database: DatabaseAccess
    directory: DirectoryAccess


class Core(pulumi.ComponentResource):
    """`kopano:core:Core`: the Kopano server.

    Creates the data volume, the volume of the sockets by which other blocks on the host reach the server, and the container
    `kopano_server`. Outputs: `server` (its host name), `sockets` (name of the volume of sockets), `volumes` (logical name ->
    name of data volumes), `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: CoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:core:Core", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        data = DataVolume(
            f"{name}-data",
            VolumeArgs(f"{settings.prefix}-kopanodata", settings.stack, protect=settings.protect_data),
            child,
        ).volume
        self.sockets = ScratchVolume(
            f"{name}-sockets", VolumeArgs(f"{settings.prefix}-kopanosocket", settings.stack), child
        ).volume
        server = Workload(
            f"{name}-server",
            WorkloadArgs(
                settings=settings,
                block="server",
                image=args.image,
                hostname="kopano_server",
                environment=_server_environment(args),
                secrets={
                    "KCCONF_LDAP_LDAP_BIND_PASSWD": args.directory.bind_password,
                    "KCCONF_SERVER_MYSQL_PASSWORD": args.database.password,
                },
                networks=[args.kopano_network, args.ldap_network, args.web_network],
                mounts=[Mount(data, DATA_PATH, writable=True), Mount(self.sockets, SOCKETS_PATH, writable=True)],
                keys=args.server_keys,
                ports=[
                    Port(settings.publish[service], PUBLISHABLE[service])
                    for service in ("server", "serverTls")
                    if service in settings.publish
                ],
                machine_id=True,
                capabilities=CAPABILITIES,
                # The image waits for the database by itself, so the engine need not: both start at the same time.
                health=Health("/kopano/healthcheck.sh", start=120),
            ),
            child,
        )
        self.server = pulumi.Output.from_input(server.alias)
        self.volumes = {"kopanodata": data}
        self.containers = {server.alias: server.container}
        self.register_outputs(
            {"server": self.server, "sockets": self.sockets, "volumes": self.volumes, "containers": self.containers}
        )


def _server_environment(args: CoreArgs) -> dict[str, pulumi.Input[str]]:
    settings = args.settings
    return {
        "SERVICE_TO_START": "server",
        "KCCONF_ADMIN_DEFAULT_STORE_LOCALE": settings.mailbox_locale,
        "KCCONF_LDAP_LDAP_BIND_USER": args.directory.bind_dn,
        "KCCONF_LDAP_LDAP_SEARCH_BASE": args.directory.base_dn,
        "KCCONF_LDAP_LDAP_URI": args.directory.uri,
        "KCCONF_SERVER_ATTACHMENT_PATH": f"{DATA_PATH}/attachments",
        "KCCONF_SERVER_COREDUMP_ENABLED": "no",
        # Kopano switches IMAP off for everybody unless it is told which features to switch off.
        "KCCONF_SERVER_DISABLED_FEATURES": "pop3",
        "KCCONF_SERVER_LOG_LEVEL": "3",
        "KCCONF_SERVER_LOG_TIMESTAMP": "0",
        "KCCONF_SERVER_MYSQL_DATABASE": args.database.database,
        "KCCONF_SERVER_MYSQL_HOST": args.database.host,
        "KCCONF_SERVER_MYSQL_PORT": pulumi.Output.from_input(args.database.port).apply(str),
        "KCCONF_SERVER_MYSQL_USER": args.database.user,
        "KCCONF_SERVER_PROXY_HEADER": "*",
        # Listeners default to loopback, where no other block reaches them.
        "KCCONF_SERVER_SERVER_LISTEN": f"0.0.0.0:{PUBLISHABLE['server']}",
        "KCCONF_SERVER_SERVER_LISTEN_TLS": f"0.0.0.0:{PUBLISHABLE['serverTls']}",
        "KCCONF_SERVER_SERVER_NAME": "Kopano",
        "KCCONF_SERVER_SERVER_SSL_CA_FILE": f"{KEYS_PATH}/ca.pem",
        "KCCONF_SERVER_SERVER_SSL_KEY_FILE": f"{KEYS_PATH}/kopano_server.pem",
        # 0: nothing that users deleted is purged behind their back; the scheduler's purge says after how many days.
        "KCCONF_SERVER_SOFTDELETE_LIFETIME": "0",
        "KCCONF_SERVER_SSLKEYS_PATH": f"{KEYS_PATH}/clients",
        "KCCONF_SERVER_SYNC_GAB_REALTIME": "no",
        "KCCONF_SERVER_SYSTEM_EMAIL_ADDRESS": f"postmaster@{settings.fqdn}",
        "KCCONF_SERVER_USER_PLUGIN": "ldap",
        "KCCONF_SERVER_USER_PLUGIN_CONFIG": "/tmp/kopano/ldap.cfg",
        "KCCOMMENT_LDAP_1": "!include /usr/share/kopano/ldap.active-directory.cfg",
        "KCUNCOMMENT_LDAP_1": "!include /usr/share/kopano/ldap.openldap.cfg",
    }
