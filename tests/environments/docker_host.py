"""A Docker host that is reached over SSH alone: a container with Debian's sshd, and a private engine's socket.

That socket is the only one in there: what connects over SSH cannot end at this machine's engine, whatever it does wrong.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments import ROOT, docker, free_port
from private_engine import PrivateEngine, private_engine

from lab.images import catalog

USER = "deploy"


@dataclass(frozen=True)
class DockerHost:
    """`engine` runs what is deployed; `url` is for `kopano:dockerHost`. `folder` has what a user has in `~/.ssh`, and a command
    `ssh` that reads it from there instead, since OpenSSH takes no other home than the real one."""

    engine: PrivateEngine
    container: str
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"ssh://{USER}@127.0.0.1:{self.port}"

    @property
    def path(self) -> str:
        """PATH of a user who can log in here."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What a docker command prints that speaks with this host's engine directly."""
        return docker("--host", self.engine.host, *arguments, check=check)

    @contextlib.contextmanager
    def unknown(self) -> Iterator[None]:
        """As if nobody had ever logged in: the host's key is not known."""
        known = self.folder / "known_hosts"
        content = known.read_text(encoding="utf-8")
        known.write_text("", encoding="utf-8")
        try:
            yield
        finally:
            known.write_text(content, encoding="utf-8")


def _keygen(file: Path) -> str:
    """Make a key pair; the public key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)], check=True)
    return file.with_suffix(".pub").read_text(encoding="utf-8").strip()


def _client(folder: Path, port: int, host_key: str) -> None:
    """What a user needs who logs in: the key is there already."""
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n", encoding="utf-8")
    options = [f"IdentityFile {folder}/user", "IdentitiesOnly yes", f"UserKnownHostsFile {folder}/known_hosts"]
    (folder / "config").write_text("".join(f"{line}\n" for line in options), encoding="utf-8")
    program = folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {folder}/config "$@"\n', encoding="utf-8")
    program.chmod(0o755)


@contextlib.contextmanager
def docker_host(folder: Path) -> Iterator[DockerHost]:
    """A Docker host that runs while the block lasts. It has the lab's images, since it reaches no registry and no mirror."""
    subprocess.run([sys.executable, "-m", "lab.images.build", "docker_host"], cwd=ROOT, check=True, capture_output=True)
    user_key, host_key = _keygen(folder / "user"), _keygen(folder / "host")
    port = free_port()
    _client(folder, port, host_key)
    name = f"kopano-docker-host-{secrets.token_hex(4)}"
    with private_engine() as engine:
        engine.load([catalog.reference(image) for image in catalog.names()])
        mounts = [f"{engine.host.removeprefix('unix://')}:/var/run/docker.sock", f"{folder}/host:/keys/host:ro"]
        words = ["--publish", f"127.0.0.1:{port}:22", "--env", f"AUTHORIZED_KEY={user_key}"]
        words += [word for mount in mounts for word in ("--volume", mount)]
        try:
            docker("run", "--detach", "--name", name, *words, catalog.reference("docker_host"))
            host = DockerHost(engine, name, port, folder)
            _until_it_answers(host)
            yield host
        finally:
            docker("rm", "--force", "--volumes", name, check=False)


def _until_it_answers(host: DockerHost) -> None:
    end = time.monotonic() + 30
    command = ["docker", "--host", host.url, "version"]
    while (asked := subprocess.run(command, env={**os.environ, "PATH": host.path}, text=True, capture_output=True)).returncode:
        assert time.monotonic() < end, asked.stderr + docker("logs", host.container)
        time.sleep(0.5)
