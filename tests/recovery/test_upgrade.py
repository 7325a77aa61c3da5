"""A new release replaces its own containers and no others; one that never gets healthy is undone by naming the old one."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import datetime

import pytest
from checks import made
from deployments import LEFT_OUT, SMALL, Deployment, docker
from traffic import SHORT_GREYLISTING, Traffic, all_arrive

from components import images
from components.blocks import BLOCKS, enabled
from lab.images import catalog

OF_CORE = ("server", "dagent", "spooler", "gateway", "ical", "monitor", "search")
PORTS = {
    "db": 3306,
    "ldap": 389,
    "server": 236,
    "dagent": 2003,
    "gateway": 143,
    "gateway-tls": 993,
    "ical": 8080,
    "kapi": 8039,
    "konnect": 8777,
    "mail": 25,
    "web": 443,
    "webapp": 9080,
}
"""Where each block that listens on the stack's networks is asked. Lab images have bash, which can ask."""

# Asks each port four times a second and says whether something answered.
PROBE = """
for target in "$@"; do
  while :; do
    if timeout 1 bash -c 'exec 3<>"/dev/tcp/${0%:*}/${0#*:}"' "$target" 2> /dev/null; then answer=up; else answer=down; fi
    echo "$(date +%s.%N) $target $answer"
    sleep 0.25
  done &
done
wait
"""
BASE = {**SMALL, "kopano:environment": SHORT_GREYLISTING, "kopano:deployTimeout": 60}


@pytest.fixture(scope="module")
def deployed(stack: Deployment) -> Deployment:
    stack.configure(BASE)
    stack.make("up")
    return stack


@pytest.fixture
def running(deployed: Deployment, release: dict[str, str]) -> Iterator[Deployment]:
    """The stack with the images that the lab has. They are back at the end, while the test's own are still there."""
    yield deployed
    deployed.configure(BASE)
    deployed.make("up")


@pytest.fixture
def release() -> Iterator[dict[str, str]]:
    """Lab image -> a newer release of it, which differs by a label alone; `broken` is one that ends at once."""
    tag, built = secrets.token_hex(4), {}
    names = {images.LAB.get(block, block) for block in enabled(LEFT_OUT)} - {"ldap"} | {"ldap_demo"}
    try:
        for name in sorted(names):
            built[name] = f"upgraded-{name.replace('_', '-')}:{tag}"
            docker("build", "--quiet", "--tag", built[name], "-", stdin=f"FROM {catalog.reference(name)}\nLABEL release={tag}\n")
        built["broken"] = f"upgraded-broken:{tag}"
        broken = f'FROM {catalog.reference("webapp")}\nENTRYPOINT ["/bin/false"]\n'
        docker("build", "--quiet", "--tag", built["broken"], "-", stdin=broken)
        yield built
    finally:
        for image in built.values():
            docker("rmi", "--force", image, check=False)


class Probe:
    """Asks the blocks from inside the stack's networks, while the block lasts."""

    def __init__(self, deployment: Deployment) -> None:
        self._name = f"probe-{secrets.token_hex(4)}"
        self._deployment = deployment
        self._targets = {f"{BLOCKS[block].alias}:{port}": block for block, port in PORTS.items()}

    def __enter__(self) -> Probe:
        networks = self._deployment.outputs["networks"]
        command = ["run", "--detach", "--name", self._name, "--network", networks["kopano"], "--entrypoint", "bash"]
        docker(*command, catalog.reference("base"), "-c", PROBE, "probe", *self._targets)
        for network in ("web", "ldap"):
            docker("network", "connect", networks[network], self._name)
        time.sleep(3)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(3)
        self._said = docker("logs", self._name)
        docker("rm", "--force", self._name)

    def downtimes(self) -> Mapping[str, float]:
        """Block -> seconds for which it did not answer, from the last answer to the next."""
        answered: dict[str, list[float]] = {}
        for line in self._said.splitlines():
            moment, target, state = line.split()
            if state == "up":
                answered.setdefault(self._targets[target], []).append(float(moment))
        return {
            block: max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)
            for block, moments in answered.items()
        }


def replaced(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {block for block in before if before[block] != after[block]}


def began(deployment: Deployment, block: str) -> tuple[str, str]:
    """When the container was started, and when its health check first passed."""
    state = json.loads(docker("inspect", "--format", "{{json .State}}", deployment.containers()[block]))
    passed = [check["End"] for check in state["Health"]["Log"] if check["ExitCode"] == 0]
    return state["StartedAt"][:26], datetime.fromisoformat(passed[0][:26]).isoformat()


def test_a_new_release_of_one_block_replaces_that_block_alone(running: Deployment, release: dict[str, str]) -> None:
    before = running.containers()
    running.configure({**BASE, "kopano:images": {"webapp": release["webapp"]}})
    running.make("up")
    assert replaced(before, running.containers()) == {"webapp"}
    running.configure(BASE)
    running.make("up")
    assert replaced(before, running.containers()) == {"webapp"}


def test_a_release_of_the_core_replaces_its_blocks_the_server_first(running: Deployment, release: dict[str, str]) -> None:
    before, volumes = running.containers(), made(running)
    with Traffic(running, pause=1) as traffic:
        traffic.wait_for(2)
        running.configure({**BASE, "kopano:images": dict.fromkeys(OF_CORE, release["core"])})
        running.make("up")
        traffic.wait_for(2)
    assert replaced(before, running.containers()) == set(OF_CORE)
    _, server_is_healthy = began(running, "server")
    for block in set(OF_CORE) - {"server"}:
        assert began(running, block)[0] > server_is_healthy
    assert made(running) == volumes
    all_arrive(running, traffic)


def test_a_release_that_never_gets_healthy_is_undone_by_the_old_one(running: Deployment, release: dict[str, str]) -> None:
    before, volumes = running.containers(), made(running)
    running.configure({**BASE, "kopano:deployTimeout": 15, "kopano:images": {"webapp": release["broken"]}})
    failed = running.make("up", check=False)
    assert failed.returncode != 0
    assert f"block webapp (kopano-{running.stack}-webapp) is '" in failed.stdout
    running.configure(BASE)
    assert "all blocks are healthy" in running.make("up").stdout
    assert "webapp" in replaced(before, running.containers())
    assert made(running) == volumes
    assert "no drift" in running.make("drift").stdout


def test_no_block_is_away_for_a_minute_when_all_are_upgraded(running: Deployment, release: dict[str, str]) -> None:
    newer = {block: release["ldap_demo" if block == "ldap" else images.LAB.get(block, block)] for block in enabled(LEFT_OUT)}
    with Traffic(running, pause=1) as traffic, Probe(running) as probe:
        traffic.wait_for(2)
        running.configure({**BASE, "kopano:images": newer})
        running.make("up")
        traffic.wait_for(2)
    away = probe.downtimes()
    print("seconds without an answer:", json.dumps({block: round(seconds, 1) for block, seconds in sorted(away.items())}))
    assert set(away) == set(PORTS)
    assert max(away.values()) < 60
    all_arrive(running, traffic)
