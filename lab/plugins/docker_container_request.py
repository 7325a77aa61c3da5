"""What the engine is asked for when a container is made."""

from __future__ import annotations

import base64
import io
import tarfile
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from lab.plugins import durations
from lab.plugins.docker_engine import labels_to_map
from lab.plugins.resource import ResourceError
from lab.plugins.schema import Properties

MEBIBYTE = 1024 * 1024


def create_request(wanted: Properties) -> dict[str, Any]:
    """The engine's description of a container."""
    volumes, binds, volumes_from = _volumes(wanted)
    if any(part == "" for part in wanted["command"] or []):
        raise ResourceError("values for command may not be empty")
    request: dict[str, Any] = {
        "Image": wanted["image"],
        "Hostname": wanted["hostname"] or "",
        "Domainname": wanted["domainname"] or "",
        "User": wanted["user"] or "",
        "Tty": bool(wanted["tty"]),
        "OpenStdin": bool(wanted["stdinOpen"]),
        "StopSignal": wanted["stopSignal"] or "",
        "WorkingDir": wanted["workingDir"] or "",
        "Env": wanted["envs"] or [],
        "Labels": labels_to_map(wanted["labels"]),
        "Volumes": volumes,
        "ExposedPorts": {key: {} for key in _port_bindings(wanted)},
        "HostConfig": _host_config(wanted, binds, volumes_from),
    }
    # An empty list would hide the image's own command, entry point or check.
    optional = {
        "Cmd": wanted["command"],
        "Entrypoint": wanted["entrypoints"],
        "StopTimeout": wanted["stopTimeout"],
        "Healthcheck": _healthcheck(wanted["healthcheck"]),
    }
    return {**request, **{name: value for name, value in optional.items() if value}}


def _healthcheck(check: Properties | None) -> dict[str, Any] | None:
    if check is None:
        return None
    request = {
        "Test": check["tests"] or [],
        "Interval": durations.nanoseconds(check["interval"]),
        "Timeout": durations.nanoseconds(check["timeout"]),
        "StartPeriod": durations.nanoseconds(check["startPeriod"]),
        "Retries": check["retries"],
    }
    start_interval = durations.nanoseconds(check["startInterval"])
    return {**request, "StartInterval": start_interval} if start_interval else request


def _port_bindings(wanted: Properties) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in wanted["ports"] or []:
        binding = {"HostIp": port["ip"] or "", "HostPort": str(port["external"] or "")}
        bindings.setdefault(f"{port['internal']}/{port['protocol']}", []).append(binding)
    return bindings


def _volumes(wanted: Properties) -> tuple[dict[str, Any], list[str], list[str]]:
    anonymous: dict[str, Any] = {}
    binds: list[str] = []
    others: list[str] = []
    for volume in wanted["volumes"] or []:
        path, other = volume["containerPath"], volume["fromContainer"]
        source = volume["hostPath"] or volume["volumeName"]
        if not path and not other:
            raise ResourceError("Unable to parse volumes: volume entry without container path or source container")
        if path and other:
            raise ResourceError("Unable to parse volumes: both a container and a path specified in a volume entry")
        if other:
            others.append(other)
            continue
        anonymous[path] = {}
        if source:
            mode = "ro" if volume["readOnly"] else "rw"
            relabel = f",{volume['selinuxRelabel']}" if volume["selinuxRelabel"] else ""
            binds.append(f"{source}:{path}:{mode}{relabel}")
    return anonymous, binds, others


