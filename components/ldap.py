"""The directory of users, groups and resources."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.settings import PUBLISHABLE, Settings
from components.volumes import DataVolume, VolumeArgs
from components.workload import Health, Mount, Port, Workload, WorkloadArgs

# A bind as the account with which Kopano reads. The password comes from a pipe, not from the command line.
HEALTH = (
    'printf %s "$LDAP_READONLY_USER_PASSWORD"'
    ' | ldapwhoami -x -H ldap://127.0.0.1 -D "cn=readonly,$LDAP_BASE_DN" -y /dev/stdin > /dev/null'
)


@dataclass(frozen=True)
class DirectoryArgs:
    """Arguments of `Directory`: the settings, the image's id, and the network on which its readers are."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]


class Directory(pulumi.ComponentResource):
    """`kopano:ldap:Directory`: OpenLDAP with the Kopano schema.

    Creates the passwords of the administrator and of the reading account (`random.RandomPassword`), the data volumes and the
    container `ldap`. Demo users come with the image that `components.images` chooses. Outputs: `uri`, `base_dn`, `bind_dn`
    and `bind_password` (secret) of the reading account, `volumes` (logical name -> name), `container`.
    """

    def __init__(self, name: str, args: DirectoryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:ldap:Directory", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        secret = pulumi.ResourceOptions(parent=self, protect=settings.protect_data)
        admin_password = random.RandomPassword(f"{name}-admin-password", length=32, special=False, opts=secret).result
        self.bind_password = random.RandomPassword(f"{name}-readonly-password", length=32, special=False, opts=secret).result
        self.volumes = {
            volume: DataVolume(
                f"{name}-{volume}",
                VolumeArgs(f"{settings.prefix}-{volume}", settings.stack, protect=settings.protect_data),
                child,
            ).volume
            for volume in ("ldap", "slapd")
        }
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
                secrets={"LDAP_ADMIN_PASSWORD": admin_password, "LDAP_READONLY_USER_PASSWORD": self.bind_password},
                networks=[args.network],
                mounts=[
                    Mount(self.volumes["ldap"], "/var/lib/ldap", writable=True),
                    Mount(self.volumes["slapd"], "/etc/ldap/slapd.d", writable=True),
                ],
                ports=[Port(settings.publish["ldap"], PUBLISHABLE["ldap"])] if "ldap" in settings.publish else [],
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
        self.uri = pulumi.Output.from_input(f"ldap://{workload.alias}:{PUBLISHABLE['ldap']}")
        self.base_dn = pulumi.Output.from_input(settings.ldap_base_dn)
        self.bind_dn = pulumi.Output.from_input(f"cn=readonly,{settings.ldap_base_dn}")
        self.container = workload.container
        self.register_outputs(
            {
                "uri": self.uri,
                "base_dn": self.base_dn,
                "bind_dn": self.bind_dn,
                "bind_password": self.bind_password,
                "volumes": self.volumes,
                "container": self.container,
            }
        )
