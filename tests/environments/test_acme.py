"""A certificate from an ACME server of one's own: Pebble, which Let's Encrypt has for tests, stands for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments import SMALL, Answer, Deployment, PinnedConnection, Prepare, ask, free_port
from pki import pair

from tools import cli
from tools.places import TOOLS

RELEASE = "v2.6.0"
PROGRAMS = ("pebble", "pebble-challtestsrv")
GATEWAY = "172.17.0.1"
"""The Docker host, as containers see it."""


def built(name: str) -> Path:
    """The path of a program of Pebble's Go module, which is built the first time."""
    program = TOOLS / f"{name}-{RELEASE}"
    if not program.exists():
        # Built beside its place and renamed, so that an interrupted build leaves no half of a program.
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
            environment = {**os.environ, "GOBIN": folder, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
            module = f"github.com/letsencrypt/pebble/v2/cmd/{name}@{RELEASE}"
            subprocess.run([cli.go(), "install", module], env=environment, capture_output=True, check=True)
            (Path(folder) / name).rename(program)
    return program


@dataclass(frozen=True)
class Authority:
    """An ACME server: the address of its directory, who signed its own certificate, and the port of its management."""

    directory: str
    signer: str
    management: int
    log: Path

    def root(self) -> str:
        """Who signs the certificates that it gives (PEM)."""
        context = ssl.create_default_context(cadata=self.signer)
        return ask(http.client.HTTPSConnection(GATEWAY, self.management, context=context, timeout=10), "/roots/0").body


@contextlib.contextmanager
def acme_server(folder: Path, address: str) -> Iterator[Authority]:
    """An ACME server that finds every host name at `address`, and looks at its port 80 like any."""
    own, (listen, management, dns, control) = pair(GATEWAY), (free_port() for _ in range(4))
    (folder / "own.pem").write_text(own.certificate, encoding="utf-8")
    (folder / "own.key").write_text(own.key, encoding="utf-8")
    settings = {
        "listenAddress": f"{GATEWAY}:{listen}",
        "managementListenAddress": f"{GATEWAY}:{management}",
        "certificate": str(folder / "own.pem"),
        "privateKey": str(folder / "own.key"),
        "httpPort": 80,
        "tlsPort": 443,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}), encoding="utf-8")
    pebble, resolver = (built(name) for name in PROGRAMS)
    off = [word for way in ("http01", "https01", "tlsalpn01", "doh") for word in (f"-{way}", "")]
    names = ["-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{control}", "-defaultIPv4", address, "-defaultIPv6", ""]
    commands = ([resolver, *off, *names], [pebble, "-config", folder / "pebble.json", "-dnsserver", f"127.0.0.1:{dns}"])
    with contextlib.ExitStack() as running:
        log = running.enter_context((folder / "log").open("ab"))
        for command in commands:
            environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1"}
            process = running.enter_context(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            running.callback(process.terminate)
        found = Authority(f"https://{GATEWAY}:{listen}/dir", own.authority, management, folder / "log")
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                found.root()
                break
            assert time.monotonic() < end, found.log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield found


class Pinned(PinnedConnection):
    """HTTPS to the stack's host name at an address, trusting one authority."""

    def __init__(self, stack: Deployment, address: str, authority: ssl.SSLContext) -> None:
        super().__init__(stack)
        self.port, self.authority, self.address = 443, authority, address

    def connect(self) -> None:
        plain = socket.create_connection((self.address, self.port), timeout=30)
        self.sock = self.authority.wrap_socket(plain, server_hostname=self.host)


def test_browsers_are_shown_a_certificate_of_the_acme_server_that_the_stack_file_names(prepare: Prepare, tmp_path: Path) -> None:
    stack = prepare()
    # Port 80, where every ACME server looks, is free on an address of the test's own.
    address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"
    with acme_server(tmp_path, address) as authority:
        root = authority.root()
        tls = {
            "mode": "acme",
            "email": "admin@example.org",
            "directory": authority.directory,
            "authority": f"{root}{authority.signer}",
        }
        stack.configure(
            {
                **SMALL,
                "kopano:fqdn": "acme.kopano.example",
                "kopano:bindAddress": address,
                "kopano:httpPort": 80,
                "kopano:httpsPort": 443,
                "kopano:publish": {"imaps": stack.ports["imaps"]},
                "kopano:tls": tls,
            }
        )
        stack.make("up")

        def page(path: str) -> Answer:
            context = ssl.create_default_context(cadata=root)
            return ask(Pinned(stack, address, context), path, Host=stack.outputs["fqdn"])

        assert page("/webapp/").status == 200
        # Konnect answers by the same name, and who asks it inside the stack trusts the authority.
        assert json.loads(page("/.well-known/openid-configuration").body)["issuer"] == "https://acme.kopano.example"
        issuer = "https://acme.kopano.example/.well-known/openid-configuration"
        stack.execute("server", "curl", "-fsS", "-o", "/dev/null", "--cacert", "/kopano/ssl/trusted.pem", issuer)
        # Mail programs are shown one of the stack's own authority, as before.
        with stack.authority.wrap_socket(
            socket.create_connection((address, stack.ports["imaps"]), timeout=30), server_hostname=stack.outputs["fqdn"]
        ) as imaps:
            assert imaps.recv(100).startswith(b"* OK")
        orders = authority.log.read_text(encoding="utf-8").count("Issued certificate serial")
        assert orders == 1
        stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", "--refresh")
        # It is kept: a proxy that starts again asks for none.
        before = page("/webapp/")
        subprocess.run(["docker", "restart", stack.containers()["web"]], check=True, capture_output=True)
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                assert page("/webapp/").status == before.status
                break
            assert time.monotonic() < end
            time.sleep(0.5)
        assert authority.log.read_text(encoding="utf-8").count("Issued certificate serial") == 1
