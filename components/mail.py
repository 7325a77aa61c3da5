"""The mail server: what the world speaks to, and what sends the users' mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.blocks import BLOCKS
from components.ldap import AUTHORITY_FILE, DirectoryAccess, authority_files, schema
from components.settings import SERVICES, Settings
from components.workload import (
    KEYS_PATH,
    KOPANO_USER,
    SPAMD_PATH,
    Health,
    KeyBundle,
    Mount,
    Workload,
    WorkloadArgs,
    published,
    resource,
)

OVERRIDES_PATH = "/tmp/docker-mailserver"
RELAY_AUTHORITY_FILE = "relay-ca.pem"


def filters(settings: Settings) -> dict[str, str]:
    """Filters of the directory, as Postfix asks it: %s is the address, or the domain, that a mail is for. Whoever has a log-in
    name is a user; a group is none, and dagent would refuse it, so it is asked for by a filter of its own."""
    looks = schema(settings)
    mail, alias = looks.mail, looks.alias
    return {
        "LDAP_QUERY_FILTER_ALIAS": f"(&{looks.user}({looks.login}=*)({alias}=%s))",
        "LDAP_QUERY_FILTER_DOMAIN": f"(|({mail}=*@%s)({alias}=*@%s))",
        "LDAP_QUERY_FILTER_GROUP": f"(&{looks.group}(|({mail}=%s)({alias}=%s)))",
        "LDAP_QUERY_FILTER_USER": f"(&{looks.user}({looks.login}=*)({mail}=%s))",
    }


LEARNING = "0 4 * * *"
"""When the spam filter learns, as cron writes it."""

MEMBERS = "group-members.invalid"
"""A domain that exists inside Postfix alone: NAME@ it is the member of a group whose log-in name is NAME."""


def overrides(settings: Settings, trusted: pulumi.Input[str], directory: DirectoryAccess) -> dict[str, pulumi.Input[str]]:
    """Files with which the mail server's own settings are changed, path -> content. `trusted` are the networks that may relay, as
    Postfix writes them; `directory` is where the members of groups are looked up, with a password that makes these files secret.

    Nobody may lose a mail: while the directory does not answer, Kopano's dagent refuses a recipient for good (503 5.1.1), and
    while dagent is away, its name does not exist (5.4.4). Either would bounce. Recipients were looked up when the mail was taken,
    so both only ever mean: later.
    """
    tables = ("ldap:/etc/postfix/ldap-aliases.cf", "ldap:/etc/postfix/ldap-groups.cf", f"ldap:{OVERRIDES_PATH}/ldap-members.cf")
    main = [
        f"lmtp_reply_filter = regexp:{OVERRIDES_PATH}/dagent-replies.regexp",
        f"lmtp_delivery_status_filter = regexp:{OVERRIDES_PATH}/dagent-status.regexp",
        "minimal_backoff_time = 60s",
        "queue_run_delay = 60s",
        # Otherwise the gateway is asked for user@host where it knows user.
        "smtpd_sasl_local_domain =",
        f"virtual_alias_maps = {', '.join(tables)}",
        # A mail for a larger group would wait until somebody raises it.
        "virtual_alias_expansion_limit = 100000",
        *_verifying(settings),
        f"transport_maps = inline:{{ {{ {MEMBERS} = error:5.1.1 is in the group, but is no user who gets mail }} }}",
    ]
    # The published image takes any recipient from who has logged in; one who does not exist would wait for days at dagent.
    master = [f"{service}/inet/smtpd_reject_unlisted_recipient = yes" for service in ("submission", "smtps")]
    return {
        # The last line counts only with an end of line.
        "postfix-main.cf": pulumi.Output.concat("\n".join(main), "\nmynetworks = ", trusted, "\n"),
        "postfix-master.cf": "\n".join([*master, ""]),
        **({RELAY_AUTHORITY_FILE: settings.relay.authority} if settings.relay and settings.relay.authority else {}),
        **_members(settings, directory),
        **_signing(settings, trusted),
        **_learning(settings),
        "dagent-replies.regexp": "/^503([ -])5\\.1\\.1(.*)$/ 451${1}4.1.1${2}\n",
        "dagent-status.regexp": "/^5\\.4\\.4 (.*)$/ 4.4.4 ${1}\n",
    }


def _verifying(settings: Settings) -> list[str]:
    """What keeps mail, and the password, from another server that answers in the smarthost's name: the published image encrypts
    and does not look at the certificate."""
    relay = settings.relay
    if relay is None or not relay.verified:
        return []
    own = [f"smtp_tls_CAfile = {OVERRIDES_PATH}/{RELAY_AUTHORITY_FILE}"] if relay.authority else []
    return ["smtp_tls_security_level = secure", *own]


def _members(settings: Settings, directory: DirectoryAccess) -> dict[str, pulumi.Input[str]]:
    """The tables by which a group becomes its members, in two steps, since the directory knows them by their log-in names: the
    first gives NAME@`MEMBERS` for each, the second turns that into the user's address.

    A group without members is found in no table, so nobody can write to it. What names no user is told to the sender.
    """
    looks = schema(settings)
    access: dict[str, pulumi.Input[str]] = {
        "server_host": directory.uri,
        "search_base": directory.base_dn,
        "bind": "yes",
        "bind_dn": directory.bind_dn,
        "bind_pw": pulumi.Output.secret(directory.bind_password),
        "start_tls": settings.environment.get("mail", {}).get("LDAP_START_TLS", "no"),
        "version": "3",
        "timeout": "5",
    }
    groups = {
        "query_filter": filters(settings)["LDAP_QUERY_FILTER_GROUP"],
        # By log-in name, or as entries of the directory, which may be groups again (but not for ever).
        "result_attribute": "memberUid",
        "special_result_attribute": "member",
        "leaf_result_attribute": looks.login,
        "recursion_limit": "20",
        "result_format": f"%s@{MEMBERS}",
    }
    members = {"domain": MEMBERS, "query_filter": f"(&{looks.user}({looks.login}=%u))", "result_attribute": looks.mail}
    tables: dict[str, dict[str, str]] = {"groups": groups, "members": members}
    authority = authority_files(settings)
    if authority:
        access |= {"tls_ca_cert_file": f"{OVERRIDES_PATH}/{AUTHORITY_FILE}", "tls_require_cert": "yes"}
    if authority or looks.mail != "mail":
        # The image's own tables know no authority, and no other attribute.
        kinds = {"users": "USER", "aliases": "ALIAS", "domains": "DOMAIN"}
        tables |= {
            table: {"query_filter": filters(settings)[f"LDAP_QUERY_FILTER_{kind}"], "result_attribute": looks.mail}
            for table, kind in kinds.items()
        }
    # The published image takes a file of such a name in place of its own.
    return {**authority, **{f"ldap-{table}.cf": _lines({**access, **each}) for table, each in tables.items()}}


def dkim_name(domain: str, selector: str) -> str:
    """The DNS name under which the public key of a selector is looked up."""
    return f"{selector}._domainkey.{domain}"


def dkim_key_path(domain: str, selector: str) -> str:
    """Where a private key is below the folder of opendkim: in the volume of overrides, and where the published image copies it,
    with opendkim as its owner."""
    return f"keys/{domain}/{selector}.private"


def _signing(settings: Settings, trusted: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
    """opendkim's tables: which key is for whose mail. It signs what comes from `trusted`, or from who has logged in."""
    if not settings.dkim:
        return {}
    keys = {dkim_name(*each): f"{':'.join(each)}:/etc/opendkim/{dkim_key_path(*each)}" for each in settings.dkim.items()}
    senders = {f"*@{domain}": dkim_name(domain, selector) for domain, selector in settings.dkim.items()}
    tables = {"KeyTable": keys, "SigningTable": senders}
    return {
        **{f"opendkim/{name}": "".join(f"{key} {value}\n" for key, value in table.items()) for name, table in tables.items()},
        # One a line, and no brackets. What comes from the engine's own address, which is excepted, may come from anywhere.
        "opendkim/TrustedHosts": pulumi.Output.from_input(trusted).apply(
            lambda networks: "\n".join([*networks.translate({ord("["): None, ord("]"): None}).split(), ""])
        ),
    }


