"""A stack of this checkout: its state, its passphrase, its settings, what of it is on the Docker host."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from components import settings
from tools import docker_engine, pulumi
from tools.places import LOCAL, PASSPHRASE, STATE, environment, stack_file
from tools.plans import DATA_VOLUME
from tools.words import FailureError, say

CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
ENGINE = "pulumi:providers:docker"

REMOVAL_SECONDS = 60
"""How long the engine may take to remove a container that it was told to remove by somebody else."""


def name_from_arguments() -> str:
    """The stack that the command line names, with whose Docker Engine the command speaks from now on."""
    if len(sys.argv) != 2 or not sys.argv[1]:
        raise FailureError("name one stack, for example: make up STACK=dev")
    docker_engine.of_stack(sys.argv[1])
    return sys.argv[1]


def ensure(stack: str) -> None:
    """Make the state, the passphrase and the stack. Raises FailureError where the stack file cannot be used."""
    file = stack_file(stack)
    if not file.exists():
        raise FailureError(f"there is no {file.name}: scripts/new-environment {stack} writes it")
    STATE.mkdir(parents=True, exist_ok=True)
    variables = environment()
    if "PULUMI_CONFIG_PASSPHRASE" not in variables and "PULUMI_CONFIG_PASSPHRASE_FILE" not in variables:
        if "encryptionsalt:" in file.read_text(encoding="utf-8"):
            raise FailureError(
                f"the secrets of {file.name} are encrypted with a passphrase that this checkout does not have: write it into"
                f" {PASSPHRASE.relative_to(LOCAL.parent)}, or set PULUMI_CONFIG_PASSPHRASE"
            )
        PASSPHRASE.touch(mode=0o600)
        PASSPHRASE.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        say("passphrase of the stacks' secrets: made, keep .local/passphrase with your backups")
    if not exists(stack):
        say(f"stack {stack}: making it")
        pulumi.run("stack", "init", stack, quiet=True)


def mend() -> None:
    """Remove what a killed run has half written beside the state's files: their attributes, without which the CLI reads them as
    well, but which it does not read when they are cut off. The files themselves are replaced as a whole."""
    for file in STATE.rglob("*.attrs"):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            file.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


def names() -> list[str]:
    """The stacks that the state knows."""
    mend()
    return [entry["name"].rpartition("/")[2] for entry in pulumi.query("stack", "ls")]


def exists(stack: str) -> bool:
    """Whether the state knows the stack."""
    STATE.mkdir(parents=True, exist_ok=True)
    return stack in names()


def load_settings(stack: str) -> settings.Settings:
    """The stack's settings, validated before anything is started. Raises FailureError with all mistakes."""
    values: dict[str, Any] = {}
    secret = set()
    for key, entry in pulumi.query("config", "--stack", stack).items():
        namespace, _, name = key.partition(":")
        if namespace != settings.NAMESPACE:
            continue
        if entry["secret"]:
            secret.add(name)
        else:
            values[name] = entry.get("objectValue", entry["value"])
    try:
        # The values of secret settings are not read here; the program checks them when it runs.
        return settings.validate(stack, values, frozenset(secret))
    except settings.SettingsError as error:
        raise FailureError(str(error)) from None


def deployment(stack: str) -> dict[str, Any]:
    """The stack's state: its resources, and the operations on them that were cut off."""
    exported = json.loads(pulumi.run("stack", "export", "--stack", stack, quiet=True).stdout)
    return exported.get("deployment") or {}


def resources(stack: str) -> list[dict[str, Any]]:
    """The resources in the stack's state."""
    return deployment(stack).get("resources") or []


def outputs(stack: str) -> dict[str, Any]:
    """The stack's outputs, secrets hidden."""
    return pulumi.query("stack", "output", "--stack", stack) or {}


@dataclass(frozen=True)
class Container:
    """A container of a stack on the Docker host."""

    name: str
    block: str
    state: str


def containers(stack: str) -> list[Container]:
    """The containers on the Docker host that carry the stack's label."""
    form = '{{.Names}}\t{{.Label "kopano.block"}}\t{{.Status}}'
    listed = docker("ps", "--all", "--filter", f"label=kopano.stack={stack}", "--format", form)
    return [Container(*line.split("\t")) for line in listed]


def changed_by_hand(stack: str) -> list[str]:
    """What of the stack is not on the Docker host as it was deployed, in words: the engine only looks when it is told to.

    Raises FailureError where a data volume is gone: a deployment would put an empty one in its place.
    """
    entries = resources(stack)
    states = {container.name: container.state for container in containers(stack)}
    there = {NETWORK: set(docker("network", "ls", "--format", "{{.Name}}")), VOLUME: set(docker("volume", "ls", "--quiet"))}
    found = []
    for entry in of_types(entries, CONTAINER, NETWORK, VOLUME):
        name, kind = entry["outputs"].get("name"), entry["type"]
        if kind == CONTAINER:
            state = states.get(name)
            if state is None:
                found.append(f"container {name} is gone")
            elif entry["inputs"].get("mustRun", True) and not state.startswith(("Up", "Restarting")):
                found.append(f"container {name} is '{state}'")
        elif name not in there[kind]:
            if DATA_VOLUME in entry["urn"]:
                if engine := moved(entries):
                    raise FailureError(
                        f"stack {stack} was deployed to {engine}, and is not on {docker_engine.address()}: set"
                        f" {docker_engine.SETTING} (or DOCKER_HOST) back; a stack is moved to another host by backup and restore"
                    )
                raise FailureError(
                    f"the data volume {name} of stack {stack} is not on the Docker host any more: restore a backup, or, to begin"
                    f" with an empty one, say so with: scripts/pulumi refresh --yes --stack {stack}"
                )
            found.append(f"{'network' if kind == NETWORK else 'volume'} {name} is gone")
    return found


