"""The database."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.blocks import BLOCKS
from components.settings import Database as ExternalDatabase
from components.settings import Settings
from components.workload import KEYS_PATH, Health, KeyBundle, Mount, Workload, WorkloadArgs, resource

ACCOUNT = "kopano"
"""The account that is limited to the one database."""

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


PASSWORDS_FILE = "passwords.sql"


@dataclass(frozen=True)
class DatabasePasswordsArgs:
    """Arguments of `DatabasePasswords`: the settings."""

    settings: Settings


class DatabasePasswords(pulumi.ComponentResource):
    """`kopano:db:DatabasePasswords`: the passwords of the database's accounts.

    Creates the password of Kopano's account and that of root (`random.RandomPassword`). A component of its own, since the file
    that sets them is seeded before the database starts. Outputs: `account` and `root` (secret), `access` (host, port, name,
    user, and the account's password), `files` (path -> content, secret): what the database runs at each start. The passwords
    are letters and digits, which SQL takes as they are.
    """

    def __init__(self, name: str, args: DatabasePasswordsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:db:DatabasePasswords", name, None, opts)
        self.account = self._password(f"{name}-account", args.settings, "db-password")
        self.root = self._password(f"{name}-root", args.settings, "db-root-password")
        names = {
            "ACCOUNT": ACCOUNT,
            "DATABASE": args.settings.database_name,
            # In GRANT it is a pattern, where an underscore stands for any letter.
            "PATTERN": args.settings.database_name.replace("_", r"\_"),
        }
        self.files: dict[str, pulumi.Input[str]] = {
            PASSWORDS_FILE: pulumi.Output.all(PASSWORD=self.account, ROOT_PASSWORD=self.root).apply(
                lambda made: resource("db-passwords.sql", **names, **made)
            )
        }
        self.access = DatabaseAccess(BLOCKS["db"].alias, 3306, args.settings.database_name, ACCOUNT, self.account)
        self.register_outputs({"account": self.account, "root": self.root})

    def _password(self, name: str, settings: Settings, earlier: str) -> pulumi.Output[str]:
        # Where these passwords were before they had a component of their own.
        database = pulumi.create_urn("db", "kopano:db:Database")
        return random.RandomPassword(
            name,
            length=32,
            special=False,
            keepers=settings.keepers("database"),
            opts=pulumi.ResourceOptions(parent=self, aliases=[pulumi.Alias(name=earlier, parent=database)]),
        ).result


@dataclass(frozen=True)
class DatabaseArgs:
    """Arguments of `Database`: the settings, the image's id, the network on which the core reaches it, the volume of its data,
    its passwords, and the bundle with the file that sets them."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    data: pulumi.Input[str]
    passwords: DatabasePasswords
    keys: KeyBundle


class Database(pulumi.ComponentResource):
    """`kopano:db:Database`: MariaDB with one database and one account that is limited to it.

    Creates the container `db`, which sets its accounts' passwords at each start. Output: `containers` (network alias ->
    container name).
    """

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:db:Database", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        workload = Workload(
            name,
            WorkloadArgs(
                settings=settings,
                block="db",
                image=args.image,
                command=[f"--init-file={KEYS_PATH}/{PASSWORDS_FILE}"],
                environment={"MYSQL_DATABASE": settings.database_name, "MYSQL_USER": ACCOUNT},
                secrets={"MYSQL_PASSWORD": args.passwords.account, "MYSQL_ROOT_PASSWORD": args.passwords.root},
                networks=[args.network],
                mounts=[Mount(args.data, "/var/lib/mysql", writable=True)],
                keys=args.keys,
                tmpfs=["/run/mysqld", "/tmp"],
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"],
                health=Health(HEALTH, start=120),
            ),
            child,
        )
        self.containers = {workload.alias: workload.container}
        self.register_outputs({"containers": self.containers})
