"""The proxy through which browsers and phones reach everything."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.settings import Settings
from components.volumes import ScratchVolume, VolumeArgs
from components.workload import KEYS_PATH, Health, KeyBundle, Mount, Port, Workload, WorkloadArgs

# Any answer over TLS proves the proxy; what stands behind it has checks of its own. The path is one that the proxy answers by
# itself, with an error, to everybody.
HEALTH = "wget -q -S --no-check-certificate -O /dev/null https://127.0.0.1/api/kwm/v2/admin 2>&1 | grep -q HTTP/"


@dataclass(frozen=True)
class WebArgs:
    """Arguments of `Web`: the settings, the image's id, the network on which the frontends are, and the proxy's keys."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    keys: KeyBundle


class Web(pulumi.ComponentResource):
    """`kopano:web:Web`: the web proxy, with the certificate of the stack's own authority.

    Creates the container `web`, which answers to the deployment's host name inside the stack too, and publishes HTTP and HTTPS
    on the Docker host. Outputs: `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: WebArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:web:Web", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        state = ScratchVolume(f"{name}-state", VolumeArgs(f"{settings.prefix}-web", settings.stack), child).volume
        web = Workload(
            name,
            WorkloadArgs(
                settings=settings,
                block="web",
                image=args.image,
                environment={
                    "DEFAULTREDIRECT": "/webapp",
                    "FQDN": settings.fqdn,
                    "HTTPS_PORT": str(settings.https_port),
                    "TLS_CERT": f"{KEYS_PATH}/web.pem",
                    "TLS_KEY": f"{KEYS_PATH}/web.key",
                    "TLS_MODE": "tls_custom",
                },
                networks=[args.network],
                aliases=[settings.fqdn],
                mounts=[Mount(state, "/.kweb", writable=True)],
                keys=args.keys,
                ports=[Port(settings.http_port, 80), Port(settings.https_port, 443)],
                machine_id=True,
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"],
                health=Health(HEALTH),
            ),
            child,
        )
        self.containers = {web.alias: web.container}
        self.register_outputs({"containers": self.containers})
