"""What a container is here: hardened, health-checked, safely replaced.

This is the one place that turns "run this" into a `docker.Container` on one engine. What was measured about the docker
plug-in stands here once: values in the form in which the engine hands them back (anything else is a change in every
preview), and what has to be replaced rather than updated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker

from components.blocks import BLOCKS
from components.settings import SERVICES, Settings

STOP_SECONDS = 60
"""How long a container may take to stop by itself. Nobody may lose a mail: a database or a mail queue gets the time to close."""


@dataclass(frozen=True)
class Mount:
    """A named volume at a path. Read-only unless the block writes to it."""

    volume: pulumi.Input[str]
    path: str
    writable: bool = False


@dataclass(frozen=True)
class HostFolder:
    """A folder of the Docker host at a path, writable."""

    folder: str
    path: str


@dataclass(frozen=True)
class KeyBundle:
    """Keys and certificates of one service: the volume they are in, a fingerprint of their content, and what seeds them."""

    volume: pulumi.Output[str]
    fingerprint: pulumi.Output[str]
    seeded: pulumi.Resource


KEYS_PATH = "/kopano/ssl"
"""Where the published images look for keys and certificates."""

TRUSTED = "trusted.pem"
"""The server's file with the authorities that sign the deployment's own certificate, where another than the stack's does."""

KOPANO_USER = "999:999"
"""User and group of the published core image. Its services end when they cannot read their keys."""

SPAMD_PATH = "/var/lib/kopano/spamd"
"""Where kopano-spamd leaves copies of what the spam filter is to learn."""

HAPROXY_PATH = "/usr/local/etc/haproxy"
"""Where HAProxy's image looks for its configuration."""

RESOURCES = Path(__file__).parent / "resources"
"""Configuration files of services, with placeholders between @ signs."""

SOCKETS_PATH = "/run/kopano"
"""Where the published images look for the sockets of the server."""


@dataclass(frozen=True)
class Port:
    """A port of the container published on the Docker host, on `address` (or several, separated by blanks) if not on those of
    all ports."""

    external: int
    internal: int
    address: str = ""


def resource(file: str, **values: str) -> str:
    """A file of `components/resources` with its placeholders filled in."""
    content = (RESOURCES / file).read_text(encoding="utf-8")
    for placeholder, value in values.items():
        content = content.replace(f"@{placeholder}@", value)
    return content


def any_address(settings: Settings) -> str:
    """All addresses of a container that there may be, as HAProxy writes them. On a host without IPv6 it cannot listen on that."""
    return "[::]" if settings.ipv6 else ""


def container_name(settings: Settings, block: str) -> str:
    """The name of a block's container on the Docker host."""
    return f"{settings.prefix}-{block}"


def published(settings: Settings, block: str) -> list[Port]:
    """The ports of a block that the stack file wants on the Docker host."""
    return [
        Port(port, SERVICES[service].port) for service, port in settings.published.items() if SERVICES[service].block == block
    ]


@dataclass(frozen=True)
class Upload:
    """A file put into a one-shot container before it starts: text, or bytes in base64."""

    path: str
    content: pulumi.Input[str] | None = None
    content_base64: pulumi.Input[str] | None = None


@dataclass(frozen=True)
class Health:
    """How to tell that the service answers.

    `command` is a shell line inside the container and carries no secret (it may read the container's variables). `start` is
    how long the service may need at first, in seconds, before a failed check counts; `timeout` how long one check may
    take; `longer` how much longer than
    `kopano:deployTimeout` the deployment waits for it, since it waits for others by itself.
    """

    command: str
    start: int = 60
    timeout: int = 10
    longer: int = 0


@dataclass(frozen=True)
class WorkloadArgs:
    """Arguments of `Workload`.

    `block` names the block in `components.blocks`; `image` is an image id. `secrets` are variables like `environment` whose
    values are secret. `networks` are joined under the block's alias and `aliases`. `capabilities` are added to none, in the
    form `CAP_...`. `read_only` may be switched off only where the published image cannot run so. `keys` is the bundle of
    keys and files that the service reads at `keys_path`: the container starts after it was seeded, and is replaced when it
    changes. `docker_socket` mounts the engine's socket: whoever has it owns the host. `host_network`
    leaves the networks and uses the host's; without either there is no network at all. `entrypoint` takes the place of the
    image's own. `after` must be healthy before this starts.
    """

    settings: Settings
    block: str
    image: pulumi.Input[str]
    health: Health
    networks: Sequence[pulumi.Input[str]]
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    aliases: Sequence[str] = ()
    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    entrypoint: Sequence[str] | None = None
    command: Sequence[str] | None = None
    mounts: Sequence[Mount | HostFolder] = ()
    tmpfs: Sequence[str] = ("/tmp",)
    ports: Sequence[Port] = ()
    capabilities: Sequence[str] = ()
    machine_id: bool = False
    read_only: bool = True
    keys: KeyBundle | None = None
    keys_path: str = KEYS_PATH
    docker_socket: bool = False
    host_network: bool = False
    after: Sequence[pulumi.Resource] = ()


