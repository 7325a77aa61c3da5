"""The Kopano core: the server and the services that stand around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.db import DatabaseAccess
from components.ldap import DirectoryAccess, server_variables
from components.mail import SmtpAccess
from components.settings import SERVICES, Settings
from components.volumes import ScratchVolume, VolumeArgs
from components.workload import (
    HAPROXY_PATH,
    KEYS_PATH,
    SOCKETS_PATH,
    SPAMD_PATH,
    TRUSTED,
    Health,
    KeyBundle,
    Mount,
    Workload,
    WorkloadArgs,
    any_address,
    greets,
    http_ok,
    published,
    resource,
)

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

# The images' own check only sees that a process is there. These look at what it offers; bash is in all of the core images.
IMAGE_CHECK = "/kopano/healthcheck.sh"

# The server runs on when the directory is away or refuses the bind, and the image's check does not ask it either. A deployment
# with a wrong address or password must not pass for a good one, so until it has succeeded once in this container, the check
# brings the users in, after which they can log in too. Not again later: that is the scheduler's.
SERVER_CHECK = f"{IMAGE_CHECK} && {{ [ -e /tmp/.users-known ] || {{ kopano-admin --sync && touch /tmp/.users-known; }}; }}"
SYNC_SECONDS = 120


def tls_front_files(settings: Settings) -> dict[str, str]:
    """The configuration of the front for IMAPS and POP3S. Its health is that a client gets through to the gateway's greeting."""
    # Who signed an own certificate is not always known here; it was looked at when the settings were.
    verify = "none" if settings.certificate else f"required ca-file {HAPROXY_PATH}/ca.pem"
    written = resource("gateway-tls.cfg", FOLDER=HAPROXY_PATH, FQDN=settings.fqdn, VERIFY=verify, ANY=any_address(settings))
    return {"haproxy.cfg": written}


@dataclass(frozen=True)
class CoreArgs:
    """Arguments of `Core`: the settings, block -> image id, the networks to join, the data volumes, reader -> its keys, and
    access to the database, the directory and the mail server."""

    settings: Settings
    images: Mapping[str, pulumi.Input[str]]
    kopano_network: pulumi.Input[str]
    web_network: pulumi.Input[str]
    ldap_network: pulumi.Input[str]
    data: Mapping[str, pulumi.Input[str]]
    keys: Mapping[str, KeyBundle]
    database: DatabaseAccess
    directory: DirectoryAccess
    smtp: SmtpAccess


