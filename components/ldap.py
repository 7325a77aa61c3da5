"""The directory of users, groups and resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.settings import SERVICES, Settings
from components.settings import Directory as ExternalDirectory
from components.workload import Health, Mount, Workload, WorkloadArgs, published

# A bind as the account with which Kopano reads. The password comes from a pipe, not from the command line.
HEALTH = (
    'printf %s "$LDAP_READONLY_USER_PASSWORD"'
    ' | ldapwhoami -x -H ldap://127.0.0.1 -D "cn=readonly,$LDAP_BASE_DN" -y /dev/stdin > /dev/null'
)


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
class DirectoryArgs:
    """Arguments of `Directory`: the settings, the image's id, the network on which its readers are, and the data volumes."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    data: Mapping[str, pulumi.Input[str]]


class Directory(pulumi.ComponentResource):
    """`kopano:ldap:Directory`: OpenLDAP with the Kopano schema.

    Creates the passwords of the administrator and of the reading account (`random.RandomPassword`) and the
    container `ldap`. Demo users come with the image that `components.images` chooses. Outputs: `access` (URI,
    base, and name and password of the reading account), `containers` (alias -> name).
    """

    def __init__(self, name: str, args: DirectoryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:ldap:Directory", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        secret = pulumi.ResourceOptions(parent=self, protect=settings.protect_data)
        admin_password = random.RandomPassword(f"{name}-admin-password", length=32, special=False, opts=secret).result
        bind_password = random.RandomPassword(f"{name}-readonly-password", length=32, special=False, opts=secret).result
        workload = Workload(
            name,
            WorkloadArgs(
                settings=settings,
                block="ldap",
                image=args.image,
                command=["--copy-service"],
                environment={
                    "LDAP_BASE_DN": settings.ldap_base_dn,
                    "LDAP_DOMAIN": settings.fqdn,
                    "LDAP_LOG_LEVEL": "0",
                    "LDAP_ORGANISATION": settings.organisation,
                    "LDAP_READONLY_USER": "true",
                },
                secrets={"LDAP_ADMIN_PASSWORD": admin_password, "LDAP_READONLY_USER_PASSWORD": bind_password},
                networks=[args.network],
                mounts=[
                    Mount(args.data["ldap"], "/var/lib/ldap", writable=True),
                    Mount(args.data["slapd"], "/etc/ldap/slapd.d", writable=True),
                ],
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
        self.access = DirectoryAccess(
            f"ldap://{workload.alias}:{SERVICES['ldap'].port}",
            settings.ldap_base_dn,
            f"cn=readonly,{settings.ldap_base_dn}",
            bind_password,
        )
        self.containers = {workload.alias: workload.container}
        self.register_outputs({"containers": self.containers})