def seconds(value: int) -> str:
    """A duration in the form in which Docker hands it back (Go's): 90 becomes 1m30s. Another form is a change for ever."""
    minutes, rest = divmod(value, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def greets(port: int, greeting: str) -> str:
    """A shell line that succeeds when something on this port says `greeting` first."""
    return f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && read -t 5 -r line <&3 && [[ $line == {greeting} ]]'"


def fetches(url: str) -> str:
    """A shell line that succeeds when a GET answers 200: with curl, or in small images with wget."""
    return f"if command -v curl > /dev/null; then curl -fsS -o /dev/null {url}; else wget -q -O /dev/null {url}; fi"


def http_ok(port: int, path: str) -> str:
    """A shell line that succeeds when a GET on this port answers 200, for images that have bash and no HTTP client."""
    ask = f'exec 3<>/dev/tcp/127.0.0.1/{port} && printf "GET {path} HTTP/1.0\\r\\n\\r\\n" >&3'
    return f"bash -c '{ask} && read -t 5 -r line <&3 && [[ $line == *\" 200 \"* ]]'"


class Workload(pulumi.ComponentResource):
    """`kopano:workload:Workload`: a service that runs until the stack goes.

    Creates a `docker.Container` that must become healthy before the deployment goes on. Outputs: `container` (its name on the
    Docker host), `alias` (its name on the stack's networks). Fails when the container does not become healthy in time.
    """

    def __init__(self, name: str, args: WorkloadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:workload:Workload", name, None, opts)
        settings, block = args.settings, BLOCKS[args.block]
        extra = settings.environment.get(args.block, {})
        plain = {"TZ": settings.timezone, **args.environment}
        secrets = dict(args.secrets)
        (secrets if settings.environment_is_secret else plain).update(extra)
        container = docker.Container(
            f"{name}-container",
            **_hardened(args.settings, args.block, args.capabilities),
            image=args.image,
            entrypoints=list(args.entrypoint) if args.entrypoint else None,
            command=list(args.command) if args.command else None,
            hostname=args.hostname,
            domainname=args.domainname,
            user=args.user,
            envs=_variables(plain, secrets),
            labels=_labels(
                settings,
                args.block,
                # A list of variables with one secret in it is secret as a whole. The plain ones are repeated here, so that a
                # preview still says what changes.
                {
                    "kopano.environment": _readable(plain) if secrets else None,
                    # The plug-in does not see what is in a volume: the fingerprint makes new keys replace their reader.
                    "kopano.keys": args.keys.fingerprint if args.keys else None,
                },
            ),
            network_mode="host" if args.host_network else None if args.networks else "none",
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=network, aliases=[block.alias, *args.aliases])
                for network in args.networks
            ],
            volumes=_volumes(
                [*args.mounts, *([Mount(args.keys.volume, args.keys_path)] if args.keys else [])],
                machine_id=args.machine_id,
                docker_socket=args.docker_socket,
            ),
            tmpfs={path: "" for path in args.tmpfs},
            ports=[
                docker.ContainerPortArgs(internal=port.internal, external=port.external, ip=address)
                for port in args.ports
                for address in (port.address or settings.bind_address).split()
            ],
            read_only=args.read_only,
            # Not `unless-stopped`: an engine that died and starts again takes what it finds running for stopped by hand.
            restart="always",
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD-SHELL", args.health.command],
                interval=seconds(5),
                timeout=seconds(args.health.timeout),
                retries=6,
                start_period=seconds(args.health.start),
            ),
            # Only with a health check: the plug-in has panicked on `wait` without one.
            wait=True,
            wait_timeout=settings.deploy_timeout + args.health.longer,
            opts=pulumi.ResourceOptions(
                parent=self,
                # Not through an input: the seeding container is replaced by deleting it first, which would then replace
                # every container that has an input from it, and not just the readers of what changed.
                depends_on=[*([args.keys.seeded] if args.keys else []), *args.after],
                # The name and the published ports are the same for the new container, so it cannot exist beside the old one.
                delete_before_replace=True,
                # The plug-in claims to update a health check in place, and does not.
                replace_on_changes=["healthcheck"],
            ),
        )
        self.container = container.name
        self.alias = block.alias
        self.register_outputs({"container": self.container, "alias": self.alias})


