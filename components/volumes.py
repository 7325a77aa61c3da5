"""Volumes: those that hold data, which outlive every plan, and those that a deployment can make again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.settings import Settings


@dataclass(frozen=True)
class Former:
    """Where a data volume stood in the program before: the component (type and name) that made it."""

    type: str
    name: str


_FORMER_CORE = Former("kopano:core:Core", "core")
_FORMER_LDAP = Former("kopano:ldap:Directory", "ldap")
_FORMER_MAIL = Former("kopano:mail:Mail", "mail")
_FORMER_FRONTENDS = Former("kopano:frontends:Frontends", "frontends")

DATA: Mapping[str, Former | None] = {
    "mysql": Former("kopano:db:Database", "db"),
    "ldap": _FORMER_LDAP,
    "slapd": _FORMER_LDAP,
    "maildata": _FORMER_MAIL,
    "mailstate": _FORMER_MAIL,
    "maillogs": _FORMER_MAIL,
    "kopanodata": _FORMER_CORE,
    "kopanograpi": _FORMER_CORE,
    "kopanospamd": _FORMER_CORE,
    "kopanowebapp": _FORMER_FRONTENDS,
    "zpushstates": _FORMER_FRONTENDS,
    "kdavstates": _FORMER_FRONTENDS,
    "backups": None,
}
"""The data volumes of a stack, by the names that the reference deployment and the stack's outputs use. A volume that is renamed
or moves to another component keeps its data only by its `Former` place; never remove one."""


class DataVolumes(pulumi.ComponentResource):
    """`kopano:volumes:DataVolumes`: everything of a stack whose content exists nowhere else.

    Creates a `DataVolume` for each name in `DATA`, whether or not its block is on: the volume of a block that is switched off
    stays in the stack's state, so that no plan ever has a reason to delete it. Output: `volumes` (logical name -> name on the
    Docker host).
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:volumes:DataVolumes", name, None, opts)
        self.volumes = {
            volume: DataVolume(
                f"{name}-{volume}",
                VolumeArgs(settings.data_volume(volume), settings.stack, protect=settings.protect_data),
                pulumi.ResourceOptions(parent=self, aliases=[_alias(volume, former)] if former else None),
            ).volume
            for volume, former in DATA.items()
        }
        self.register_outputs({"volumes": self.volumes})


def _alias(volume: str, former: Former) -> pulumi.Alias:
    """What a stack that was deployed by an earlier release calls the volume."""
    return pulumi.Alias(name=f"{former.name}-{volume}", parent=pulumi.create_urn(former.name, former.type))


@dataclass(frozen=True)
class VolumeArgs:
    """Arguments of `DataVolume` and `ScratchVolume`: the name on the Docker host, the stack's label, and whether it is
    protected by the engine (data volumes only)."""

    volume: str
    stack: str
    protect: bool = False


class DataVolume(pulumi.ComponentResource):
    """`kopano:volumes:DataVolume`: a volume whose content exists nowhere else.

    Creates a `docker.Volume` that no plan deletes or replaces: it is retained when the resource leaves the program or the
    stack, and a name, labels or driver options that differ (a volume of another deployment that was adopted) are never a
    reason to replace it. That holds on the genuine plug-in, where an adopted volume would otherwise be deleted after a
    refresh. Output: `volume`, its name on the Docker host.
    """

    def __init__(self, name: str, args: VolumeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:volumes:DataVolume", name, None, opts)
        self.volume = docker.Volume(
            f"{name}-volume",
            name=args.volume,
            labels=_labels(args),
            opts=pulumi.ResourceOptions(
                parent=self,
                retain_on_delete=True,
                # The name too: data moves by backup and restore, never by a plan that mounts an empty volume in its place.
                ignore_changes=["name", "labels", "driverOpts", "driver"],
                protect=args.protect,
            ),
        ).name
        self.register_outputs({"volume": self.volume})


class ScratchVolume(pulumi.ComponentResource):
    """`kopano:volumes:ScratchVolume`: a volume that the deployment fills again by itself (sockets, certificates).

    Creates a `docker.Volume` that goes with the stack. Output: `volume`, its name on the Docker host.
    """

    def __init__(self, name: str, args: VolumeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:volumes:ScratchVolume", name, None, opts)
        self.volume = docker.Volume(
            f"{name}-volume", name=args.volume, labels=_labels(args), opts=pulumi.ResourceOptions(parent=self)
        ).name
        self.register_outputs({"volume": self.volume})


def _labels(args: VolumeArgs) -> list[docker.VolumeLabelArgs]:
    return [docker.VolumeLabelArgs(label="kopano.stack", value=args.stack)]
