"""The proxy through which browsers and phones reach everything."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.blocks import FRONT
from components.settings import HOST_ITSELF, Settings
from components.volumes import ScratchVolume, VolumeArgs
from components.workload import (
    HAPROXY_PATH,
    KEYS_PATH,
    Health,
    KeyBundle,
    Mount,
    Port,
    Workload,
    WorkloadArgs,
    any_address,
    http_ok,
    resource,
)

# Any answer over TLS proves the proxy; what stands behind it has checks of its own. The path is one that the proxy answers by
# itself, with an error, to everybody.
HEALTH = "wget -q -S --no-check-certificate -O /dev/null https://127.0.0.1/api/kwm/v2/admin 2>&1 | grep -q HTTP/"

# A certificate from the internet is for the host's name alone, which this check does not use: it asks the page that redirects.
HEALTH_ACME = "wget -q -S -O /dev/null http://127.0.0.1/ 2>&1 | grep -q HTTP/"

FRONT_PORT = 8080


def front_files(settings: Settings, gateways: pulumi.Output[list[str]]) -> dict[str, pulumi.Output[str]]:
    """The configuration of what takes requests from the proxy in front: from whom, and what it believes of them. `gateways` are
    the addresses under which the Docker host itself is seen."""
    trusted = settings.tls.trusted_proxies if settings.tls else ()

    def written(host: list[str]) -> str:
        known = [address for proxy in trusted for address in (host if proxy == HOST_ITSELF else [proxy])]
        origin = settings.origin.removeprefix("https://")
        return resource(
            "web-front.cfg",
            TRUSTED=" ".join(known),
            FOLDER=HAPROXY_PATH,
            FQDN=settings.fqdn,
            HOST=origin,
            ANY=any_address(settings),
        )

    return {"haproxy.cfg": gateways.apply(written)}


ACME_FILE, ACME_AUTHORITY = "acme.cfg", "acme-ca.pem"


def acme_files(settings: Settings) -> dict[str, str]:
    """What the published image reads to ask another ACME server than Let's Encrypt's: a directive in Caddy's words, and whom it
    trusts there."""
    tls = settings.tls
    if not tls or not tls.directory:
        return {}
    authority = {ACME_AUTHORITY: tls.authority} if tls.authority else {}
    return {ACME_FILE: f"tls {tls.email} {{\n    ca {tls.directory}\n}}\n", **authority}


def _certificate(settings: Settings) -> dict[str, str]:
    """Variables of the published image that say where its certificate is from."""
    if settings.tls and settings.tls.mode == "acme":
        # The image reads the file of that name below /etc, where it has one for each way that it knows.
        files = acme_files(settings)
        mode = f"..{KEYS_PATH}/{ACME_FILE}" if ACME_FILE in files else "tls_auto"
        # Caddy's ACME client reads this by itself; with it, it trusts nobody else.
        trusted = {"LEGO_CA_CERTIFICATES": f"{KEYS_PATH}/{ACME_AUTHORITY}"} if ACME_AUTHORITY in files else {}
        return {"EMAIL": settings.tls.email, "TLS_MODE": mode, **trusted}
    return {"TLS_CERT": f"{KEYS_PATH}/web.pem", "TLS_KEY": f"{KEYS_PATH}/web.key", "TLS_MODE": "tls_custom"}


@dataclass(frozen=True)
class WebArgs:
    """Arguments of `Web`: the settings, the image's id, the network on which the frontends are, the proxy's keys, and the
    image's id and the files of what stands before it where TLS ends in a proxy in front."""

    settings: Settings
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    keys: KeyBundle
    front_image: pulumi.Input[str] | None = None
    front_keys: KeyBundle | None = None


class Web(pulumi.ComponentResource):
    """`kopano:web:Web`: the web proxy, with the certificate of the stack's own authority, an own one, or one that it gets itself.

    Creates the container `web`, which answers to the deployment's host name inside the stack too, and publishes HTTP and HTTPS
    on the Docker host. Where TLS ends in a proxy in front, it publishes nothing, and the container `web_front` takes plain HTTP
    from that proxy alone. Outputs: `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: WebArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:web:Web", name, None, opts)
        settings = args.settings
        fronted = settings.tls_mode == "proxy"
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
                    **_certificate(settings),
                },
                networks=[args.network],
                aliases=[settings.fqdn],
                mounts=[Mount(state, "/.kweb", writable=True)],
                keys=args.keys,
                ports=[] if fronted else [Port(settings.http_port, 80), Port(settings.https_port, 443)],
                machine_id=True,
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"],
                health=Health(HEALTH_ACME if settings.tls_mode == "acme" else HEALTH),
            ),
            child,
        )
        self.containers = {web.alias: web.container}
        if args.front_image is not None and args.front_keys is not None:
            front = Workload(
                f"{name}-front",
                WorkloadArgs(
                    settings=settings,
                    block=FRONT,
                    image=args.front_image,
                    networks=[args.network],
                    keys=args.front_keys,
                    keys_path=HAPROXY_PATH,
                    ports=[Port(settings.http_port, FRONT_PORT, settings.http_address)],
                    health=Health(http_ok(8405, "/health")),
                    after=[web],
                ),
                child,
            )
            self.containers[front.alias] = front.container
        self.register_outputs({"containers": self.containers})