def _host_config(wanted: Properties, binds: list[str], volumes_from: list[str]) -> dict[str, Any]:
    capabilities = wanted["capabilities"] or {}
    config: dict[str, Any] = {
        "AutoRemove": bool(wanted["rm"]),
        "Binds": binds,
        "CapAdd": capabilities.get("adds") or [],
        "CapDrop": capabilities.get("drops") or [],
        "ExtraHosts": [f"{host['host']}:{host['ip']}" for host in wanted["hosts"] or []],
        "Init": bool(wanted["init"]),
        "LogConfig": {"Type": wanted["logDriver"] or "", "Config": wanted["logOpts"] or {}},
        "NetworkMode": wanted["networkMode"],
        "PortBindings": _port_bindings(wanted),
        "Privileged": bool(wanted["privileged"]),
        "PublishAllPorts": bool(wanted["publishAllPorts"]),
        "ReadonlyRootfs": bool(wanted["readOnly"]),
        "RestartPolicy": {"Name": wanted["restart"], "MaximumRetryCount": wanted["maxRetryCount"] or 0},
        "Tmpfs": wanted["tmpfs"] or {},
        "Ulimits": [{"Name": limit["name"], "Soft": limit["soft"], "Hard": limit["hard"]} for limit in wanted["ulimits"] or []],
        "VolumesFrom": volumes_from,
        **_security(wanted),
    }
    swap = wanted["memorySwap"] or 0
    optional: dict[str, Any] = {
        "CgroupParent": wanted["cgroupParent"],
        "CpuShares": wanted["cpuShares"],
        "CpusetCpus": wanted["cpuSet"],
        "Dns": wanted["dns"],
        "DnsOptions": wanted["dnsOpts"],
        "DnsSearch": wanted["dnsSearches"],
        "GroupAdd": wanted["groupAdds"],
        "IpcMode": wanted["ipcMode"],
        "Memory": (wanted["memory"] or 0) * MEBIBYTE,
        "MemoryReservation": (wanted["memoryReservation"] or 0) * MEBIBYTE,
        "MemorySwap": swap * MEBIBYTE if swap > 0 else swap,
        "PidMode": wanted["pidMode"],
        "Runtime": wanted["runtime"],
        "ShmSize": (wanted["shmSize"] or 0) * MEBIBYTE,
        "StorageOpt": wanted["storageOpts"],
        "Sysctls": wanted["sysctls"],
        "UsernsMode": wanted["usernsMode"],
    }
    if wanted["cpus"]:
        optional["NanoCpus"] = int(Decimal(wanted["cpus"]) * 1_000_000_000)
    else:
        optional["CpuPeriod"], optional["CpuQuota"] = wanted["cpuPeriod"], wanted["cpuQuota"]
    return {**config, **{name: value for name, value in optional.items() if value}}


def _security(wanted: Properties) -> dict[str, Any]:
    options = wanted["securityOpts"] or []
    # The engine does not know this option: clients turn it into two empty lists.
    unconfined = "systempaths=unconfined"
    config: dict[str, Any] = {"SecurityOpt": [option for option in options if option != unconfined]}
    return {**config, "MaskedPaths": [], "ReadonlyPaths": []} if unconfined in options else config


def upload_archives(wanted: Properties) -> Iterator[bytes]:
    """One archive for each file that is to be put into the container."""
    for upload in wanted["uploads"] or []:
        given = [upload[name] for name in ("content", "contentBase64", "source") if upload[name]]
        if not given:
            raise ResourceError("error with upload content: one of 'content', 'content_base64', or 'source' must be set")
        if len(given) > 1:
            raise ResourceError("error with upload content: only one of 'content', 'content_base64', or 'source' can be set")
        yield _archive(upload, _content(upload))


def _content(upload: Properties) -> bytes:
    if upload["contentBase64"]:
        return base64.b64decode(upload["contentBase64"])
    if upload["source"]:
        try:
            with open(upload["source"], "rb") as source:
                return source.read()
        except OSError as error:
            raise ResourceError(f"could not read file: open {upload['source']}: {error.strerror}") from None
    return str(upload["content"]).encode()


def _archive(upload: Properties, content: bytes) -> bytes:
    entry = tarfile.TarInfo(upload["file"].lstrip("/"))
    entry.size = len(content)
    entry.mtime = int(time.time())
    entry.mode = int(upload["permissions"], 8) if upload["permissions"] else 0o744 if upload["executable"] else 0o644
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
