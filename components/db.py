"""The database."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.settings import Database as ExternalDatabase
from components.settings import Settings
from components.workload import Health, Mount, Workload, WorkloadArgs

NAME = "kopano"
"""The database and the account that is limited to it."""

# As the account that Kopano uses, over TCP as Kopano does. The password is read from the container's variables, not from
# the command line, which every process could see.
HEALTH = (
    'MYSQL_PWD="$MYSQL_PASSWORD" mysql --protocol=tcp --host=127.0.0.1 --user="$MYSQL_USER" --execute="SELECT 1"'
    ' "$MYSQL_DATABASE" > /dev/null'
)


@dataclass(frozen=True)
class DatabaseAccess:
    """How the database is reached."""

    host: pulumi.Input[str]
    port: pulumi.Input[int]
    name: pulumi.Input[str]
    user: pulumi.Input[str]
    password: pulumi.Input[str]

    @classmethod
    def external(cls, database: ExternalDatabase) -> DatabaseAccess:
        """Access to a database that the stack file names."""
        secret = pulumi.Output.secret(database.password)
        return cls(database.host, database.port, database.name, database.user, secret)


@dataclass(frozen=True)
class DatabaseArgs:
    """Arguments of `Database`: the settings, the image's id, the network on which the core reaches it, and the
    volume of its data."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    data: pulumi.Input[str]


class Database(pulumi.ComponentResource):
    """`kopano:db:Database`: MariaDB with one database and one account that is limited to it.

    Creates the passwords (`random.RandomPassword`) and the container `db`. Outputs: `access` (host, port, name, user, and the
    password, secret), `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:db:Database", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        secret = pulumi.ResourceOptions(parent=self, protect=settings.protect_data)
        password = random.RandomPassword(f"{name}-password", length=32, special=False, opts=secret).result
        root_password = random.RandomPassword(f"{name}-root-password", length=32, special=False, opts=secret).result
        workload = Workload(
            name,
            WorkloadArgs(
                settings=settings,
                block="db",
                image=args.image,
                environment={"MYSQL_DATABASE": NAME, "MYSQL_USER": NAME},
                secrets={"MYSQL_PASSWORD": password, "MYSQL_ROOT_PASSWORD": root_password},
                networks=[args.network],
                mounts=[Mount(args.data, "/var/lib/mysql", writable=True)],
                tmpfs=["/run/mysqld", "/tmp"],
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"],
                health=Health(HEALTH, start=120),
            ),
            child,
        )
        self.access = DatabaseAccess(workload.alias, 3306, NAME, NAME, password)
        self.containers = {workload.alias: workload.container}
        self.register_outputs({"containers": self.containers})
