"""The properties of docker.Container."""

from __future__ import annotations

import base64
import binascii

from lab.plugins import durations
from lab.plugins.docker_network import LABELS
from lab.plugins.schema import Field, ResourceSchema, Value, at_least, matching, one_of


def _base64(value: Value) -> str | None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        # The value itself may be secret.
        return "is not valid base64"
    return None


def _absolute(value: Value) -> str | None:
    return None if value.startswith("/") else f"must be an absolute path, got {value!r}"


def _same_ports(old: list[Value], new: list[Value]) -> bool:
    """Whether the ports are the same in any order; an external port that is not given may be any."""

    def publishes(before: Value, after: Value) -> bool:
        return all(after.get(name) in (before.get(name), None) for name in ("internal", "external", "ip", "protocol"))

    if not all(isinstance(port, dict) for port in [*old, *new]):
        return False
    left = list(old)
    for port in new:
        partner = next((candidate for candidate in left if publishes(candidate, port)), None)
        if partner is None:
            return False
        left.remove(partner)
    return not left


def _texts(kind: str = "set", **settings: Value) -> Field:
    return Field(kind, force_new=True, **settings)


def _unavailable(kind: str, *, force_new: bool = True) -> Field:
    return Field(kind, force_new=force_new, implemented=False, block=kind == "set", fields={} if kind == "set" else None)


_DURATION = Field("text", default="0s", check=durations.problem)
_LIMIT = Field("int", check=at_least(0))