def _learning(settings: Settings) -> dict[str, str]:
    """The job by which the spam filter learns from the users, and the script that the published image runs to install it. The
    scheduler's proxy lets no command run in the mail server."""
    if "spamd" not in settings.enabled:
        return {}
    places = {"SPAMD": SPAMD_PATH, "FOLDER": OVERRIDES_PATH, "STATE": "/var/mail-state/lib-amavis"}
    return {
        "user-patches.sh": resource("user-patches.sh", **places, KOPANO_USER=KOPANO_USER, WHEN=LEARNING),
        "learn-spam.sh": resource("learn-spam.sh", **places),
    }


def _lines(values: Mapping[str, pulumi.Input[str]]) -> pulumi.Output[str]:
    return pulumi.Output.concat(*[part for key, value in values.items() for part in (key, " = ", value, "\n")])


HEALTH = (
    "for port in 25 587; do timeout 8 bash -c"
    """ 'exec 3<>"/dev/tcp/127.0.0.1/$0" && read -r line <&3 && [[ $line == 220* ]] && printf "QUIT\\r\\n" >&3' "$port" """
    "|| exit 1; done"
)


@dataclass(frozen=True)
class SmtpAccess:
    """The mail server to which outgoing mail goes."""

    host: str
    port: int

    @classmethod
    def of(cls, settings: Settings) -> SmtpAccess:
        """The block mail, or the server that the stack file names in its place."""
        if "mail" in settings.enabled:
            return cls(BLOCKS["mail"].alias, SERVICES["smtp"].port)
        host, _, port = settings.smtp_server.rpartition(":")
        return cls(host, int(port))


