"""Deployments for the live tests: the project's commands, in a copy of the project, on a real Docker Engine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path(__file__).with_name("quiet_chromium.py")
SHARED = (".venv", ".local/bin")
"""What a copy of the project borrows from the checkout that runs the tests, since making it takes minutes."""


BESIDE = {"spamd": True}
"""Blocks that the fixture `deployment` switches on beside those of the demo."""

PUBLISHED = ("smtp", "submission", "smtps", "imaps", "pop3s", "ldap", "serverTls")


def docker(*arguments: str, stdin: str | None = None, environment: dict[str, str] | None = None, check: bool = True) -> str:
    """What a docker command prints. Secrets go through `environment` or `stdin`, never through `arguments`."""
    done = subprocess.run(
        ["docker", *arguments],
        input=stdin,
        env={**os.environ, **(environment or {})},
        text=True,
        capture_output=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"docker {arguments[0]} exited with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def free_port() -> int:
    """A port that nothing on this machine uses now, and that no outgoing connection gets while the stack is down for a while."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")


class PinnedConnection(http.client.HTTPSConnection):
    """HTTPS to a deployment's host name on this machine, whatever the resolver says, trusting the stack's authority alone."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment.outputs["fqdn"], deployment.https_port, timeout=30)
        self.authority = deployment.authority

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.sock = self.authority.wrap_socket(plain, server_hostname=self.host)


def ask(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> Answer:
    """Ask over a connection of its own and close it. Underscores in the names of headers become hyphens."""
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        with connection.getresponse() as response:
            text = response.read().decode(errors="replace")
            return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, text)


@dataclass
class Deployment:
    """A stack of its own in a copy of the project. Names, ports, volumes, state and passphrase are nobody else's."""

    root: Path
    stack: str
    http_port: int
    https_port: int
    ports: dict[str, int]

    @classmethod
    def prepare(cls, root: Path) -> Deployment:
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=True,
        ).stdout.splitlines()
        for file in files:
            if (ROOT / file).is_file():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, root / file)
        (root / ".local").mkdir()
        for borrowed in SHARED:
            if (ROOT / borrowed).exists():
                (root / borrowed).symlink_to(ROOT / borrowed)
        ports = {service: free_port() for service in PUBLISHED}
        deployment = cls(root, f"t{secrets.token_hex(4)}", free_port(), free_port(), ports)
        deployment.configure({})
        return deployment

    def configure(self, changes: dict[str, Any]) -> None:
        """Write the stack file: the demo's settings on this deployment's ports, and `changes`. The passphrase's salt stays."""
        file = self.root / f"Pulumi.{self.stack}.yaml"
        content = yaml.safe_load((self.root / "Pulumi.dev.yaml").read_text(encoding="utf-8"))
        # Where the demo was deployed from this checkout, its file has the salt of another passphrase.
        content.pop("encryptionsalt", None)
        if file.exists():
            content |= {key: value for key, value in yaml.safe_load(file.read_text()).items() if key == "encryptionsalt"}
        content["config"] |= {
            "kopano:httpPort": self.http_port,
            "kopano:httpsPort": self.https_port,
            "kopano:publish": self.ports,
            **changes,
        }
        file.write_text(yaml.safe_dump(content), encoding="utf-8")

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of the project's commands, as a user would: nothing of the test run's environment leads it elsewhere."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "MAKE", "MFLAGS"))}
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**environment, **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-6000:]}")
        return done

    def make(self, target: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        self.__dict__.pop("outputs", None)
        return self.run("make", target, f"STACK={self.stack}", check=check, **variables)

    def pulumi(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("scripts/pulumi", *arguments, "--stack", self.stack, check=check)

    def begin(self) -> None:
        """Make the stack, with nothing in it, and what the CLI needs for it."""
        work = "import sys; from tools import cli, stack; cli.ensure_plugins(); stack.ensure(sys.argv[1])"
        self.run(".venv/bin/python", "-c", work, self.stack)

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets included."""
        return dict(json.loads(self.pulumi("stack", "output", "--json", "--show-secrets").stdout))

    @property
    def authority(self) -> ssl.SSLContext:
        """Trusts the stack's certificate authority and no other."""
        return ssl.create_default_context(cadata=self.outputs["caCertificate"])

    def web(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        """Ask the proxy as a browser does."""
        headers.setdefault("Host", f"{self.outputs['fqdn']}:{self.https_port}")
        return ask(PinnedConnection(self), path, method, body, **headers)

    def execute(self, block: str, *command: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a command in a block's container."""
        return docker("exec", "--interactive", self.containers()[block], *command, stdin=stdin, check=check)

    def containers(self) -> dict[str, str]:
        """Block -> container id, of all containers of this stack, running or not."""
        listed = docker(
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            f"label=kopano.stack={self.stack}",
            "--format",
            '{{.Label "kopano.block"}} {{.ID}}',
        )
        return dict(line.split(" ", 1) for line in listed.splitlines())

    def networks(self) -> list[str]:
        return docker("network", "ls", "--filter", f"label=kopano.stack={self.stack}", "--format", "{{.Name}}").splitlines()

    def volumes(self) -> list[str]:
        return docker("volume", "ls", "--quiet", "--filter", f"label=kopano.stack={self.stack}").splitlines()

    def remove(self) -> None:
        """Remove everything of this stack from the Docker host, whatever state a test left it in."""
        for container in self.containers().values():
            docker("rm", "--force", "--volumes", container, check=False)
        for network in self.networks():
            docker("network", "rm", network, check=False)
        for volume in self.volumes():
            docker("volume", "rm", volume, check=False)


Prepare = Callable[[], Deployment]


def prepared_deployments(folders: pytest.TempPathFactory) -> Iterator[Prepare]:
    """For a fixture: what makes deployments, all of which are removed in the end."""
    made: list[Deployment] = []

    def make() -> Deployment:
        made.append(Deployment.prepare(folders.mktemp("project")))
        return made[-1]

    try:
        yield make
    finally:
        for deployment in made:
            deployment.remove()


# A deployment for what needs one of its own: blocks that can be left out would only take time.
LEFT_OUT = dict.fromkeys(("ldap-admin", "password-self-service", "zpush", "kdav", "meet"), False)
SMALL = {"kopano:blocks": LEFT_OUT}


def from_network(network: str, image: str, script: str, stdin: str = "", **secret: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a throw-away container on one network. `secret` become variables of the container."""
    names = [word for name in secret for word in ("--env", name)]
    command = [
        "docker",
        "run",
        "--rm",
        "--interactive",
        "--network",
        network,
        *names,
        "--entrypoint",
        "/bin/sh",
        image,
        "-euc",
        script,
    ]
    return subprocess.run(
        command, input=stdin, env={**os.environ, **secret}, text=True, capture_output=True, check=False, timeout=60
    )
