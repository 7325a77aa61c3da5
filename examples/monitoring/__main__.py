"""Monitoring of a Kopano stack: an exporter on the stack's networks that asks each block whether it answers."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

INSIDE = 9236
config = pulumi.Config()
stack = pulumi.get_stack()
kopano = pulumi.StackReference(config.get("kopanoStack") or f"organization/kopano/{stack}")
on_host = pulumi.ResourceOptions(provider=docker.Provider("docker"))

networks = kopano.require_output("networks")
image = docker.RemoteImage("image", name=config.require("image"), keep_locally=True, opts=on_host)
docker.Container(
    "exporter",
    name=f"kopano-monitoring-{stack}",
    image=image.image_id,
    # What the stack says of itself in its outputs; no secret is among it. A new authority or another block replaces the
    # exporter with the next deployment of this stack.
    envs=[
        kopano.require_output("containers").apply(lambda containers: f"KOPANO_BLOCKS={' '.join(sorted(containers))}"),
        pulumi.Output.concat("KOPANO_CA=", kopano.require_output("caCertificate")),
        pulumi.Output.concat("KOPANO_FQDN=", kopano.require_output("fqdn")),
        f"KOPANO_SECONDS={config.get_int('seconds') or 15}",
    ],
    labels=[docker.ContainerLabelArgs(label="kopano.example", value=f"monitoring-{stack}")],
    networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=networks[network]) for network in ("kopano", "ldap", "web")],
    ports=[
        docker.ContainerPortArgs(
            internal=INSIDE, external=config.get_int("port") or INSIDE, ip=config.get("bindAddress") or "127.0.0.1"
        )
    ],
    # As the containers of Kopano: nothing to write to, nothing that is allowed, no more than it needs.
    read_only=True,
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
    security_opts=["no-new-privileges:true"],
    memory=96,
    memory_swap=96,
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

address = f"http://{config.get('bindAddress') or '127.0.0.1'}:{config.get_int('port') or INSIDE}"
pulumi.export("page", f"{address}/")
pulumi.export("metrics", f"{address}/metrics")
