"""Backups on schedule, and what is common to them and to `scripts/backup`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import pulumi

from components.db import DatabaseAccess
from components.parsers import longest_gap
from components.settings import Settings
from components.workload import Health, HostFolder, KeyBundle, Mount, Workload, WorkloadArgs, container_name, resource

SCRIPT = "backup.sh"
SCRIPT_PATH = "/kopano/backup"
ARCHIVES_PATH = "/backups"
VOLUMES_PATH = "/volumes"
ARCHIVES = "backups"
"""The data volume of the archives. It is in no archive."""

DUMPED = ("mysql", "ldap", "slapd")
"""Data volumes of which an archive has a dump in place of the files, which are of no use while a server writes to them."""
DIRECTORY_PATHS = {"ldap": "/var/lib/ldap", "slapd": "/etc/ldap/slapd.d"}
"""The directory's volumes and where its programs look for them."""

# Root of the container reads and writes files of other users; it can do nothing else.
CAPABILITIES = ("CAP_DAC_OVERRIDE",)


def files() -> dict[str, str]:
    """The script that makes the archives. It holds no secret."""
    return {SCRIPT: resource(SCRIPT)}


def copied(volumes: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Input[str]]:
    """The data volumes that are copied file by file: logical name -> name on the Docker host."""
    return {name: volume for name, volume in volumes.items() if name not in (*DUMPED, ARCHIVES)}


def about(settings: Settings, images: Mapping[str, str], *, state: bool) -> str:
    """What an archive's manifest says of its stack, as a JSON object on one line. `images` are block -> reference; `state`:
    whether Pulumi's state is in it."""
    left_out = {}
    if "db" not in settings.enabled:
        left_out["database"] = "it is not part of the stack (kopano:database): back it up where it runs"
    if "ldap" not in settings.enabled:
        left_out["directory"] = "it is not part of the stack (kopano:directory): back it up where it runs"
    if not state:
        left_out["state"] = "a scheduled backup has no access to Pulumi's state: passwords and certificates are not in it"
    return json.dumps(
        {
            "stack": settings.stack,
            "fqdn": settings.fqdn,
            "ldapBaseDn": settings.ldap_base_dn,
            "images": dict(sorted(images.items())),
            "leftOut": left_out,
        }
    )


def environment(settings: Settings) -> dict[str, str]:
    """Variables of the script in the container that makes the archive: what begins the archives' names, and whether there must
    be a directory in them."""
    directory = {"BACKUP_DIRECTORY": "yes"} if "ldap" in settings.enabled else {}
    return {"BACKUP_NAME": f"{settings.prefix}-scheduled", **directory}


def job(settings: Settings) -> str:
    """The command line of the scheduled job: a shell line for the scheduler, which stops at the first step that fails."""

    def step(block: str, name: str) -> str:
        return f"docker exec {container_name(settings, block)} bash {SCRIPT_PATH}/{SCRIPT} {name}"

    steps = [step("backup", "collect"), step("backup", "archive")]
    if "backup-ldap" in settings.enabled:
        steps.insert(1, step("backup-ldap", "directory"))
    return " && ".join(steps)


@dataclass(frozen=True)
class BackupArgs:
    """Arguments of `Backup`: the settings (with `kopano:backup`), block -> image id, block -> image reference, the core's
    network, the data volumes, the bundle with `files`, and access to the database."""

    settings: Settings
    images: Mapping[str, pulumi.Input[str]]
    references: Mapping[str, pulumi.Input[str]]
    kopano_network: pulumi.Input[str]
    data: Mapping[str, pulumi.Input[str]]
    script: KeyBundle
    database: DatabaseAccess


class Backup(pulumi.ComponentResource):
    """`kopano:backup:Backup`: the containers in which the scheduler's backup job runs.

    Creates the container `backup`, which copies the database and, read-only, the data volumes into an archive, and, where the
    directory is bundled, `backup_ldap`, which has the directory's programs and no network. They wait for the job. `backup` is
    unhealthy when there should be an archive of the last two periods and is none. Output: `containers` (network alias ->
    container name).
    """

    def __init__(self, name: str, args: BackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:backup:Backup", name, None, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        wanted = settings.backup
        if wanted is None:
            raise ValueError("kopano:backup is empty: there is nothing to make")
        archives = (
            HostFolder(wanted.directory, ARCHIVES_PATH)
            if wanted.directory
            else Mount(args.data[ARCHIVES], ARCHIVES_PATH, writable=True)
        )
        description = pulumi.Output.all(**args.references).apply(lambda images: about(settings, images, state=False))
        access: dict[str, pulumi.Input[str]] = {}
        secrets: dict[str, pulumi.Input[str]] = {}
        networks: list[pulumi.Input[str]] = []
        if "db" in settings.enabled:
            port = pulumi.Output.from_input(args.database.port).apply(str)
            access = {"MYSQL_HOST": args.database.host, "MYSQL_PORT": port}
            access |= {"MYSQL_DATABASE": args.database.name, "MYSQL_USER": args.database.user}
            secrets = {"MYSQL_PASSWORD": args.database.password}
            networks = [args.kopano_network]
        made = [
            Workload(
                f"{name}-backup",
                WorkloadArgs(
                    settings=settings,
                    block="backup",
                    image=args.images["backup"],
                    user="root",
                    entrypoint=_RUN,
                    command=["wait"],
                    environment={
                        **environment(settings),
                        "BACKUP_ABOUT": description,
                        "BACKUP_KEEP": str(wanted.keep),
                        "BACKUP_MAX_AGE": str(2 * longest_gap(wanted.schedule) // timedelta(minutes=1)),
                        **access,
                    },
                    secrets=secrets,
                    networks=networks,
                    mounts=[
                        archives,
                        *[Mount(volume, f"{VOLUMES_PATH}/{each}") for each, volume in copied(args.data).items()],
                    ],
                    keys=args.script,
                    keys_path=SCRIPT_PATH,
                    capabilities=CAPABILITIES,
                    health=_HEALTH,
                ),
                child,
            )
        ]
        if "backup-ldap" in settings.enabled:
            made.append(
                Workload(
                    f"{name}-backup-ldap",
                    WorkloadArgs(
                        settings=settings,
                        block="backup-ldap",
                        image=args.images["backup-ldap"],
                        user="root",
                        entrypoint=_RUN,
                        command=["wait"],
                        networks=[],
                        mounts=[
                            archives,
                            # Who reads it says so in its lock file.
                            Mount(args.data["ldap"], DIRECTORY_PATHS["ldap"], writable=True),
                            Mount(args.data["slapd"], DIRECTORY_PATHS["slapd"]),
                        ],
                        keys=args.script,
                        keys_path=SCRIPT_PATH,
                        capabilities=CAPABILITIES,
                        health=_HEALTH,
                    ),
                    child,
                )
            )
        self.containers = {each.alias: each.container for each in made}
        self.register_outputs({"containers": self.containers})


_RUN = ("/bin/bash", f"{SCRIPT_PATH}/{SCRIPT}")
_HEALTH = Health(f"bash {SCRIPT_PATH}/{SCRIPT} healthy")
