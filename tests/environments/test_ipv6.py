"""IPv6: a stack is published on IPv6 addresses, and with kopano:ipv6 its networks have them, without losing a mail."""

from __future__ import annotations

import contextlib
import imaplib
import json
import re
import secrets
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from typing import Any

import pytest
from deployments import LEFT_OUT, Deployment, PinnedConnection, ask, docker
from inbox import deliver
from private_engine import PrivateEngine, private_engine, within

from lab.images import catalog

# The users' side of the engine's network, which has nothing but IPv6.
HOST, CLIENT = "fd07::1", "fd07::2"
LOGIN = "user1"
SETTINGS = {
    "kopano:blocks": LEFT_OUT,
    "kopano:bindAddress": "0.0.0.0 ::",
    "kopano:dkim": {"kopano.localhost": "lab"},
    "kopano:environment": {"mail": {"ENABLE_POSTGREY": "0"}},
}
IPV6 = {"prefix": "fd12:3456:789a:8::/62", "ipv4": "10.89.0.0/24"}


@dataclass(frozen=True)
class Place:
    """A Docker host with a firewall for IPv6, a stack on it that is published on IPv6, too, and the namespace of a client."""

    engine: PrivateEngine
    client: str
    stack: Deployment


@contextlib.contextmanager
def neighbour(engine: PrivateEngine) -> Iterator[str]:
    """A network namespace that reaches the engine's host over IPv6 and nothing else."""
    name = f"{engine.name}-client"
    try:
        subprocess.run(["ip", "netns", "add", name], check=True)
        for line in (
            f"link add near netns {engine.name} type veth peer name far netns {name}",
            f"-n {engine.name} address add {HOST}/64 dev near nodad",
            f"-n {name} address add {CLIENT}/64 dev far nodad",
            f"-n {engine.name} link set near up",
            f"-n {name} link set far up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The stack is up, and its networks have no IPv6 yet."""
    stack = Deployment.prepare(tmp_path_factory.mktemp("project"))
    with (
        private_engine("--experimental", "--ip6tables") as engine,
        neighbour(engine) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        engine.load([catalog.reference(name) for name in catalog.names()])
        patch.setenv("DOCKER_HOST", engine.host)
        stack.configure(SETTINGS)
        try:
            stack.make("up")
            yield Place(engine, client, stack)
        finally:
            stack.remove()


class Pinned(PinnedConnection):
    """HTTPS to the stack's host name at an address."""

    def __init__(self, stack: Deployment, address: str) -> None:
        super().__init__(stack)
        self.address = address

    def connect(self) -> None:
        plain = socket.create_connection((self.address, self.port), timeout=30)
        self.sock = self.authority.wrap_socket(plain, server_hostname=self.host)


def by_address(stack: Deployment) -> ssl.SSLContext:
    """Trusts the stack's authority for whoever is asked by an address."""
    context = stack.authority
    context.check_hostname = False
    return context


def subjects(stack: Deployment, address: str) -> set[str]:
    """The subjects in the user's inbox, read over IMAPS."""
    with imaplib.IMAP4_SSL(address, stack.ports["imaps"], ssl_context=by_address(stack), timeout=30) as imap:
        imap.login(LOGIN, LOGIN)
        imap.select("INBOX", readonly=True)
        _, answer = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        texts = [message_from_string(part[1].decode())["Subject"] for part in answer if isinstance(part, tuple)]
    return set(texts)


def answered(stack: Deployment, address: str, subject: str) -> None:
    """The page, the mailbox and each mail port answer at an address, as they do everywhere."""
    page = ask(Pinned(stack, address), "/webapp/", Host=f"{stack.outputs['fqdn']}:{stack.https_port}")
    assert page.status == 200, page
    assert subject in subjects(stack, address)
    with smtplib.SMTP(address, stack.ports["smtp"], local_hostname="mx.example", timeout=30) as smtp:
        to = f"{LOGIN}@{stack.outputs['fqdn']}"
        assert smtp.sendmail("world@outside.example", [to], f"Subject: {secrets.token_hex(4)}\n\n-\n") == {}
        # Nobody outside sends to others through it.
        assert smtp.docmd("MAIL", "FROM:<world@outside.example>")[0] == 250
        code, said = smtp.docmd("RCPT", "TO:<somebody@elsewhere.example>")
        assert (code, b"Relay access denied" in said) == (554, True), said
    with smtplib.SMTP(address, stack.ports["submission"], timeout=30) as smtp:
        smtp.starttls(context=by_address(stack))
        assert smtp.login(LOGIN, LOGIN)[0] == 235


def addresses(stack: Deployment, block: str) -> dict[str, str]:
    """Network -> address of a block in IPv6."""
    networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", stack.containers()[block]))
    return {name.rsplit("-", 2)[1]: one["GlobalIPv6Address"] for name, one in networks.items() if one["GlobalIPv6Address"]}


def seen_by_web(stack: Deployment) -> set[str]:
    """The addresses from which the WebApp was asked for, as the proxy saw them."""
    log = docker("logs", stack.containers()["web"])
    return set(re.findall(r'^(\S+) "GET /webapp/ ', log, re.MULTILINE))


SEND = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], 25, timeout=30) as smtp:
    smtp.sendmail(sys.argv[2], [sys.argv[3]], "From: %s\\nSubject: out\\n\\n-\\n" % sys.argv[2])
