"""The directory of users, groups and resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.blocks import BLOCKS
from components.settings import SERVICES, Settings
from components.settings import Directory as ExternalDirectory
from components.workload import KEYS_PATH, Health, KeyBundle, Mount, Workload, WorkloadArgs, published, resource

# A bind as the account with which Kopano reads. The password comes from a pipe, not from the command line.
HEALTH = (
    'printf %s "$LDAP_READONLY_USER_PASSWORD"'
    ' | ldapwhoami -x -H ldap://127.0.0.1 -D "cn=readonly,$LDAP_BASE_DN" -y /dev/stdin > /dev/null'
)


PASSWORDS_SCRIPT = "passwords.sh"


def directory_files() -> dict[str, str]:
    """The script that gives the accounts their passwords. It holds none: it reads them from the container's variables."""
    return {PASSWORDS_SCRIPT: resource("ldap-passwords.sh")}


@dataclass(frozen=True)
class Schema:
    """How users and groups look in a directory: filters (in brackets) for what is a user or a group of Kopano's, and the
    attributes with log-in names, addresses and further addresses."""

    user: str
    group: str
    login: str
    mail: str
    alias: str


OPEN_LDAP = Schema("(kopanoAccount=1)", "(objectclass=kopano-group)", "uid", "mail", "kopanoAliases")
ACTIVE_DIRECTORY = Schema(
    # Computers are users too, but no persons.
    "(&(objectCategory=person)(objectClass=user)(kopanoAccount=1))",
    "(&(objectClass=group)(kopanoAccount=1))",
    "sAMAccountName",
    "mail",
    "otherMailbox",
)

AUTHORITY_FILE = "directory-ca.pem"


def schema(settings: Settings) -> Schema:
    """How users and groups look in the directory of the stack."""
    given = settings.directory
    if given is None:
        return OPEN_LDAP
    kind = ACTIVE_DIRECTORY if given.kind == "activeDirectory" else OPEN_LDAP
    return Schema(
        given.user_filter or kind.user,
        given.group_filter or kind.group,
        given.login_attribute or kind.login,
        given.mail_attribute or kind.mail,
        given.alias_attribute or kind.alias,
    )


def server_variables(settings: Settings) -> dict[str, str]:
    """Variables of the core image that say which of its two kinds of directory this is, and what differs from that."""
    given = settings.directory
    open_ldap, active_directory = (f"!include /usr/share/kopano/ldap.{kind}.cfg" for kind in ("openldap", "active-directory"))
    active = given is not None and given.kind == "activeDirectory"
    found = {
        "KCCOMMENT_LDAP_1": open_ldap if active else active_directory,
        "KCUNCOMMENT_LDAP_1": active_directory if active else open_ldap,
    }
    if given is None:
        return found
    looks = schema(settings)
    options = {
        "USER_SEARCH_FILTER": looks.user if active or given.user_filter else "",
        "GROUP_SEARCH_FILTER": looks.group if active or given.group_filter else "",
        "LOGINNAME_ATTRIBUTE": given.login_attribute,
        "EMAILADDRESS_ATTRIBUTE": given.mail_attribute,
        "EMAILALIASES_ATTRIBUTE": given.alias_attribute,
    }
    found |= {f"KCCONF_LDAP_LDAP_{option}": value for option, value in options.items() if value}
    return {**found, **authority_variables(settings)}


def authority_files(settings: Settings) -> dict[str, str]:
    """Whom those trust who ask an external directory."""
    return {AUTHORITY_FILE: settings.directory.authority} if settings.directory and settings.directory.authority else {}


def authority_readers(settings: Settings) -> dict[str, Mapping[str, pulumi.Input[str]]]:
    """Reader -> `authority_files`, of those who are told by a variable. The mail server has tables for it."""
    files = authority_files(settings)
    readers = ("server", "password-self-service") if files else ()
    return {reader: files for reader in readers if reader in settings.enabled}


def authority_variables(settings: Settings) -> dict[str, str]:
    """The variable by which OpenLDAP's library is told whom to trust, where that is no public authority."""
    return {"LDAPTLS_CACERT": f"{KEYS_PATH}/{AUTHORITY_FILE}"} if authority_files(settings) else {}


