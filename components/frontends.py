"""What users see in a browser."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.core import SOCKETS_PATH
from components.settings import Settings
from components.volumes import DataVolume, VolumeArgs
from components.workload import Health, KeyBundle, Mount, Workload, WorkloadArgs


@dataclass(frozen=True)
class FrontendsArgs:
    """Arguments of `Frontends`: the settings, the WebApp image's id, the networks to join, the WebApp's keys, and the volume
    of the server's sockets."""

    settings: Settings
    webapp_image: pulumi.Input[str]
    kopano_network: pulumi.Input[str]
    web_network: pulumi.Input[str]
    webapp_keys: KeyBundle
    sockets: pulumi.Input[str]


class Frontends(pulumi.ComponentResource):
    """`kopano:frontends:Frontends`: the WebApp.

    Creates the volume of the users' settings and the container `kopano_webapp`. Outputs: `volumes` (logical name -> name),
    `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: FrontendsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:frontends:Frontends", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        data = DataVolume(
            f"{name}-webapp-data",
            VolumeArgs(f"{settings.prefix}-kopanowebapp", settings.stack, protect=settings.protect_data),
            child,
        ).volume
        webapp = Workload(
            f"{name}-webapp",
            WorkloadArgs(
                settings=settings,
                block="webapp",
                image=args.webapp_image,
                hostname="kopano_webapp",
                domainname=settings.fqdn,
                environment={"KCCONF_WEBAPP_CLIENT_TIMEOUT": "0"},
                networks=[args.kopano_network, args.web_network],
                mounts=[
                    Mount(data, "/var/lib/kopano-webapp", writable=True),
                    Mount(args.sockets, SOCKETS_PATH, writable=True),
                ],
                keys=args.webapp_keys,
                tmpfs=["/run/php", "/run/sessions", "/tmp", "/var/lib/kopano-webapp/plugin_files", "/var/log"],
                machine_id=True,
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"],
                health=Health("curl -fsS -o /dev/null http://127.0.0.1:9080/status"),
            ),
            child,
        )
        self.volumes = {"kopanowebapp": data}
        self.containers = {webapp.alias: webapp.container}
        self.register_outputs({"volumes": self.volumes, "containers": self.containers})
