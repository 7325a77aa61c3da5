"""The rules, written once: Pulumi's engine asks them by the policy pack, and `make lint` over the program's graph.

A rule looks at one resource and says in words what is wrong with it. Nothing here knows who asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/remoteImage:RemoteImage"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"

DEV = "dev"
"""The stack in which an image may be whatever was built last."""

SOCKET_HOLDER = "docker-proxy"
"""The one block that gets the Docker socket. That is its purpose: it answers nothing but what the scheduler needs (`docker exec`
into containers of this stack), so that no other block has to have it."""

HIDDEN_BLOCKS = ("db", "ldap")
HIDDEN_PORTS = {3306: "the database", 389: "the directory", 636: "the directory"}

SOCKETS = re.compile(r".*\.sock(et)?|/?|/var|(/var)?/run(/(docker|containerd))?")
"""Paths of the Docker host that are the engine's socket, or a folder in which it is."""

ALMIGHTY = ("ALL", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO")
"""Capabilities with which a container is as good as privileged."""

SECRET_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "random:index/randomPassword:RandomPassword": ("result",),
    "random:index/randomBytes:RandomBytes": ("base64", "hex"),
    "tls:index/privateKey:PrivateKey": ("privateKeyPem", "privateKeyPemPkcs8"),
}
"""Types of resources -> their outputs that are secret."""

SECRET_NAME = re.compile(
    r"(^|[_.-])(pass|passwd|password|passphrase|pw|pwd|secret|token|credentials?|private_?key|api_?key)$", re.I
)
NO_SECRET = ("WHO_CAN_CHANGE_PASSWORD",)
"""Variables that are named like a secret and are none."""

RETAINED = ("name", "labels", "driver", "driverOpts")
"""Inputs of a data volume whose change would replace it by an empty one."""


@dataclass(frozen=True)
class Resource:
    """A resource as a rule sees it: its inputs with all secrets opened, the inputs whose changes are ignored, and whether it
    is left where it is when it leaves the stack (None: who asks cannot know)."""

    type: str
    name: str
    urn: str
    inputs: Mapping[str, Any]
    ignored: Collection[str] = ()
    retained: bool | None = None

    @property
    def stack(self) -> str:
        """The name of the stack."""
        return self.urn.split("::")[0].rpartition(":")[2]

    @property
    def labels(self) -> dict[str, str]:
        """Its labels on the Docker host."""
        return {str(label["label"]): str(label.get("value", "")) for label in self.inputs.get("labels") or []}

    @property
    def block(self) -> str:
        """The block that a container runs."""
        return self.labels.get("kopano.block", self.name)


Check = Callable[[Resource, Collection[str]], Iterator[str]]


@dataclass(frozen=True)
class Rule:
    """A rule: what must hold, and what finds where it does not. `check` gets a resource and the values that are known to be
    secret, and yields a sentence for each breach."""

    name: str
    description: str
    check: Check


def _moving(reference: str) -> str | None:
    """Why an image reference does not say which image it is, or None."""
    if "@sha256:" in reference or reference.startswith("sha256:"):
        return None
    tag = reference.rpartition("/")[2].partition(":")[2]
    if not tag:
        return "has no tag, which means latest"
    # Every release has a number. What has none is moved by its publisher: latest, stable, main, edge.
    return None if re.search(r"\d", tag) else f"has the tag {tag}, which names no release"


def _pinned(resource: Resource, _: Collection[str]) -> Iterator[str]:
    # A container runs by an image's id, which a first preview does not know yet.
    reference = str(resource.inputs.get({IMAGE: "name", CONTAINER: "image"}.get(resource.type, ""), ""))
    if reference and resource.stack != DEV and (why := _moving(reference)):
        yield f"the image {reference} {why}: give a release in kopano:imageTags or a digest in kopano:images"


def _socket(resource: Resource, _: Collection[str]) -> Iterator[str]:
    if resource.type != CONTAINER or resource.block == SOCKET_HOLDER:
        return
    for mount in resource.inputs.get("volumes") or []:
        path = str(mount.get("hostPath") or "")
        # A folder in which the socket is gives it away as well.
        if path.endswith((".sock", ".socket")) or (
            path and path.rstrip("/") in ("", "/run", "/var/run", "/var", "/run/containerd")
        ):
            yield f"block {resource.block} gets {path} of the Docker host: only {SOCKET_HOLDER} may reach the Docker Engine"