def moved(entries: Iterable[dict[str, Any]]) -> str:
    """The Docker Engine to which the stack of these resources was deployed, where this command speaks with another one."""
    for entry in of_types(entries, ENGINE):
        engine = str((entry.get("inputs") or {}).get("host") or docker_engine.LOCAL)
        if engine != docker_engine.address():
            return engine
    return ""


def refuse_moved(stack: str) -> None:
    """Raise FailureError where the stack was deployed to another engine than this command speaks with: Pulumi would remove it
    there, and all else would be looked for here."""
    if engine := moved(resources(stack)):
        raise FailureError(
            f"stack {stack} was deployed to {engine}, and this would go to {docker_engine.address()}: set {docker_engine.SETTING}"
            f" (or DOCKER_HOST) back, or, where both are one host, run make up STACK={stack} first; nothing was changed"
        )


def sick(stack: str) -> list[Container]:
    """The containers of the stack that should be healthy and are not; of the one that ends, whether it ended well."""
    return [box for box in containers(stack) if ("Exited (0)" if box.block == "ssl" else "(healthy)") not in box.state]


def refuse_guests(stack: str) -> None:
    """Raise FailureError where containers of others are on the stack's networks, which cannot be removed while they are."""
    on_them: set[str] = set()
    for network in docker("network", "ls", "--quiet", "--filter", f"label=kopano.stack={stack}"):
        on_them |= set(docker("network", "inspect", "--format", "{{range .Containers}}{{println .Name}}{{end}}", network))
    guests = sorted(on_them - {container.name for container in containers(stack)} - {""})
    if guests:
        raise FailureError(
            f"{', '.join(guests)} on the networks of stack {stack} must be removed first, since a network with somebody on it"
            f" cannot go (an example: make example-down EXAMPLE=... STACK={stack}; anything else: docker rm --force NAME);"
            " nothing was changed"
        )


def volumes(stack: str) -> list[str]:
    """The volumes on the Docker host that carry the stack's label."""
    return docker("volume", "ls", "--quiet", "--filter", f"label=kopano.stack={stack}")


def rooms(stack: str) -> list[str]:
    """The volumes in which backups of the stack are being made, or were when they were killed."""
    return docker("volume", "ls", "--quiet", "--filter", f"label=kopano.room={stack}")


def restored(stack: str) -> list[str]:
    """The volumes among them that `scripts/restore` has filled, and whose passwords are known or set anew."""
    return docker("volume", "ls", "--quiet", "--filter", f"label=kopano.stack={stack}", "--filter", "label=kopano.restored")


def docker(*arguments: str) -> list[str]:
    """The lines that a docker command prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()


def present_images(references: Iterable[str]) -> set[str]:
    """Those of some references, by tag or by digest, under which the Docker host has an image."""

    def there(image: str) -> bool:
        return not subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode

    return {image for image in references if there(image)}


def remove(container: str, stop_seconds: int = 0) -> None:
    """Stop a container within `stop_seconds` and remove it. The engine may be at it already, for a run that was killed."""
    end = time.monotonic() + REMOVAL_SECONDS
    while True:
        try:
            if stop_seconds:
                docker("stop", "--time", str(stop_seconds), container)
            docker("rm", "--force", container)
            return
        except subprocess.CalledProcessError as error:
            if "No such container" in error.stderr:
                return
            if "already in progress" not in error.stderr or time.monotonic() > end:
                raise
            time.sleep(0.5)


def last_words(container: str, lines: int = 3) -> str:
    """What a container said last, on either stream."""
    command = ["docker", "logs", "--tail", str(lines), container]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    return "; ".join(line.strip() for line in said.splitlines() if line.strip()) or "nothing"


def failed_check(container: str) -> str:
    """What the container's last failed health check printed."""
    command = ["docker", "inspect", "--format", "{{json .State.Health}}", container]
    inspected = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    checks = (json.loads(inspected or "null") or {}).get("Log") or []
    said = [str(check["Output"]) for check in checks if check["ExitCode"]][-1:]
    return "; ".join(line.strip() for line in "".join(said).splitlines() if line.strip())[-500:]


def of_types(entries: Iterable[dict[str, Any]], *types: str) -> list[dict[str, Any]]:
    """The resources of some types."""
    return [entry for entry in entries if entry["type"] in types]
