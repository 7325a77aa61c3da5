"""An app beside a Kopano stack: its users log in by OpenID at the stack's provider and see their newest mails."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

INSIDE = 8090
PROVIDER = "/.well-known/openid-configuration"
config = pulumi.Config()
stack = pulumi.get_stack()
kopano = pulumi.StackReference(config.get("kopanoStack") or f"organization/kopano/{stack}")
on_host = pulumi.ResourceOptions(provider=docker.Provider("docker"))
url = config.get("url") or f"http://localhost:{INSIDE}"

image = docker.RemoteImage("image", name=config.require("image"), keep_locally=True, opts=on_host)
docker.Container(
    "app",
    name=f"kopano-extra-mailbox-app-{stack}",
    image=image.image_id,
    # The app is a public client, which has no secret: PKCE takes its place. A new authority or another address of the provider
    # replaces the app with the next deployment of this stack.
    envs=[
        pulumi.Output.concat("KOPANO_CA=", kopano.require_output("caCertificate")),
        kopano.require_output("urls").apply(lambda urls: f"KOPANO_ISSUER={urls['openid'].removesuffix(PROVIDER)}"),
        f"APP_CLIENT={config.get('clientId') or 'extra-mailbox-app'}",
        f"APP_URL={url}",
    ],
    labels=[docker.ContainerLabelArgs(label="kopano.example", value=f"extra-mailbox-app-{stack}")],
    # There the proxy answers to the host name of the deployment, to containers as to browsers.
    networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=kopano.require_output("networks")["web"])],
    ports=[
        docker.ContainerPortArgs(
            internal=INSIDE, external=config.get_int("port") or INSIDE, ip=config.get("bindAddress") or "127.0.0.1"
        )
    ],
    tmpfs={"/tmp": ""},
    # As the containers of Kopano: nothing to write to, nothing that is allowed, no more than it needs.
    read_only=True,
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
    security_opts=["no-new-privileges:true"],
    memory=128,
    memory_swap=128,
    ulimits=[
        docker.ContainerUlimitArgs(name="nofile", soft=1024, hard=1024),
        docker.ContainerUlimitArgs(name="nproc", soft=4096, hard=4096),
    ],
    log_driver="json-file",
    log_opts={"max-file": "3", "max-size": "10m"},
    # Python as the first process of a container would not end when it is told to.
    init=True,
    restart="always",
    healthcheck=docker.ContainerHealthcheckArgs(
        tests=["CMD", "curl", "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{INSIDE}/health-check"],
        interval="5s",
        timeout="10s",
        retries=6,
        start_period="30s",
    ),
    wait=True,
    wait_timeout=120,
    opts=pulumi.ResourceOptions(provider=on_host.provider, delete_before_replace=True, replace_on_changes=["healthcheck"]),
)

pulumi.export("url", url)
pulumi.export("redirect", f"{url}/callback")
