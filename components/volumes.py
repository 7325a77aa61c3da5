"""Volumes: those that hold data, which outlive every plan, and those that a deployment can make again."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker


@dataclass(frozen=True)
class VolumeArgs:
    """Arguments of `DataVolume` and `ScratchVolume`: the name on the Docker host, the stack's label, and whether it is
    protected by the engine (data volumes only)."""

    volume: str
    stack: str
    protect: bool = False


class DataVolume(pulumi.ComponentResource):
    """`kopano:volumes:DataVolume`: a volume whose content exists nowhere else.

    Creates a `docker.Volume` that no plan deletes: it is retained when the resource leaves the program or the stack, and
    labels or driver options that differ (a volume of another deployment that was adopted) are never a reason to replace it.
    That holds on the genuine plug-in, where an adopted volume would otherwise be deleted after a refresh. Output: `volume`,
    its name on the Docker host.
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
                ignore_changes=["labels", "driverOpts", "driver"],
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
