"""How to see from the stack's networks whether a block does its work, by the name that it has there."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

SECONDS = 5
"""How long a block may take for each step of an answer."""


class SickError(Exception):
    """The block is there and does not answer as it should."""


@dataclass(frozen=True)
class Stack:
    """The stack that is looked at: its host name, and what trusts its authority and nothing else."""

    fqdn: str
    authority: ssl.SSLContext


@dataclass(frozen=True)
class Greeting:
    """Something on a TCP port says `greeting` (a regular expression over the first bytes), after `hello` where the protocol wants
    one, and is told `farewell`."""

    port: int
    greeting: bytes
    farewell: bytes = b""
    hello: bytes = b""
    tls: bool = False
    what: ClassVar[str] = "answers"

    def look(self, host: str, stack: Stack) -> None:
        """Raise OSError where nothing answers, SickError where it answers something else."""
        with _connected(host, self.port, stack if self.tls else None) as connection:
            connection.sendall(self.hello)
            said = connection.recv(256)
            if not re.match(self.greeting, said, re.DOTALL):
                raise SickError(f"says {said[:60]!r}" if said else "hangs up")
            connection.sendall(self.farewell)


@dataclass(frozen=True)
class Http:
    """A GET is answered with `status`, or, if None, with any that is no server's error. Over TLS the certificate has to be the
    stack's own."""

    port: int
    path: str
    status: int | None = 200
    tls: bool = False
    what: ClassVar[str] = "answers"

    def look(self, host: str, stack: Stack) -> None:
        """Raise OSError or HTTPException where nothing answers, SickError where the answer is another one."""
        connection = http.client.HTTPConnection(stack.fqdn if self.tls else host, self.port, timeout=SECONDS)
        connection.sock = _connected(host, self.port, stack if self.tls else None)
        try:
            connection.request("GET", self.path)
            status = connection.getresponse().status
        finally:
            connection.close()
        if status >= 500 or self.status not in (None, status):
            raise SickError(f"answers {self.path} with {status}")


@dataclass(frozen=True)
class Presence:
    """A block without a port of its own is on the network: its name is known there and its host reacts. Both end with it."""

    what: ClassVar[str] = "runs"

    def look(self, host: str, stack: Stack) -> None:
        """Raise OSError where the block is not there."""
        try:
            # Nothing listens there: a host that is up says so at once.
            socket.create_connection((host, 9), SECONDS).close()
        except ConnectionRefusedError:
            return


ANONYMOUS_BIND = bytes.fromhex("300c020101600702010304008000")

Probe = Greeting | Http | Presence

PROBES: Mapping[str, Probe] = {
    "web": Http(443, "/", None, tls=True),
    "db": Greeting(3306, rb"...\x00\x0a"),
    # An anonymous bind, which is answered whether it is allowed or not.
    "ldap": Greeting(389, rb"\x30.\x02\x01\x01\x61", b"\x30\x05\x02\x01\x02\x42\x00", ANONYMOUS_BIND),
    "ldap-admin": Http(80, "/"),
    "password-self-service": Http(80, "/"),
    "mail": Greeting(25, rb"220", b"QUIT\r\n"),
    "kopano_server": Http(236, "/", 405),
    "kopano_dagent": Greeting(2003, rb"220", b"QUIT\r\n"),
    "kopano_gateway": Greeting(143, rb"\* OK", b"a LOGOUT\r\n"),
    "gateway_tls": Greeting(993, rb"\* OK", b"a LOGOUT\r\n", tls=True),
    "kopano_ical": Http(8080, "/", None),
    "kopano_kapi": Http(8039, "/health-check"),
    "kopano_konnect": Http(8777, "/health-check"),
    "kopano_kwmserver": Http(8778, "/health-check"),
    "kopano_meet": Http(9080, "/meet/"),
    "kopano_kapps": Http(9080, "/calendar/"),
    "kopano_webapp": Http(9080, "/status"),
    "kopano_zpush": Http(9080, "/Microsoft-Server-ActiveSync", 401),
    "kopano_kdav": Http(9080, "/kdav/", 401),
}
"""Name of a block on the networks -> how it is looked at. Others are only looked for."""

OUT_OF_SIGHT: Mapping[str, str] = {
    "kopano_ssl": "ends when the keys are where they belong",
    "docker_proxy": "is on a network that nobody else joins",
    "backup_ldap": "has no network",
    "kopano_kwmbridge": "is on the host's network",
}
"""Blocks that cannot be seen from the stack's networks, and why."""


def look(block: str, stack: Stack) -> str:
    """What is wrong with a block; empty where nothing is."""
    try:
        PROBES.get(block, Presence()).look(block, stack)
    except socket.gaierror:
        return "is not on the network"
    except TimeoutError:
        return f"does not answer within {SECONDS} seconds"
    except (OSError, http.client.HTTPException, SickError) as problem:
        return str(problem) or type(problem).__name__
    return ""


def certificate_end(stack: Stack) -> float:
    """When the certificate of the proxy ends, in seconds since 1970. Raises OSError where it cannot be asked."""
    with _connected("web", 443, stack) as connection:
        certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    return ssl.cert_time_to_seconds(str((certificate or {})["notAfter"]))


def _connected(host: str, port: int, stack: Stack | None) -> socket.socket:
    plain = socket.create_connection((host, port), SECONDS)
    return stack.authority.wrap_socket(plain, server_hostname=stack.fqdn) if stack else plain
