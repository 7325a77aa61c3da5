"""Images come from a registry that wants a log-in."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
from deployments import SMALL, Deployment, ask, docker, free_port

from components.images import LAB
from lab.images import catalog

RECIPE = Path(__file__).with_name("registry")
PUSHED = ("core", "haproxy", "ldap_demo")
USER = "puller"


@dataclass(frozen=True)
class Registry:
    """A registry, the password of its only user, and image of the lab -> its reference there, by digest."""

    address: str
    container: str
    password: str
    images: dict[str, str]


def image_of_the_registry() -> str:
    """Debian's registry on the lab's base. Made once: afterwards the engine has each step."""
    given = ["--build-arg", f"BASE={catalog.reference('base')}"]
    given += [word for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ for word in ("--build-arg", name)]
    return docker("build", "--quiet", "--tag", "kopano-lab/registry-for-tests:1", *given, str(RECIPE)).strip()


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    name, port, password = f"registry-{secrets.token_hex(4)}", free_port(), secrets.token_hex(12)
    # On the loopback address the engine speaks to registries without TLS.
    address = f"localhost:{port}"
    references: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        (Path(folder) / "htpasswd").write_text(f"{USER}:{hashed}\n", encoding="ascii")
        mounts = ["--volume", f"{folder}:/registry:ro", "--publish", f"127.0.0.1:{port}:5000"]
        try:
            docker("run", "--detach", "--name", name, *mounts, image_of_the_registry())
            end = time.monotonic() + 30
            while not answers(port):
                assert time.monotonic() < end, docker("logs", name)
                time.sleep(0.5)
            # Its own folder of log-ins: the test's are not to be used by anybody else's pull.
            client = ["--config", f"{folder}/client"]
            docker(*client, "login", "--username", USER, "--password-stdin", address, stdin=password)
            for image in PUSHED:
                tagged = f"{address}/kopano/{image}:test"
                docker("tag", catalog.reference(image), tagged)
                pushed = docker(*client, "push", tagged)
                # With its name goes what the engine has learned of its digest.
                docker("rmi", tagged)
                (digest,) = re.findall(r"digest: (sha256:\w+)", pushed)
                references[image] = f"{address}/kopano/{image}@{digest}"
            yield Registry(address, name, password, references)
        finally:
            docker("rm", "--force", "--volumes", name, check=False)
            for reference in references.values():
                docker("rmi", "--force", "--no-prune", reference, check=False)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/v2/").status == 401
    return False


def pulled(registry: Registry) -> set[str]:
    """The images that somebody with the log-in asked for by digest. What comes after that, the engine of this machine has."""
    words = ["docker", "logs", registry.container]
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    return set(re.findall(r'"(?:GET|HEAD) /v2/kopano/(\w+)/manifests/sha256:\w+ HTTP/1.1" 200', said))


def test_images_are_pulled_by_digest_with_the_log_in_of_the_stack_file_and_with_no_other(
    stack: Deployment, registry: Registry
) -> None:
    images = {block: registry.images[image] for block, image in {**LAB, "ldap": "ldap_demo"}.items() if image in PUSHED}
    off = ("web-front", "docker-proxy", "spamd")
    images = {block: reference for block, reference in images.items() if block not in off}
    wrong = secrets.token_hex(12)
    settings = {**SMALL, "kopano:images": images}

    def configure(password: str) -> None:
        stack.configure({**settings, "kopano:registries": {registry.address: {"user": USER, "password": password}}})

    configure(wrong)
    refused = stack.make("up", check=False)
    assert refused.returncode != 0
    (sentence,) = [line for line in refused.stdout.splitlines() if line.startswith("==> block ldap: ")]
    assert sentence == (
        f"==> block ldap: the image {registry.images['ldap_demo']} is not on the Docker host and could not be pulled from the"
        f" registry {registry.address}; there {USER} logs in with the password of kopano:registries: has it that image, and are"
        " these right?"
    )
    assert "Traceback" not in refused.stdout
    assert pulled(registry) == set()
    configure(registry.password)
    deployed = stack.make("up")
    assert "all blocks are healthy" in deployed.stdout
    containers = stack.containers()
    running = {block: docker("inspect", "--format", "{{.Image}}", containers[block]).strip() for block in images}
    known = {block: docker("image", "inspect", "--format", "{{.Id}}", reference).strip() for block, reference in images.items()}
    assert running == known
    assert {block: stack.outputs["images"][block] for block in images} == images
    assert pulled(registry) == set(PUSHED)
    # Another password has nothing to pull and disturbs nobody.
    configure(wrong)
    again = stack.make("up")
    assert stack.containers() == containers
    seen = [done.stdout for done in (refused, deployed, again, stack.make("preview"), stack.pulumi("stack", "export"))]
    seen += [stack.pulumi("stack", "output", "--json").stdout, docker("inspect", *containers.values())]
    for secret in (wrong, registry.password):
        assert not [text for text in seen if secret in text]
