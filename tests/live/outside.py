"""A database and a directory that are not of the stack: containers of their own, as on another machine."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments import docker, free_port
from pki import pair

from lab.images import catalog

GATEWAY = "172.17.0.1"
"""An address of the Docker host, over which containers reach what is published there, as they reach anything outside."""
DOMAIN = "outside.example"
BASE = "dc=outside,dc=example"

TLS_FRONT = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h

listen ldaps
    bind :636 ssl crt /usr/local/etc/haproxy/tls.pem
    server ldap 127.0.0.1:389
"""
"""The lab's directory knows no TLS."""


@dataclass(frozen=True)
class Outside:
    """What the stack file says of them, and the names of their containers (db, ldap)."""

    database: dict[str, str]
    directory: dict[str, str]
    containers: dict[str, str]


@contextlib.contextmanager
def services_outside(*, tls: bool = False) -> Iterator[Outside]:
    """A database, and a directory with the demo's users, that run while the block lasts. With `tls`, the directory is asked over
    TLS, with a certificate of an authority of its own."""
    name = f"outside-{secrets.token_hex(4)}"
    password, bind = secrets.token_hex(12), secrets.token_hex(12)
    variables = {
        "db": {
            "MYSQL_DATABASE": "kopano",
            "MYSQL_USER": "kopano",
            "MYSQL_PASSWORD": password,
            "MYSQL_ROOT_PASSWORD": secrets.token_hex(12),
        },
        "ldap": {
            "LDAP_ADMIN_PASSWORD": secrets.token_hex(12),
            "LDAP_BASE_DN": BASE,
            "LDAP_DOMAIN": DOMAIN,
            "LDAP_ORGANISATION": "Outside",
            "LDAP_READONLY_USER": "true",
            "LDAP_READONLY_USER_PASSWORD": bind,
        },
    }
    images = {"db": catalog.reference("db"), "ldap": catalog.reference("ldap_demo")}
    inside = {"db": 3306, "ldap": 636 if tls else 389}
    ports = {block: free_port() for block in inside}
    containers = {block: f"{name}-{block}" for block in (*images, *(["tls"] if tls else []))}
    directory = {"baseDn": BASE, "bindDn": f"cn=readonly,{BASE}", "bindPassword": bind}
    directory["uri"] = f"{'ldaps' if tls else 'ldap'}://{GATEWAY}:{ports['ldap']}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            for block, image in images.items():
                lines = [word for key in variables[block] for word in ("--env", key)]
                publish = ["--publish", f"{GATEWAY}:{ports[block]}:{inside[block]}"]
                words = ["run", "--detach", "--name", containers[block], *publish, *lines, image]
                docker(*words, environment=variables[block])
            if tls:
                directory["authority"] = _tls_front(containers, Path(folder))
            yield Outside(
                {"host": GATEWAY, "port": str(ports["db"]), "name": "kopano", "user": "kopano", "password": password},
                directory,
                containers,
            )
        finally:
            for container in reversed(containers.values()):
                docker("rm", "--force", "--volumes", container, check=False)


def _tls_front(containers: dict[str, str], folder: Path) -> str:
    """TLS on the directory's own address; gives the authority (PEM) that signed its certificate."""
    shown = pair(GATEWAY)
    (folder / "tls.pem").write_text(shown.certificate + shown.key, encoding="ascii")
    (folder / "haproxy.cfg").write_text(TLS_FRONT, encoding="ascii")
    folder.chmod(0o755)
    words = ["--network", f"container:{containers['ldap']}", "--volume", f"{folder}:/usr/local/etc/haproxy:ro"]
    docker("run", "--detach", "--name", containers["tls"], *words, catalog.reference("haproxy"))
    return shown.authority