@dataclass(frozen=True)
class MailArgs:
    """Arguments of `Mail`: the settings, the image's id, the networks to join, the data volumes, its keys, how the directory is
    read, and the host names of dagent and gateway."""

    settings: Settings
    image: pulumi.Input[str]
    kopano_network: pulumi.Input[str]
    ldap_network: pulumi.Input[str]
    data: Mapping[str, pulumi.Input[str]]
    keys: KeyBundle
    directory: DirectoryAccess
    dagent: pulumi.Input[str]
    gateway: pulumi.Input[str]


class Mail(pulumi.ComponentResource):
    """`kopano:mail:Mail`: Postfix with spam and virus checks, which asks the directory for recipients, the gateway for passwords,
    and hands mail to dagent.

    Creates the container `mail`. Output: `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: MailArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:mail:Mail", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        relay = settings.relay
        spamd = "spamd" in settings.enabled
        learned = [Mount(args.data["kopanospamd"], SPAMD_PATH, writable=True)] if spamd else []
        workload = Workload(
            name,
            WorkloadArgs(
                settings=settings,
                block="mail",
                image=args.image,
                hostname="mail",
                domainname=settings.fqdn,
                environment=_environment(args),
                secrets={
                    "LDAP_BIND_PW": args.directory.bind_password,
                    "SASLAUTHD_LDAP_PASSWORD": args.directory.bind_password,
                    **({"RELAY_PASSWORD": relay.password} if relay and relay.password else {}),
                },
                networks=[args.kopano_network, args.ldap_network],
                mounts=[
                    Mount(args.data["maildata"], "/var/mail", writable=True),
                    Mount(args.data["mailstate"], "/var/mail-state", writable=True),
                    Mount(args.data["maillogs"], "/var/log/mail", writable=True),
                    Mount(args.keys.volume, OVERRIDES_PATH),
                    *learned,
                ],
                keys=args.keys,
                tmpfs=[],
                ports=published(settings, "mail"),
                # The published image sets itself up below /etc and elsewhere at each start.
                read_only=False,
                capabilities=CAPABILITIES,
                health=Health(HEALTH, start=180),
            ),
            child,
        )
        self.containers = {workload.alias: workload.container}
        self.register_outputs({"containers": self.containers})


# Postfix changes to many users and roots; fail2ban writes firewall rules; amavis looks at its children.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
)


def _environment(args: MailArgs) -> dict[str, pulumi.Input[str]]:
    directory, gateway, looks = args.directory, args.gateway, schema(args.settings)
    return {
        **_relaying(args.settings),
        "DMS_DEBUG": "0",
        "ENABLE_CLAMAV": "1",
        "ENABLE_FAIL2BAN": "1",
        "ENABLE_LDAP": "1",
        "ENABLE_POSTFIX_VIRTUAL_TRANSPORT": "1",
        "ENABLE_POSTGREY": "1",
        "ENABLE_SASLAUTHD": "1",
        "ENABLE_SPAMASSASSIN": "1",
        "LDAP_BIND_DN": directory.bind_dn,
        **filters(args.settings),
        "LDAP_SEARCH_BASE": directory.base_dn,
        "LDAP_SERVER_HOST": directory.uri,
        "ONE_DIR": "1",
        "PERMIT_DOCKER": "connected-networks",
        "PFLOGSUMM_TRIGGER": "logrotate",
        "POSTFIX_DAGENT": pulumi.Output.concat("lmtp:", args.dagent, ":2003"),
        "POSTMASTER_ADDRESS": f"postmaster@{args.settings.fqdn}",
        "SASLAUTHD_LDAP_BIND_DN": directory.bind_dn,
        "SASLAUTHD_LDAP_FILTER": f"(&{looks.user}({looks.login}=%s))",
        "SASLAUTHD_LDAP_SEARCH_BASE": directory.base_dn,
        "SASLAUTHD_LDAP_SERVER": directory.uri,
        "SASLAUTHD_MECHANISMS": "rimap",
        "SASLAUTHD_MECH_OPTIONS": gateway,
        "SMTP_ONLY": "1",
        "SPAMASSASSIN_SPAM_TO_INBOX": "1",
        # The stack's own certificate in place of one that nobody can check.
        "SSL_TYPE": "manual",
        "SSL_CERT_PATH": f"{KEYS_PATH}/mail.pem",
        "SSL_KEY_PATH": f"{KEYS_PATH}/mail.key",
    }


def _relaying(settings: Settings) -> dict[str, str]:
    """Where mail for others goes. The brackets keep the published image from asking the DNS for another server of that name."""
    relay = settings.relay
    if relay is None:
        return {}
    found = {"DEFAULT_RELAY_HOST": f"[{relay.host}]:{relay.port}"}
    if relay.user:
        # The image looks for the password under these, and then hands mail over by TLS only.
        found |= {"RELAY_HOST": relay.host, "RELAY_PORT": str(relay.port), "RELAY_USER": relay.user}
    return found
