"""Recurring jobs, and the narrow way on which they reach the Docker Engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.backup import job
from components.blocks import BACKUP, BLOCKS
from components.settings import Settings
from components.workload import HAPROXY_PATH, Health, KeyBundle, Workload, WorkloadArgs, container_name, http_ok, resource

PROXY_PORT = 2375
TARGETS = ("server", "zpush", *BACKUP)
"""The blocks in which jobs run commands."""

SOFT_DELETE_DAYS = 30
"""After how many days the purge removes for good what users deleted."""


@dataclass(frozen=True)
class SchedulerArgs:
    """Arguments of `Scheduler`: the settings, block -> image id, the core's network, the network that only the scheduler and
    its proxy join, the proxy's configuration, and what must be healthy before the first jobs run."""

    settings: Settings
    images: Mapping[str, pulumi.Input[str]]
    kopano_network: pulumi.Input[str]
    jobs_network: pulumi.Input[str]
    proxy_files: KeyBundle
    after: pulumi.Resource


class Scheduler(pulumi.ComponentResource):
    """`kopano:scheduler:Scheduler`: the scheduler and the proxy that stands between it and the Docker Engine.

    Creates the container `kopano_scheduler`, which has no Docker socket, and `docker_proxy`, which has it and lets nothing pass
    but running commands in the server and in Z-Push of this stack. Output: `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: SchedulerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:scheduler:Scheduler", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        proxy = Workload(
            f"{name}-docker-proxy",
            WorkloadArgs(
                settings=args.settings,
                block="docker-proxy",
                image=args.images["docker-proxy"],
                # Whoever reaches it can run commands as root in the server.
                networks=[args.jobs_network],
                keys=args.proxy_files,
                keys_path=HAPROXY_PATH,
                docker_socket=True,
                # The socket's owner, and no more: without capabilities this root can do nothing else.
                user="root",
                # The engine itself answers through the proxy.
                health=Health(http_ok(PROXY_PORT, "/_ping")),
            ),
            child,
        )
        scheduler = Workload(
            f"{name}-scheduler",
            WorkloadArgs(
                settings=args.settings,
                block="scheduler",
                image=args.images["scheduler"],
                environment={"DOCKER_HOST": f"tcp://{proxy.alias}:{PROXY_PORT}", **_jobs(args)},
                networks=[args.kopano_network, args.jobs_network],
                health=Health(HEALTH, start=360, longer=120),
                after=[proxy, args.after],
            ),
            child,
        )
        self.containers = {workload.alias: workload.container for workload in (proxy, scheduler)}
        self.register_outputs({"containers": self.containers})


# The cron runs once the server is there and the jobs of the start have succeeded. The brackets keep the line from finding itself.
HEALTH = "cat /proc/[0-9]*/cmdline 2> /dev/null | tr '\\0' ' ' | grep -q '[s]upercronic '"


def proxy_files(settings: Settings) -> dict[str, str]:
    """The proxy's configuration: which containers it lets commands run in, by the names that the jobs may use for them."""
    targets = {BLOCKS[block].alias: container_name(settings, block) for block in TARGETS if block in settings.enabled}
    aliases = [
        rf"    http-request replace-path ^((?:/v1\.[0-9]{{1,2}})?/containers/){alias}(/(?:exec|json))$ \1{container}\2"
        for alias, container in targets.items()
    ]
    names = {"TARGETS": " and ".join(targets), "CONTAINERS": "|".join(targets.values()), "ALIASES": "\n".join(aliases)}
    return {"haproxy.cfg": resource("docker-proxy.cfg", **names)}


def _jobs(args: SchedulerArgs) -> dict[str, str]:
    """Variables of the published image: CRON_* run once at the start and then on time, CRONDELAYED_* on time only."""
    on_server = f"docker exec {container_name(args.settings, 'server')}"
    jobs = {
        "CRON_KOPANOUSERS": f"10 * * * * {on_server} kopano-admin --sync",
        "CRONDELAYED_PUBLICSTORE": f"20 0 * * * {on_server} kopano-storeadm -h default: -P",
        "CRONDELAYED_SOFTDELETE": f"30 2 * * * {on_server} kopano-admin --purge-softdelete {SOFT_DELETE_DAYS}",
    }
    if "zpush" in args.settings.enabled:
        zpush = container_name(args.settings, "zpush")
        jobs["CRONDELAYED_ZPUSHGAB"] = f"0 22 * * * docker exec {zpush} z-push-gabsync -a sync"
    if args.settings.backup:
        jobs["CRONDELAYED_BACKUP"] = f"{args.settings.backup.schedule} {job(args.settings)}"
    return jobs
