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
