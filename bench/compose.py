"""The same deployment as a compose file: made from what the program asked the engine for, so that both run the same.

A cold start is kinder to Compose by one thing: keys and passwords, which the program makes, are there for it already.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.stack import CONTAINER, NETWORK, VOLUME, of_types
from tools.words import FailureError

IMAGE = "docker:index/remoteImage:RemoteImage"
UPLOADS_PATH = "/uploaded"
"""Where a service finds the files that the program uploads into its container."""

SHELL = ["/bin/sh", "-euc"]

# How the state marks a secret.
_SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"  # noqa: S105

# What says how the plug-in goes to work, and not what the container is; and what `_service` reads.
_OF_THE_PLUG_IN = frozenset(
    {
        "__defaults",
        "attach",
        "containerReadRefreshTimeoutMilliseconds",
        "destroyGraceSeconds",
        "mustRun",
        "removeVolumes",
        "start",
        "wait",
        "waitTimeout",
    }
)
_SAME_WORD = {
    "command": "command",
    "domainname": "domainname",
    "entrypoints": "entrypoint",
    "hostname": "hostname",
    "name": "container_name",
    "readOnly": "read_only",
    "restart": "restart",
    "securityOpts": "security_opt",
    "user": "user",
}
_TRANSLATED = frozenset(
    {
        "capabilities",
        "envs",
        "healthcheck",
        "image",
        "labels",
        "logDriver",
        "logOpts",
        "memory",
        "memorySwap",
        "networkMode",
        "networksAdvanced",
        "ports",
        "stopTimeout",
        "tmpfs",
        "ulimits",
        "uploads",
        "volumes",
    }
)


@dataclass(frozen=True)
class Composed:
    """A compose file, and the files that its services find in place of uploads: service -> path -> content. Both hold secrets."""

    document: dict[str, Any]
    uploads: dict[str, dict[str, bytes]]

    def write(self, folder: Path) -> Path:
        """Write all below a folder, readable for its owner alone, and return the path of the compose file."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for service, files in self.uploads.items():
            for path, content in files.items():
                target = folder / "uploads" / service / path.lstrip("/")
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write(target, content)
        file = folder / "compose.json"
        _write(file, json.dumps(self.document, indent=1).encode())
        return file


def _write(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        target.write(content)


def opened(value: Any) -> Any:
    """A value of the state (`stack export --show-secrets`) with its secrets opened."""
    if isinstance(value, dict):
        if _SECRET_SIGNATURE in value:
            return opened(json.loads(value["plaintext"]))
        return {key: opened(inner) for key, inner in value.items()}
    return [opened(inner) for inner in value] if isinstance(value, list) else value


def compose(project: str, entries: Iterable[dict[str, Any]], folder: Path) -> Composed:
    """The compose file for the resources of a stack, as its state has them. `folder` is where it will be written.

    A service waits for the health (a one-shot: for the end) of exactly those that the program lets its container wait for. Raises
    FailureError for an input that is not translated: a comparison without it would not be fair.
    """
    resources = [{**entry, "inputs": opened(entry["inputs"]), "outputs": opened(entry["outputs"])} for entry in _all(entries)]
    containers = {entry["urn"]: entry for entry in of_types(resources, CONTAINER)}
    services = {urn: _block(entry) for urn, entry in containers.items()}
    images = {entry["outputs"]["imageId"]: entry["inputs"]["name"] for entry in of_types(resources, IMAGE)}
    networks = {entry["id"]: entry["inputs"] for entry in of_types(resources, NETWORK)}
    volumes = {entry["inputs"]["name"]: entry["inputs"] for entry in of_types(resources, VOLUME)}
    document: dict[str, Any] = {"name": project, "services": {}, "networks": {}, "volumes": {}}
    uploads: dict[str, dict[str, bytes]] = {}
    for urn, entry in containers.items():
        service = services[urn]
        inputs = entry["inputs"]
        _refuse_unknown(service, inputs)
        made = _service(inputs, images, networks)
        made["depends_on"] = {
            services[other]: {"condition": _condition(containers[other]["inputs"])}
            for other in sorted(set(entry.get("dependencies") or []) & set(containers))
        }
        if inputs.get("uploads"):
            uploads[service] = {upload["file"]: _content(upload) for upload in inputs["uploads"]}
            _find_uploads(service, made, folder / "uploads" / service)
        document["services"][service] = made
    for network in networks.values():
        document["networks"][network["name"]] = _present(
            name=network["name"], driver=network.get("driver"), internal=network.get("internal"), labels=_labels(network)
        )
    for name, volume in volumes.items():
        document["volumes"][name] = {"name": name, "labels": _labels(volume)}
    return Composed(_escaped(document), uploads)


def with_variable(composed: Composed, service: str, name: str, value: str) -> Composed:
    """The same with one variable of one service set."""
    changed = json.loads(json.dumps(composed.document))
    changed["services"][service]["environment"][name] = _escaped(value)
    return Composed(changed, composed.uploads)


def _all(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"inputs": {}, "outputs": {}, **entry} for entry in entries if not entry.get("delete")]