@dataclass(frozen=True)
class OneShotArgs:
    """Arguments of `OneShot`, as in `WorkloadArgs`; `script` is a POSIX shell script, `uploads` the files that it finds."""

    settings: Settings
    block: str
    image: pulumi.Input[str]
    script: str
    uploads: Sequence[Upload]
    mounts: Sequence[Mount]
    capabilities: Sequence[str] = ()


class OneShot(pulumi.ComponentResource):
    """`kopano:workload:OneShot`: a container without a network that does one thing and ends.

    Creates a `docker.Container` with a writable root (files cannot be uploaded into a read-only one, not even onto a volume)
    and waits for its end. Output: `container`, its name on the Docker host.
    """

    def __init__(self, name: str, args: OneShotArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:workload:OneShot", name, None, opts)
        self.container = docker.Container(
            f"{name}-container",
            **_hardened(args.settings, args.block, args.capabilities),
            image=args.image,
            entrypoints=["/bin/sh", "-euc"],
            command=[args.script],
            labels=_labels(args.settings, args.block, {}),
            volumes=_volumes(args.mounts),
            uploads=[
                docker.ContainerUploadArgs(file=upload.path, content=upload.content, content_base64=upload.content_base64)
                for upload in args.uploads
            ],
            network_mode="none",
            restart="no",
            must_run=False,
            attach=True,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        ).name
        self.register_outputs({"container": self.container})


def _hardened(settings: Settings, block: str, capabilities: Sequence[str]) -> dict[str, Any]:
    """What holds for every container."""
    memory = settings.memory.get(block, BLOCKS[block].memory)
    return {
        "name": container_name(settings, block),
        "capabilities": docker.ContainerCapabilitiesArgs(adds=sorted(capabilities) or None, drops=["ALL"]),
        "security_opts": ["no-new-privileges:true"],
        "memory": memory,
        # Equal to the memory: no swap. Left out, the engine sets twice the memory, and every preview wants it back.
        "memory_swap": memory,
        # The plug-in knows no pids limit; this bounds the processes of the users that services run as. The number of open
        # files bounds what slapd and others allocate for each possible connection.
        "ulimits": [
            docker.ContainerUlimitArgs(name="nofile", soft=8192, hard=8192),
            docker.ContainerUlimitArgs(name="nproc", soft=4096, hard=4096),
        ],
        "log_driver": "json-file",
        "log_opts": {"max-file": "3", "max-size": "10m"},
        "stop_timeout": STOP_SECONDS,
        # Without it the plug-in kills at once when it deletes or replaces a container.
        "destroy_grace_seconds": STOP_SECONDS,
    }


def _variables(plain: Mapping[str, pulumi.Input[str]], secrets: Mapping[str, pulumi.Input[str]]) -> list[pulumi.Input[str]]:
    hidden = {name: pulumi.Output.secret(value) for name, value in secrets.items()}
    return [
        # Most are known already, and an output for each of them is a tenth of the program's time.
        f"{name}={value}" if isinstance(value, str) else pulumi.Output.concat(name, "=", value)
        for name, value in [*sorted(plain.items()), *sorted(hidden.items())]
    ]


def _readable(plain: Mapping[str, pulumi.Input[str]]) -> pulumi.Output[str]:
    return pulumi.Output.all(**plain).apply(lambda variables: json.dumps(variables, sort_keys=True))


def _labels(settings: Settings, block: str, more: Mapping[str, pulumi.Input[str] | None]) -> list[docker.ContainerLabelArgs]:
    labels: dict[str, pulumi.Input[str] | None] = {"kopano.stack": settings.stack, "kopano.block": block, **more}
    return [docker.ContainerLabelArgs(label=label, value=value) for label, value in sorted(labels.items()) if value is not None]


def _volumes(
    mounts: Sequence[Mount | HostFolder], *, machine_id: bool = False, docker_socket: bool = False
) -> list[docker.ContainerVolumeArgs]:
    volumes = [
        docker.ContainerVolumeArgs(host_path=mount.folder, container_path=mount.path)
        if isinstance(mount, HostFolder)
        else docker.ContainerVolumeArgs(
            volume_name=mount.volume, container_path=mount.path, read_only=True if not mount.writable else None
        )
        for mount in mounts
    ]
    if machine_id:
        # The published images refuse to start without either path.
        volumes += [
            docker.ContainerVolumeArgs(host_path="/etc/machine-id", container_path=path, read_only=True)
            for path in ("/etc/machine-id", "/var/lib/dbus/machine-id")
        ]
    if docker_socket:
        socket = "/var/run/docker.sock"
        volumes.append(docker.ContainerVolumeArgs(host_path=socket, container_path=socket, read_only=True))
    return volumes
