"""The Docker Engine is restarted, or a disk is full: mail waits, and everything goes on by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checks import unchanged, until_healthy
from deployments import SMALL, Deployment, docker
from private_engine import PrivateEngine, private_engine
from traffic import SHORT_GREYLISTING, Traffic, all_arrive

from lab.images import catalog

DISK_MEGABYTES = 420


@dataclass(frozen=True)
class Host:
    """A Docker host with a stack on it, and the small disk on which its database is."""

    engine: PrivateEngine
    deployment: Deployment
    disk: Path

    def traffic(self) -> Traffic:
        return Traffic(self.deployment, pause=1, enter=self.engine.enter)

    def all_arrive(self, traffic: Traffic) -> None:
        self.engine.inside(lambda: all_arrive(self.deployment, traffic))


@pytest.fixture(scope="module")
def host(stack: Deployment) -> Iterator[Host]:
    with private_engine() as engine, pytest.MonkeyPatch.context() as patch:
        engine.load([catalog.reference(name) for name in catalog.names()])
        patch.setenv("DOCKER_HOST", engine.host)
        disk = engine.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(disk)], check=True)
        options = ["--opt", "type=none", "--opt", "o=bind", "--opt", f"device={disk}"]
        docker("volume", "create", *options, f"kopano-{stack.stack}-mysql")
        stack.configure({**SMALL, "kopano:environment": SHORT_GREYLISTING})
        stack.make("up")
        yield Host(engine, stack, disk)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["in-good-order", "killed"])
def test_after_a_restart_of_the_engine_everything_runs_again_with_all_mail(host: Host, how: signal.Signals) -> None:
    with host.traffic() as traffic:
        traffic.wait_for(3)
        host.engine.stop(how)
        time.sleep(2)
        host.engine.start()
        until_healthy(host.deployment)
        traffic.wait_for(3, seconds=120)
    host.all_arrive(traffic)
    unchanged(host.deployment)


def test_after_a_swarm_on_the_same_engine_was_left_the_next_deployment_makes_names_known_again(host: Host) -> None:
    service = ["--name", "beside", "--network", "beside", "--no-resolve-image", "--entrypoint", "sleep"]
    stack = host.deployment
    with host.traffic() as traffic:
        traffic.wait_for(2)
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        try:
            docker("network", "create", "--driver", "overlay", "beside")
            docker("service", "create", "--detach", *service, catalog.reference("base"), "infinity")
        finally:
            docker("swarm", "leave", "--force")
        said = stack.make("doctor", check=False).stdout
        assert re.search(f"names of containers are not found on network .*kopano-{stack.stack}-kopano.*: make up", said), said
        drift = stack.make("drift", check=False)
        assert "names of containers are not found" in drift.stdout
        assert drift.returncode
        assert "nothing is lost" in stack.make("up").stdout
        until_healthy(stack)
        traffic.wait_for(2, seconds=120)
    host.all_arrive(traffic)
    unchanged(stack)
    assert "names" not in stack.make("doctor", check=False).stdout


def test_while_the_disk_of_the_database_is_full_mail_waits_and_is_delivered_once_there_is_room(host: Host) -> None:
    filler = host.disk / "filler"
    with host.traffic() as traffic:
        traffic.wait_for(2)
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 65536):
                    pass
            except OSError:
                pass
        try:
            free = os.statvfs(host.disk)
            assert free.f_bavail * free.f_frsize < 1024**2
            said = host.deployment.make("doctor", check=False).stdout
            assert f"volume kopano-{host.deployment.stack}-mysql has 0 MB left: make room on the Docker host" in said
            time.sleep(20)
        finally:
            filler.unlink()
        until_healthy(host.deployment)
        traffic.wait_for(2, seconds=120)
    host.all_arrive(traffic)
    unchanged(host.deployment)
