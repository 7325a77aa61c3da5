"""The database."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.settings import Settings
from components.volumes import DataVolume, VolumeArgs
from components.workload import Health, Mount, Workload, WorkloadArgs

# As the account that Kopano uses, over TCP as Kopano does. The password is read from the container's variables, not from
# the command line, which every process could see.
HEALTH = (
    'MYSQL_PWD="$MYSQL_PASSWORD" mysql --protocol=tcp --host=127.0.0.1 --user="$MYSQL_USER" --execute="SELECT 1"'
    ' "$MYSQL_DATABASE" > /dev/null'
)


@dataclass(frozen=True)
class DatabaseArgs:
    """Arguments of `Database`: the settings, the image's id, and the network on which the core reaches it."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]


class Database(pulumi.ComponentResource):
    """`kopano:db:Database`: MariaDB with one database and one account that is limited to it.

    Creates the passwords (`random.RandomPassword`), the data volume and the container `db`. Outputs: `host`, `port`,
    `database`, `user`, `password` (secret), `volume`, `container`.
    """

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:db:Database", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        secret = pulumi.ResourceOptions(parent=self, protect=settings.protect_data)
        self.database = pulumi.Output.from_input("kopano")
        self.user = pulumi.Output.from_input("kopano")
        self.password = random.RandomPassword(f"{name}-password", length=32, special=False, opts=secret).result
        root_password = random.RandomPassword(f"{name}-root-password", length=32, special=False, opts=secret).result
        self.volume = DataVolume(
            f"{name}-mysql",
            VolumeArgs(f"{settings.prefix}-mysql", settings.stack, protect=settings.protect_data),
            child,
        ).volume
        workload = Workload(
            name,
            WorkloadArgs(
                settings=settings,
                block="db",
                image=args.image,
                environment={"MYSQL_DATABASE": self.database, "MYSQL_USER": self.user},
                secrets={"MYSQL_PASSWORD": self.password, "MYSQL_ROOT_PASSWORD": root_password},
                networks=[args.network],
                mounts=[Mount(self.volume, "/var/lib/mysql", writable=True)],
                tmpfs=["/run/mysqld", "/tmp"],
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"],
                health=Health(HEALTH, start=120),
            ),
            child,
        )
        self.host = pulumi.Output.from_input(workload.alias)
        self.port = pulumi.Output.from_input(3306)
        self.container = workload.container
        self.register_outputs(
            {
                "host": self.host,
                "port": self.port,
                "database": self.database,
                "user": self.user,
                "password": self.password,
                "volume": self.volume,
                "container": self.container,
            }
        )
