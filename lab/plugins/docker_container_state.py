"""What the engine tells about a container, as the state keeps it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from lab.plugins import durations
from lab.plugins.docker_container_request import MEBIBYTE
from lab.plugins.schema import Properties


def described(state: Properties, found: dict[str, Any]) -> Properties:
    """The state brought up to date; what the engine does not tell, or only guesses, stays as it was."""
    config, host, running = found["Config"], found["HostConfig"], found["State"]["Running"]
    log = host["LogConfig"]
    new = {
        **state,
        "bridge": found["NetworkSettings"].get("Bridge", ""),
        "command": config.get("Cmd") or [],
        "cpuSet": host["CpusetCpus"],
        "cpuShares": host["CpuShares"],
        "deviceReadBps": [],
        "deviceReadIops": [],
        "deviceWriteBps": [],
        "deviceWriteIops": [],
        "dns": host.get("Dns") or [],
        "dnsOpts": host.get("DnsOptions") or [],
        "dnsSearches": host.get("DnsSearch") or [],
        "domainname": config["Domainname"],
        "entrypoints": config.get("Entrypoint") or [],
        "groupAdds": host.get("GroupAdd") or [],
        "hostname": config["Hostname"],
        "hosts": [_extra_host(entry) for entry in host.get("ExtraHosts") or []],
        "image": found["Image"] if state["image"].startswith("sha256:") else config["Image"],
        "init": bool(host.get("Init")),
        "ipcMode": host["IpcMode"],
        "logDriver": log["Type"],
        "logOpts": (log.get("Config") or {}) if state["logOpts"] else {},
        "maxRetryCount": host["RestartPolicy"]["MaximumRetryCount"],
        "memory": host["Memory"] // MEBIBYTE,
        "memoryReservation": host["MemoryReservation"] // MEBIBYTE,
        "memorySwap": _swap(host["MemorySwap"]),
        "mounts": [],
        "name": found["Name"].lstrip("/"),
        "networkDatas": _networks(found["NetworkSettings"]),
        "networkMode": host["NetworkMode"],
        "platform": found["Platform"],
        "privileged": host["Privileged"],
        "publishAllPorts": host["PublishAllPorts"],
        "readOnly": host["ReadonlyRootfs"],
        "restart": host["RestartPolicy"]["Name"],
        "rm": host["AutoRemove"],
        "runtime": host["Runtime"],
        "securityOpts": sorted(host.get("SecurityOpt") or []),
        "shmSize": host["ShmSize"] // MEBIBYTE,
        "stdinOpen": config["OpenStdin"],
        "stopSignal": config.get("StopSignal", ""),
        "stopTimeout": config.get("StopTimeout") or 0,
        "storageOpts": host.get("StorageOpt") or {},
        "sysctls": host.get("Sysctls") or {},
        "tmpfs": host.get("Tmpfs") or {},
        "tty": config["Tty"],
        "user": config["User"],
        "usernsMode": host["UsernsMode"],
        "workingDir": config["WorkingDir"],
    }
    if state["ports"] and (running or state["mustRun"]):
        new["ports"] = _ports(found["NetworkSettings"].get("Ports") or {})
    if not running:
        new["exitCode"] = found["State"]["ExitCode"]
        # That the container stopped shows as a change that asks for it to run.
        new["mustRun"] = False
    if host.get("CapAdd") or host.get("CapDrop"):
        new["capabilities"] = {"adds": sorted(host.get("CapAdd") or []), "drops": sorted(host.get("CapDrop") or [])}
    if state["ulimits"]:
        limits = sorted(host.get("Ulimits") or [], key=lambda limit: (limit["Hard"], limit["Name"]))
        new["ulimits"] = [{"hard": limit["Hard"], "name": limit["Name"], "soft": limit["Soft"]} for limit in limits]
    if host.get("NanoCpus"):
        new["cpus"] = f"{(Decimal(host['NanoCpus']) / 1_000_000_000).normalize():f}"
    if state["pidMode"]:
        new["pidMode"] = host["PidMode"]
    if config.get("Healthcheck") is not None:
        new["healthcheck"] = _healthcheck(config["Healthcheck"])
    return new


def _healthcheck(check: dict[str, Any]) -> Properties:
    return {
        "interval": durations.written(check.get("Interval", 0)),
        "retries": check.get("Retries", 0),
        "startInterval": durations.written(check.get("StartInterval", 0)),
        "startPeriod": durations.written(check.get("StartPeriod", 0)),
        "tests": check.get("Test") or [],
        "timeout": durations.written(check.get("Timeout", 0)),
    }


def _extra_host(entry: str) -> dict[str, str]:
    host, _, address = entry.partition(":")
    return {"host": host, "ip": address}


def _swap(amount: int) -> int:
    return amount // MEBIBYTE if amount > 0 else amount


def _networks(settings: dict[str, Any]) -> list[Properties]:
    return [
        {
            "gateway": endpoint["Gateway"],
            "globalIpv6Address": endpoint["GlobalIPv6Address"],
            "globalIpv6PrefixLength": endpoint["GlobalIPv6PrefixLen"],
            "ipAddress": endpoint["IPAddress"],
            "ipPrefixLength": endpoint["IPPrefixLen"],
            "ipv6Gateway": endpoint["IPv6Gateway"],
            "macAddress": endpoint["MacAddress"],
            "networkName": name,
        }
        for name, endpoint in sorted((settings.get("Networks") or {}).items())
    ]


def _ports(ports: dict[str, list[dict[str, str]] | None]) -> list[Properties]:
    published = []
    for key, bindings in sorted(ports.items(), key=lambda item: int(item[0].split("/")[0])):
        internal, protocol = key.split("/")
        for binding in bindings or []:
            published.append(
                {
                    "external": int(binding["HostPort"]),
                    "internal": int(internal),
                    "ip": binding["HostIp"],
                    "protocol": protocol,
                }
            )
    return published