"""
REACHES = "timeout 5 bash -c 'exec 3<>/dev/tcp/$0/$1' {} {} 2> /dev/null && echo yes || echo no"


def in_queue(stack: Deployment, recipient: str) -> str:
    """The mail to a recipient as it is in the queue."""
    entries: list[dict[str, Any]] = [json.loads(line) for line in stack.execute("mail", "postqueue", "-j").splitlines()]
    (number,) = [one["queue_id"] for one in entries if recipient in [each["address"] for each in one["recipients"]]]
    return stack.execute("mail", "postcat", "-bhq", number)


def test_a_stack_answers_on_ipv6_and_its_networks_get_it_without_losing_a_mail(place: Place) -> None:
    stack, subject = place.stack, secrets.token_hex(8)
    deliver(stack.containers()["dagent"], f"{LOGIN}@{stack.outputs['fqdn']}", subject)
    # Published on IPv6, the networks without: the engine's proxy speaks to containers in its own name.
    for address in ("127.0.0.1", "::1"):
        place.engine.inside(lambda address=address: answered(stack, address, subject))
    within(place.client, lambda: answered(stack, HOST, subject))
    assert not addresses(stack, "web")
    assert not [address for address in seen_by_web(stack) if ":" in address]

    stack.configure({**SETTINGS, "kopano:ipv6": IPV6})
    assert "no data volume is deleted or replaced" in stack.make("check-plan").stdout
    said = stack.make("up").stdout
    assert "kopano:ipv6: Docker Engine 20." in said
    assert addresses(stack, "web") == {"web": addresses(stack, "web")["web"]}
    assert set(addresses(stack, "mail")) == {"kopano", "ldap"}
    assert addresses(stack, "mail")["ldap"].startswith("fd12:3456:789a:a::")
    assert set(addresses(stack, "db")) == {"kopano"}

    # The mail of before is there, and everybody is answered as before.
    for address in ("127.0.0.1", "::1"):
        place.engine.inside(lambda address=address: answered(stack, address, subject))
    within(place.client, lambda: answered(stack, HOST, subject))
    # Now the proxy knows its clients.
    assert CLIENT in seen_by_web(stack)

    # A block may send to others and gets a signature, over IPv6 as over IPv4.
    sender, recipient = f"{LOGIN}@{stack.outputs['fqdn']}", "somebody@[192.0.2.1]"
    stack.execute("spooler", "python3", "-c", SEND, addresses(stack, "mail")["kopano"], sender, recipient)
    queued = in_queue(stack, recipient)
    assert "DKIM-Signature: " in queued
    # The networks are apart, as in IPv4.
    db = addresses(stack, "db")["kopano"]
    assert stack.execute("server", "sh", "-c", REACHES.format(db, 3306)).strip() == "yes"
    assert stack.execute("web", "sh", "-c", REACHES.format(db, 3306)).strip() == "no"
    # What is not published is not reached, though the client has a way to the networks.
    subprocess.run(["ip", "-n", place.client, "route", "add", "fd12:3456:789a::/48", "via", HOST], check=True)
    with pytest.raises(OSError, match="timed out"):
        within(place.client, lambda: socket.create_connection((db, 3306), timeout=3))

    stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", "--refresh")
