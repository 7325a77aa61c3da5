"""Deploy a stack: `python -m tools.up STACK`."""

from __future__ import annotations

import socket
import time

from components.images import reference, registry_of
from components.network import subnets
from components.settings import Settings
from components.volumes import DATA
from tools import docker_engine, down, names, pulumi, recovery, setup, stack
from tools.plans import DATA_VOLUME
from tools.words import FailureError, main, say

HEALTH_SECONDS = 120
"""How long a container that was there before may take to become healthy, for example after a start of the Docker Engine."""

IP6TABLES_SINCE = 27
"""The release of Docker Engine that has a firewall for IPv6 without being asked."""

PARALLEL = 32
"""How many resources the engine works on at a time. Its own measure is four for each core, but a container that is waited for
takes no core: with eight places, what waits for the server would come up in two rounds."""


def deploy(name: str, *more: str) -> list[str]:
    """The words for the CLI that deploy a stack."""
    words = ["up", "--stack", name, "--yes", "--skip-preview", "--suppress-outputs"]
    # Over SSH the environment of the CLI says how many.
    words += [] if docker_engine.over_ssh() else ["--parallel", str(PARALLEL)]
    return [*words, *more]


def _taken(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as the engine binds it
        try:
            probe.bind((address, port))
        except PermissionError:
            return False  # a privileged port: the engine may take it
        except OSError:
            return True
    return False


def check_ports(name: str, config: Settings) -> None:
    """Find a port that something else holds, before anything is changed. Only for an engine on this machine."""
    if not docker_engine.is_local():
        return
    held = "\n".join(stack.docker("ps", "--filter", f"label=kopano.stack={name}", "--format", "{{.Ports}}"))
    wanted = {
        key: (config.http_address if key == "httpPort" else config.bind_address, port) for key, port in config.web_ports.items()
    }
    wanted |= {f"publish.{service}": (config.bind_address, port) for service, port in config.publish.items()}
    each = [(key, address, port) for key, (addresses, port) in wanted.items() for address in addresses.split()]
    for key, address, port in each:
        if f":{port}->" not in held and _taken(address, port):
            raise FailureError(
                f"kopano:{key} = {port}: the port is in use on {address} by something else on this machine; stop"
                f" that, or choose another port, for example: scripts/pulumi config set kopano:{key} {port + 1} --stack {name}"
            )


def clear_networks(name: str, config: Settings) -> None:
    """Stop the stack where its networks are to have other addresses. The engine would replace several networks at the same time,
    take away the database before the server, and give up on a network while a container on it, which belongs to another one's
    replacement as well, takes its time to stop."""
    made = [entry["outputs"] for entry in stack.of_types(stack.resources(name), stack.NETWORK)]
    there = {each["subnet"] for network in made if network.get("ipv6") for each in network.get("ipamConfigs") or []}
    if made and there != {str(net) for pair in subnets(config.ipv6) for net in pair}:
        say(f"the networks of stack {name} get other addresses (kopano:ipv6): it is stopped for that, and its data stays")
        down.stop(name)


def check_ipv6(config: Settings) -> None:
    """Say what an engine that may have no firewall for IPv6 does not do. Whether it has one, it does not tell."""
    if config.ipv6 is None:
        return
    (version,) = stack.docker("version", "--format", "{{.Server.Version}}")
    if int(version.split(".")[0]) < IP6TABLES_SINCE:
        say(
            f"kopano:ipv6: Docker Engine {version} keeps networks apart over IPv6, and shows services the addresses of clients,"
            ' only where it runs with "experimental": true and "ip6tables": true (/etc/docker/daemon.json)'
        )


def check_volumes(name: str, config: Settings) -> None:
    """Say which data that this checkout's state does not know is taken over. Refuse where something else works on it, and where
    the stack file names other volumes than those that there are."""
    resources = stack.resources(name)
    known = {entry["outputs"].get("name") for entry in stack.of_types(resources, stack.VOLUME)}
    own = {entry["id"] for entry in stack.of_types(resources, stack.CONTAINER)}
    recorded = {
        entry["urn"].rpartition("::data-")[2].removesuffix("-volume"): entry["outputs"].get("name")
        for entry in stack.of_types(resources, stack.VOLUME)
        if DATA_VOLUME in entry["urn"]
    }
    on_host = stack.docker("volume", "ls", "--quiet")
    for data, volume in config.volumes.items():
        if recorded.get(data, volume) != volume:
            raise FailureError(
                f"kopano:volumes.{data} = {volume}: the data of stack {name} is in {recorded[data]} since its first deployment,"
                f" and no setting moves it; take the entry out, or name a new stack"
            )
        if volume not in on_host:
            raise FailureError(
                f"kopano:volumes.{data} = {volume}: there is no such volume on the Docker host, docker volume ls lists those that"
                f" there are; without the entry a new one is made"
            )
    wanted = {config.data_volume(data) for data in DATA} & set(on_host) | set(stack.volumes(name))
    left = sorted(wanted - known - set(stack.restored(name)))
    for volume in left:
        for line in stack.docker("ps", "--no-trunc", "--filter", f"volume={volume}", "--format", "{{.ID}}\t{{.Names}}"):
            identity, _, container = line.partition("\t")
            if identity not in own:
                raise FailureError(
                    f"the container {container}, which is not of this stack, works on the data in {volume}: deploy from"
                    f" the checkout that made it, name this stack differently, or stop it for good: docker rm --force {container}"
                )
    if left:
        say(f"stack {name} takes over the data in {', '.join(left)}; the passwords of its accounts are replaced by new ones")


def explain(name: str, config: Settings) -> None:
    """After a failed deployment, say which block is in trouble and why: an image that is nowhere, or what it said last."""
    blocks: dict[str, list[str]] = {}
    for block in config.running:
        blocks.setdefault(reference(config, block), []).append(block)
    for image in sorted(set(blocks) - stack.present_images(list(blocks))):
        registry, users = registry_of(image), blocks[image]
        login = config.registries.get(registry)
        known = (
            f"there {login.user} logs in with the password of kopano:registries: has it that image, and are these right?"
            if login
            else "kopano:registries has no log-in for it: has it that image, and does it want one?"
        )
        of = "block" if len(users) == 1 else "blocks"
        say(
            f"{of} {', '.join(users)}: the image {image} is not on the Docker host and could not be pulled from the registry"
            f" {registry}; {known}"
        )
    for container in stack.sick(name):
        words = f"said last: {stack.last_words(container.name)}"
        if check := stack.failed_check(container.name):
            words += f"; its health check: {check}"
        say(f"block {container.block} ({container.name}) is '{container.state}' and {words}")


def check_health(name: str, config: Settings) -> None:
    """Raise FailureError when a block stays sick: the engine waits for new containers alone, not for those that were there."""
    end = time.monotonic() + HEALTH_SECONDS
    while stack.sick(name):
        if time.monotonic() > end:
            explain(name, config)
            raise FailureError(
                f"stack {name} is deployed, but not all of its blocks are healthy: see the messages above, mend the cause and run"
                f" make up STACK={name} again; nothing is lost"
            )
        time.sleep(1)


def report(name: str) -> None:
    """Print the addresses and, for a demo, the log-ins."""
    outputs = stack.outputs(name)
    for service, url in sorted(outputs["urls"].items()):
        say(f"{service}: {url}")
    for service, endpoint in sorted(outputs["endpoints"].items()):
        say(f"{service}: {endpoint}")
    config = stack.load_settings(name)
    if config.demo_users:
        say("demo log-ins: user1 with password user1, user2 with password user2, ...")
    if config.image_source == "lab":
        say("these are the lab's stand-ins: not Kopano (README: how to use genuine images)")
    say(f"certificate authority to trust: scripts/pulumi stack output caCertificate --stack {name}")


def _command() -> int:
    name = stack.name_from_arguments()
    started = time.monotonic()
    setup.setup()
    stack.ensure(name)
    config = stack.load_settings(name)
    recovery.clear(name)
    check_volumes(name, config)
    check_ports(name, config)
    names.mend(name)
    check_ipv6(config)
    if config.image_source == "lab":
        setup.images()
    clear_networks(name, config)
    say(f"deploying stack {name}")
    changed = stack.changed_by_hand(name)
    if changed:
        say(f"not as it was deployed: {'; '.join(changed)}; the host is looked at first")
    refresh = ["--refresh"] if changed else []
    if pulumi.run_told(*deploy(name, *refresh)):
        explain(name, config)
        raise FailureError(
            f"stack {name} was not deployed completely: see the messages above, mend the cause and run"
            f" make up STACK={name} again; data and what already runs stay as they are"
        )
    check_health(name, config)
    say(f"stack {name} is up, all blocks are healthy ({time.monotonic() - started:.0f} s)")
    report(name)
    return 0


if __name__ == "__main__":
    main(_command)