class Core(pulumi.ComponentResource):
    """`kopano:core:Core`: the Kopano server, dagent, spooler, gateway (with a front for IMAPS and POP3S), ical, monitor, search,
    grapi, kapi, and spamd if it is switched on.

    Creates the volume of the sockets by which blocks on one host reach the server, and a container for each service. Outputs:
    `server`, `dagent`, `gateway` (host names), `sockets` (name of the volume of sockets), `containers` (network alias ->
    container name). `ready` is the resource that is there when the server is.
    """

    def __init__(self, name: str, args: CoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:core:Core", name, None, opts)
        self._name, self._args = name, args
        self._ready: list[pulumi.Resource] = []
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        self.sockets = ScratchVolume(
            f"{name}-sockets", VolumeArgs(f"{settings.prefix}-kopanosocket", settings.stack), child
        ).volume
        self.containers: dict[str, pulumi.Output[str]] = {}
        data = Mount(args.data["kopanodata"], DATA_PATH, writable=True)

        server = self._service(
            "server",
            _server_environment(args),
            Health(SERVER_CHECK, start=120, timeout=SYNC_SECONDS),
            secrets={
                "KCCONF_LDAP_LDAP_BIND_PASSWD": args.directory.bind_password,
                "KCCONF_SERVER_MYSQL_PASSWORD": args.database.password,
            },
            networks=[args.ldap_network, args.web_network],
            mounts=[data],
        )
        # They wait for the server by themselves, but each that waits holds one of the engine's few places (four for each core):
        # with all of them taken, the server for which they wait would never be started.
        self._ready = [server]
        dagent = self._service("dagent", _dagent_environment(), Health(greets(2003, "220*")))
        gateway = self._service(
            "gateway", _gateway_environment(args.settings, server.alias), Health(greets(143, '"* OK"*')), keys=None
        )
        self._service("spooler", _spooler_environment(args), Health(IMAGE_CHECK), hostname="spooler", domainname=settings.fqdn)
        self._service("monitor", _logging("MONITOR"), Health(IMAGE_CHECK))
        self._service(
            "search",
            {**_logging("SEARCH"), "KCCONF_SEARCH_INDEX_PATH": f"{DATA_PATH}/search/"},
            Health(IMAGE_CHECK),
            mounts=[data],
        )
        self._service(
            "ical",
            {
                **_logging("ICAL"),
                "KCCONF_ICAL_ICAL_LISTEN": args.settings.listen(SERVICES["ical"].port),
                "KCCONF_ICAL_SERVER_SOCKET": f"http://{server.alias}:{SERVICES['server'].port}/",
            },
            Health(IMAGE_CHECK),
            keys=None,
            networks=[args.web_network],
            mounts=[data],
        )
        self._service(
            "grapi",
            {
                "KCCONF_GRAPI_ENABLE_EXPERIMENTAL_ENDPOINTS": "no",
                "KCCONF_GRAPI_INSECURE": "no",
                "KCCONF_GRAPI_PERSISTENCY_PATH": "/var/lib/kopano-grapi",
            },
            Health(IMAGE_CHECK),
            keys=None,
            networks=[args.web_network],
            mounts=[Mount(args.data["kopanograpi"], "/var/lib/kopano-grapi", writable=True)],
        )
        self._service(
            "kapi",
            _kapi_environment(settings),
            Health("curl -fsS -o /dev/null http://127.0.0.1:8039/health-check", longer=120),
            networks=[args.web_network],
            mounts=[data],
        )
        if "spamd" in settings.enabled:
            spamd = Mount(args.data["kopanospamd"], SPAMD_PATH, writable=True)
            self._service("spamd", {"KCCONF_SPAMD_SA_GROUP": "kopano"}, Health(IMAGE_CHECK), keys=None, mounts=[spamd])
        self._tls_front()
        self.ready: pulumi.Resource = server
        self.server = pulumi.Output.from_input(server.alias)
        self.dagent = pulumi.Output.from_input(dagent.alias)
        self.gateway = pulumi.Output.from_input(gateway.alias)
        self.register_outputs(
            {
                "server": self.server,
                "dagent": self.dagent,
                "gateway": self.gateway,
                "sockets": self.sockets,
                "containers": self.containers,
            }
        )

    def _service(
        self,
        block: str,
        environment: Mapping[str, pulumi.Input[str]],
        health: Health,
        *,
        secrets: Mapping[str, pulumi.Input[str]] | None = None,
        networks: Sequence[pulumi.Input[str]] = (),
        mounts: Sequence[Mount] = (),
        keys: str | None = "own",
        hostname: str | None = None,
        domainname: str | None = None,
    ) -> Workload:
        """One service of the core image, on the core network, with the sockets and, unless `keys` is None, its own keys."""
        args = self._args
        workload = Workload(
            f"{self._name}-{block}",
            WorkloadArgs(
                settings=args.settings,
                block=block,
                image=args.images[block],
                hostname=hostname or ("kopano_server" if block == "server" else None),
                domainname=domainname,
                environment={"SERVICE_TO_START": block, **environment},
                secrets=secrets or {},
                networks=[args.kopano_network, *networks],
                mounts=[Mount(self.sockets, SOCKETS_PATH, writable=True), *mounts],
                keys=args.keys[block] if keys else None,
                ports=published(args.settings, block),
                machine_id=True,
                capabilities=CAPABILITIES,
                health=health,
                after=self._ready,
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.containers[workload.alias] = workload.container
        return workload

    def _tls_front(self) -> None:
        """IMAPS and POP3S: the published gateway image has no certificate to offer."""
        args = self._args
        front = Workload(
            f"{self._name}-gateway-tls",
            WorkloadArgs(
                settings=args.settings,
                block="gateway-tls",
                image=args.images["gateway-tls"],
                networks=[args.kopano_network],
                keys=args.keys["gateway-tls"],
                keys_path=HAPROXY_PATH,
                ports=published(args.settings, "gateway-tls"),
                capabilities=["CAP_NET_BIND_SERVICE"],
                # It waits for the gateway by itself: its health is that the gateway answers through it.
                health=Health(http_ok(8405, "/health")),
                after=self._ready,
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.containers[front.alias] = front.container


def _logging(file: str) -> dict[str, pulumi.Input[str]]:
    return {f"KCCONF_{file}_LOG_LEVEL": "3", f"KCCONF_{file}_LOG_TIMESTAMP": "0"}


def _server_environment(args: CoreArgs) -> dict[str, pulumi.Input[str]]:
    settings = args.settings
    return {
        **_logging("SERVER"),
        "KCCONF_ADMIN_DEFAULT_STORE_LOCALE": settings.mailbox_locale,
        "KCCONF_LDAP_LDAP_BIND_USER": args.directory.bind_dn,
        "KCCONF_LDAP_LDAP_SEARCH_BASE": args.directory.base_dn,
        "KCCONF_LDAP_LDAP_URI": args.directory.uri,
        "KCCONF_SERVER_ATTACHMENT_PATH": f"{DATA_PATH}/attachments",
        "KCCONF_SERVER_COREDUMP_ENABLED": "no",
        # Kopano switches IMAP and POP3 off for everybody unless it is told which features to switch off: none.
        "KCCONF_SERVER_DISABLED_FEATURES": "",
        "KCCONF_SERVER_ENABLE_SSO": "yes",
        # 0: the server goes on while the issuer cannot be reached. Otherwise it ends after a minute, with it all mail.
        "KCCONF_SERVER_KCOIDC_INITIALIZE_TIMEOUT": "0",
        "KCCONF_SERVER_KCOIDC_INSECURE_SKIP_VERIFY": "no",
        "KCCONF_SERVER_KCOIDC_ISSUER_IDENTIFIER": settings.origin,
        "KCCONF_SERVER_MYSQL_DATABASE": args.database.name,
        "KCCONF_SERVER_MYSQL_HOST": args.database.host,
        "KCCONF_SERVER_MYSQL_PORT": pulumi.Output.from_input(args.database.port).apply(str),
        "KCCONF_SERVER_MYSQL_USER": args.database.user,
        "KCCONF_SERVER_PROXY_HEADER": "*",
        # Listeners default to loopback, where no other block reaches them.
        "KCCONF_SERVER_SERVER_LISTEN": settings.listen(SERVICES["server"].port),
        "KCCONF_SERVER_SERVER_LISTEN_TLS": settings.listen(SERVICES["serverTls"].port),
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
        **server_variables(settings),
        "SSL_CERT_FILE": f"{KEYS_PATH}/{TRUSTED if settings.authority else 'ca.pem'}",
    }


def _dagent_environment() -> dict[str, pulumi.Input[str]]:
    return {
        **_logging("DAGENT"),
        "KCCONF_AUTORESPOND_SENDDB": "/tmp/autorespond.db",
        "KCCONF_DAGENT_AUTORESPONDER": "/usr/local/bin/kopano-autorespond",
        "KCCONF_DAGENT_LMTP_LISTEN": "0.0.0.0:2003",
        "KCCONF_DAGENT_SSLKEY_FILE": f"{KEYS_PATH}/kopano_dagent.pem",
    }


def _gateway_environment(settings: Settings, server: str) -> dict[str, pulumi.Input[str]]:
    return {
        **_logging("GATEWAY"),
        "KCCONF_GATEWAY_IMAP_LISTEN": settings.listen(SERVICES["imap"].port),
        "KCCONF_GATEWAY_POP3_LISTEN": settings.listen(SERVICES["pop3"].port),
        "KCCONF_GATEWAY_SERVER_SOCKET": f"http://{server}:{SERVICES['server'].port}/",
    }


def _spooler_environment(args: CoreArgs) -> dict[str, pulumi.Input[str]]:
    return {
        **_logging("SPOOLER"),
        "KCCONF_SPOOLER_SMTP_PORT": str(args.smtp.port),
        "KCCONF_SPOOLER_SMTP_SERVER": args.smtp.host,
        "KCCONF_SPOOLER_SSLKEY_FILE": f"{KEYS_PATH}/kopano_spooler.pem",
    }


def _kapi_environment(settings: Settings) -> dict[str, pulumi.Input[str]]:
    return {
        "DEFAULT_PLUGIN_PUBS_SECRET_KEY_FILE": f"{KEYS_PATH}/kapid-pubs-secret.key",
        "KCCONF_KAPID_INSECURE": "no",
        "KCCONF_KAPID_LISTEN": "0.0.0.0:8039",
        "KCCONF_KAPID_LOG_LEVEL": "info",
        "KCCONF_KAPID_OIDC_ISSUER_IDENTIFIER": settings.origin,
        "KCCONF_KAPID_PLUGIN_GRAPI_SOCKET_PATH": "/var/run/kopano/grapi",
        "KCCONF_KAPID_PLUGIN_KVS_DB_DATASOURCE": f"{DATA_PATH}/kapi-kvs/kvs.db",
        "SSL_CERT_FILE": f"{KEYS_PATH}/ca.pem",
    }