@dataclass(frozen=True)
class DirectoryAccess:
    """How the directory is read."""

    uri: pulumi.Input[str]
    base_dn: pulumi.Input[str]
    bind_dn: pulumi.Input[str]
    bind_password: pulumi.Input[str]

    @classmethod
    def external(cls, directory: ExternalDirectory) -> DirectoryAccess:
        """Access to a directory that the stack file names."""
        secret = pulumi.Output.secret(directory.bind_password)
        return cls(directory.uri, directory.base_dn, directory.bind_dn, secret)


@dataclass(frozen=True)
class DirectoryPasswordsArgs:
    """Arguments of `DirectoryPasswords`: the settings."""

    settings: Settings


class DirectoryPasswords(pulumi.ComponentResource):
    """`kopano:ldap:DirectoryPasswords`: the passwords of the directory's accounts.

    Creates the password of the administrator and that of the reading account (`random.RandomPassword`). A component of its own,
    since files that hold them are seeded before the directory starts. Outputs: `admin` and `readonly` (secret), `access` (URI,
    base, and name and password of the reading account).
    """

    def __init__(self, name: str, args: DirectoryPasswordsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:ldap:DirectoryPasswords", name, None, opts)
        settings = args.settings
        self.admin, self.readonly = (self._password(f"{name}-{account}", settings, account) for account in ("admin", "readonly"))
        self.access = DirectoryAccess(
            f"ldap://{BLOCKS['ldap'].alias}:{SERVICES['ldap'].port}",
            settings.ldap_base_dn,
            f"cn=readonly,{settings.ldap_base_dn}",
            self.readonly,
        )
        self.register_outputs({"admin": self.admin, "readonly": self.readonly})

    def _password(self, name: str, settings: Settings, account: str) -> pulumi.Output[str]:
        # Where these passwords were before they had a component of their own.
        earlier = pulumi.Alias(name=f"ldap-{account}-password", parent=pulumi.create_urn("ldap", "kopano:ldap:Directory"))
        return random.RandomPassword(
            name,
            length=32,
            special=False,
            keepers=settings.keepers("ldap"),
            opts=pulumi.ResourceOptions(parent=self, aliases=[earlier]),
        ).result


@dataclass(frozen=True)
class DirectoryArgs:
    """Arguments of `Directory`: the settings, the image's id, the network on which its readers are, the data volumes, its
    passwords, and the bundle with `directory_files`."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    data: Mapping[str, pulumi.Input[str]]
    passwords: DirectoryPasswords
    keys: KeyBundle


class Directory(pulumi.ComponentResource):
    """`kopano:ldap:Directory`: OpenLDAP with the Kopano schema.

    Creates the container `ldap`, which sets its accounts' passwords at each start. Demo users come with the image that
    `components.images` chooses. Output: `containers` (alias -> name).
    """

    def __init__(self, name: str, args: DirectoryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:ldap:Directory", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        workload = Workload(
            name,
            WorkloadArgs(
                settings=settings,
                block="ldap",
                image=args.image,
                # The published image's start tool: what to run before each start of the server, split at blanks.
                command=["--copy-service", "--cmd", f"/bin/sh {KEYS_PATH}/{PASSWORDS_SCRIPT}", "process"],
                environment={
                    "LDAP_BASE_DN": settings.ldap_base_dn,
                    "LDAP_DOMAIN": settings.fqdn,
                    "LDAP_LOG_LEVEL": "0",
                    "LDAP_ORGANISATION": settings.organisation,
                    "LDAP_READONLY_USER": "true",
                },
                secrets={"LDAP_ADMIN_PASSWORD": args.passwords.admin, "LDAP_READONLY_USER_PASSWORD": args.passwords.readonly},
                networks=[args.network],
                mounts=[
                    Mount(args.data["ldap"], "/var/lib/ldap", writable=True),
                    Mount(args.data["slapd"], "/etc/ldap/slapd.d", writable=True),
                ],
                keys=args.keys,
                ports=published(settings, "ldap"),
                # The published image writes its configuration below /container at every start.
                read_only=False,
                capabilities=[
                    "CAP_CHOWN",
                    "CAP_DAC_OVERRIDE",
                    "CAP_FOWNER",
                    "CAP_KILL",
                    "CAP_NET_BIND_SERVICE",
                    "CAP_SETGID",
                    "CAP_SETUID",
                ],
                health=Health(HEALTH),
            ),
            child,
        )
        self.containers = {workload.alias: workload.container}
        self.register_outputs({"containers": self.containers})