def _block(entry: Mapping[str, Any]) -> str:
    return str(_labels(entry["inputs"])["kopano.block"])


def _refuse_unknown(service: str, inputs: Mapping[str, Any]) -> None:
    if unknown := sorted(set(inputs) - _OF_THE_PLUG_IN - set(_SAME_WORD) - _TRANSLATED):
        raise FailureError(
            f"block {service}: bench/compose.py does not translate {', '.join(unknown)}, so Compose would run something else; add"
            " it there"
        )


def _condition(inputs: Mapping[str, Any]) -> str:
    return "service_healthy" if inputs.get("healthcheck") else "service_completed_successfully"


def _service(inputs: Mapping[str, Any], images: Mapping[str, str], networks: Mapping[str, Any]) -> dict[str, Any]:
    check = inputs.get("healthcheck")
    capabilities = inputs.get("capabilities") or {}
    made = {word: inputs[name] for name, word in _SAME_WORD.items() if inputs.get(name)}
    return made | _present(
        image=images[inputs["image"]],
        # By name: what is not there would be a failure of the measurement, not something to download.
        pull_policy="never",
        environment=dict(entry.split("=", 1) for entry in inputs.get("envs") or []),
        labels=_labels(inputs),
        networks={
            networks[network["name"]]["name"]: {"aliases": network.get("aliases") or []}
            for network in inputs.get("networksAdvanced") or []
        },
        # The plug-in says `bridge` beside the networks of its own accord.
        network_mode=None if inputs.get("networksAdvanced") else inputs.get("networkMode"),
        volumes=[_mount(volume) for volume in inputs.get("volumes") or []],
        tmpfs=sorted(inputs.get("tmpfs") or {}),
        ports=[
            {"target": port["internal"], "published": str(port["external"]), "host_ip": port["ip"], "protocol": "tcp"}
            for port in inputs.get("ports") or []
        ],
        # No `start_interval`: the plug-in gives 0 of its own accord, and engines before 25 know none.
        healthcheck=check
        and {
            "test": check["tests"],
            "interval": check["interval"],
            "timeout": check["timeout"],
            "retries": check["retries"],
            "start_period": check["startPeriod"],
        },
        cap_add=capabilities.get("adds"),
        cap_drop=capabilities.get("drops"),
        mem_limit=f"{inputs['memory']}m",
        memswap_limit=f"{inputs['memorySwap']}m",
        ulimits={limit["name"]: {"soft": limit["soft"], "hard": limit["hard"]} for limit in inputs.get("ulimits") or []},
        logging={"driver": inputs["logDriver"], "options": inputs["logOpts"]},
        stop_grace_period=f"{inputs['stopTimeout']}s",
    )


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _labels(inputs: Mapping[str, Any]) -> dict[str, str]:
    return {label["label"]: label["value"] for label in inputs.get("labels") or []}


def _mount(volume: Mapping[str, Any]) -> dict[str, Any]:
    kind, source = ("bind", volume["hostPath"]) if volume.get("hostPath") else ("volume", volume["volumeName"])
    return {"type": kind, "source": source, "target": volume["containerPath"], "read_only": bool(volume.get("readOnly"))}


def _content(upload: Mapping[str, Any]) -> bytes:
    return base64.b64decode(upload["contentBase64"]) if upload.get("contentBase64") else str(upload["content"]).encode()


def _find_uploads(service: str, made: dict[str, Any], folder: Path) -> None:
    """Compose uploads nothing: a folder of the host holds the files, and the container begins by copying them."""
    if made.get("entrypoint") != SHELL:
        raise FailureError(f"block {service}: bench/compose.py knows uploads only where the container runs {' '.join(SHELL)}")
    made["command"] = [f"cp -R {UPLOADS_PATH}/. /\n{made['command'][0]}"]
    made["volumes"].append({"type": "bind", "source": str(folder), "target": UPLOADS_PATH, "read_only": True})


def _escaped(value: Any) -> Any:
    """Compose replaces what follows a dollar sign by a variable of its own environment, unless the sign is doubled."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