def _unprivileged(resource: Resource, _: Collection[str]) -> Iterator[str]:
    if resource.type != CONTAINER:
        return
    if resource.inputs.get("privileged"):
        yield f"block {resource.block} is privileged: give it the capabilities that it needs"
    added = {name if name == "ALL" else f"CAP_{name.removeprefix('CAP_')}" for name in _capabilities(resource)}
    if almighty := sorted(added.intersection(ALMIGHTY)):
        yield f"block {resource.block} has {', '.join(almighty)}, which is as good as privileged"
    for of_host in ("pidMode", "ipcMode", "usernsMode"):
        if resource.inputs.get(of_host) == "host":
            yield f"block {resource.block} shares {of_host} with the Docker host, which is as good as privileged"


def _capabilities(resource: Resource) -> list[str]:
    return [str(name).upper() for name in (resource.inputs.get("capabilities") or {}).get("adds") or []]


def _unpublished(resource: Resource, _: Collection[str]) -> Iterator[str]:
    if resource.type != CONTAINER:
        return
    if resource.block in HIDDEN_BLOCKS and resource.inputs.get("networkMode") == "host":
        yield f"block {resource.block} is on the Docker host's own network: nothing outside the stack's networks may reach it"
    for port in resource.inputs.get("ports") or []:
        inner, outer = int(port["internal"]), int(port.get("external") or 0)
        if resource.block in HIDDEN_BLOCKS or inner in HIDDEN_PORTS:
            what = HIDDEN_PORTS.get(inner, f"block {resource.block}")
            yield f"{what} is published on port {outer or 'any'} of the Docker host: take it out of kopano:publish"


def _limited(resource: Resource, _: Collection[str]) -> Iterator[str]:
    if resource.type != CONTAINER:
        return
    memory = resource.inputs.get("memory") or 0
    if memory <= 0:
        yield f"block {resource.block} has no memory limit"
    elif resource.inputs.get("memorySwap") != memory:
        yield f"block {resource.block} may use swap beside its memory limit"
    limits = {str(limit["name"]) for limit in resource.inputs.get("ulimits") or []}
    if missing := sorted({"nofile", "nproc"} - limits):
        yield f"block {resource.block} has no limit of {' and '.join(missing)}"


def _health_checked(resource: Resource, _: Collection[str]) -> Iterator[str]:
    # A job has nothing to be healthy for: it is over when the deployment goes on, and its end is waited for.
    if resource.type != CONTAINER or resource.inputs.get("mustRun") is False:
        return
    tests = [str(word) for word in (resource.inputs.get("healthcheck") or {}).get("tests") or []]
    if not tests or tests[0] == "NONE":
        yield f"block {resource.block} has no health check"


def _no_secret_in_labels(resource: Resource, secrets: Collection[str]) -> Iterator[str]:
    for label, value in resource.labels.items() if resource.type in (CONTAINER, NETWORK, VOLUME) else ():
        # The value stays out of the message, which everybody may read.
        named = [name for name, content in _named(label, value).items() if content and SECRET_NAME.search(name)]
        for name in sorted(set(named).difference(NO_SECRET)):
            yield f"the label {label} of {resource.name} holds {name}, which is named like a secret: set it with --secret"
        if not named and any(secret in value for secret in secrets):
            yield f"the label {label} of {resource.name} holds a secret: labels are for everybody who may list containers"


def _named(label: str, value: str) -> dict[str, Any]:
    """The label and its value; of a label with variables in it, those too."""
    try:
        inner = json.loads(value)
    except ValueError:
        inner = None
    return {label: value, **inner} if isinstance(inner, dict) else {label: value}


def _retained(resource: Resource, _: Collection[str]) -> Iterator[str]:
    if resource.type != VOLUME:
        return
    kind = resource.urn.split("::")[2].split("$")[-2:][0]
    if kind == "kopano:volumes:ScratchVolume":
        return
    if kind != "kopano:volumes:DataVolume":
        yield f"the volume {resource.name} is neither a DataVolume nor a ScratchVolume: nobody can tell whether it may go"
        return
    if resource.retained is False:
        yield f"the data volume {resource.name} is deleted when it leaves the program: it needs retain_on_delete"
    if missing := [name for name in RETAINED if name not in resource.ignored]:
        yield f"the data volume {resource.name} is replaced by an empty one when {', '.join(missing)} changes: ignore that change"


RULES = (
    Rule("pinned-images", "Outside dev, each image is a release or a digest.", _pinned),
    Rule("no-docker-socket", f"No container but {SOCKET_HOLDER} reaches the Docker Engine.", _socket),
    Rule("not-privileged", "No container is privileged, or as good as that.", _unprivileged),
    Rule("directory-and-database-unpublished", "Directory and database are on no port of the Docker host.", _unpublished),
    Rule("limits", "Each container has limits: memory without swap, open files, processes.", _limited),
    Rule("health-checks", "Each container has a health check, unless it is a job that ends.", _health_checked),
    Rule("no-secret-in-labels", "No label holds a secret.", _no_secret_in_labels),
    Rule("data-retained", "No plan deletes or replaces a volume with data.", _retained),
)