FIELDS: dict[str, Field] = {
    "attach": Field("bool", default=False),
    "bridge": Field("text", output_only=True),
    "capabilities": Field(
        "one",
        force_new=True,
        block=True,
        fields={"adds": Field("set", upstream_name="add"), "drops": Field("set", upstream_name="drop")},
    ),
    "cgroupParent": Field("text", force_new=True),
    "cgroupnsMode": _unavailable("text"),
    "command": _texts("list", computed=True),
    "containerLogs": Field("text", output_only=True),
    "containerReadRefreshTimeoutMilliseconds": Field("int", default=15000),
    "cpuPeriod": _LIMIT,
    "cpuQuota": _LIMIT,
    "cpuSet": Field("text", check=matching(r"\d+([,-]\d+)*", "0-3 or 0,1")),
    "cpuShares": _LIMIT,
    "cpus": Field("text", force_new=True, check=matching(r"\d+(\.\d+)?", "1.5")),
    "destroyGraceSeconds": Field("int"),
    "deviceReadBps": _unavailable("set", force_new=False),
    "deviceReadIops": _unavailable("set", force_new=False),
    "deviceRequests": _unavailable("set"),
    "deviceWriteBps": _unavailable("set", force_new=False),
    "deviceWriteIops": _unavailable("set", force_new=False),
    "devices": _unavailable("set"),
    "dns": _texts(),
    "dnsOpts": _texts(),
    "dnsSearches": _texts(upstream_name="dns_search"),
    "domainname": Field("text", force_new=True),
    "entrypoints": _texts("list", computed=True, upstream_name="entrypoint"),
    "envs": _texts(computed=True, upstream_name="env"),
    "exitCode": Field("int", output_only=True),
    "gpus": _unavailable("text"),
    "groupAdds": _texts(upstream_name="group_add"),
    "healthcheck": Field(
        "one",
        computed=True,
        fields={
            "interval": _DURATION,
            "retries": Field("int", default=0, check=at_least(0)),
            "startInterval": _DURATION,
            "startPeriod": _DURATION,
            "tests": Field("list", upstream_name="test"),
            "timeout": _DURATION,
        },
    ),
    "hostname": Field("text", computed=True, force_new=True),
    "hosts": Field(
        "set",
        force_new=True,
        block=True,
        upstream_name="host",
        fields={"host": Field("text", required=True), "ip": Field("text", required=True)},
    ),
    "image": Field("text", required=True, force_new=True),
    "init": Field("bool", computed=True),
    "ipcMode": Field("text", computed=True, force_new=True),
    "labels": Field("set", computed=True, force_new=True, fields=LABELS),
    "logDriver": Field("text", computed=True, force_new=True),
    "logOpts": Field("map", force_new=True),
    "logs": Field("bool", default=False),
    "maxRetryCount": Field("int"),
    "memory": _LIMIT,
    "memoryReservation": Field("int", default=0, check=at_least(0)),
    "memorySwap": Field("int", check=at_least(-1)),
    "mounts": _unavailable("set"),
    "mustRun": Field("bool", default=True),
    "name": Field("text", required=True, force_new=True),
    "networkDatas": Field(
        "list",
        output_only=True,
        upstream_name="network_data",
        fields={
            "gateway": Field("text"),
            "globalIpv6Address": Field("text"),
            "globalIpv6PrefixLength": Field("int"),
            "ipAddress": Field("text"),
            "ipPrefixLength": Field("int"),
            "ipv6Gateway": Field("text"),
            "macAddress": Field("text"),
            "networkName": Field("text"),
        },
    ),
    "networkMode": Field("text", default="bridge", force_new=True),
    "networksAdvanced": Field(
        "set",
        force_new=True,
        block=True,
        fields={
            "aliases": Field("set"),
            "driverOpts": Field("set", implemented=False),
            "gwPriority": Field("int", implemented=False),
            "ipv4Address": Field("text"),
            "ipv6Address": Field("text"),
            "linkLocalIps": Field("set"),
            "macAddress": Field("text", implemented=False),
            "name": Field("text", required=True),
        },
    ),
    "pidMode": Field("text", force_new=True),
    "platform": Field("text", computed=True, force_new=True),
    "ports": Field(
        "list",
        force_new=True,
        block=True,
        same=_same_ports,
        fields={
            "external": Field("int", computed=True),
            "internal": Field("int", required=True),
            "ip": Field("text", default="0.0.0.0", keep_input=True),
            "protocol": Field("text", default="tcp"),
        },
    ),
    "privileged": Field("bool", force_new=True),
    "publishAllPorts": Field("bool", force_new=True),
    "readOnly": Field("bool", default=False, force_new=True),
    "removeVolumes": Field("bool", default=True),
    "restart": Field("text", default="no", check=one_of("no", "on-failure", "always", "unless-stopped")),
    "rm": Field("bool", default=False),
    "runtime": Field("text", computed=True, force_new=True),
    "securityOpts": _texts(computed=True),
    "shmSize": Field("int", computed=True, force_new=True, check=at_least(0)),
    "start": Field("bool", default=True),
    "stdinOpen": Field("bool", default=False, force_new=True),
    "stopSignal": Field("text", computed=True, force_new=True),
    "stopTimeout": Field("int", computed=True, force_new=True),
    "storageOpts": Field("map", force_new=True),
    "sysctls": Field("map", force_new=True),
    "tmpfs": Field("map"),
    "tty": Field("bool", default=False, force_new=True),
    "ulimits": Field(
        "set",
        force_new=True,
        block=True,
        upstream_name="ulimit",
        fields={
            "hard": Field("int", required=True),
            "name": Field("text", required=True),
            "soft": Field("int", required=True),
        },
    ),
    "uploads": Field(
        "set",
        force_new=True,
        block=True,
        upstream_name="upload",
        fields={
            "content": Field("text"),
            "contentBase64": Field("text", check=_base64),
            "executable": Field("bool", default=False),
            "file": Field("text", required=True),
            "permissions": Field("text", check=matching("0[0-7]{3}", "0644")),
            "source": Field("text"),
            "sourceHash": Field("text"),
        },
    ),
    "user": Field("text", force_new=True, empty_keeps=True),
    "usernsMode": Field("text", force_new=True),
    "volumes": Field(
        "set",
        force_new=True,
        block=True,
        fields={
            "containerPath": Field("text"),
            "fromContainer": Field("text"),
            "hostPath": Field("text", check=_absolute),
            "readOnly": Field("bool"),
            "selinuxRelabel": Field("text", check=one_of("z", "Z")),
            "volumeName": Field("text"),
        },
    ),
    "wait": Field("bool", default=False),
    "waitTimeout": Field("int", default=60),
    "workingDir": Field("text", force_new=True, empty_keeps=True),
}

SCHEMA = ResourceSchema(
    token="docker:index/container:Container",
    autonamed=True,
    delete_before_replace=True,
    schema_version="2",
    timeouts=True,
    fields=FIELDS,
)
