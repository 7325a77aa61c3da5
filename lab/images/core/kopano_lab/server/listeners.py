"""The sockets that the server listens on."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path

from kopano_lab.errors import Refusal

_BACKLOG = 128


@dataclass(frozen=True)
class Address:
    """Where to listen: `0.0.0.0:236`, `[::1]:236`, `*:236`, or `*%lo:236` for the loopback interface."""

    host: str
    port: int

    @classmethod
    def parse(cls, spec: str, option: str) -> list[Address]:
        """All the addresses in an option, separated by spaces."""
        return [address for part in spec.split() for address in cls._one(part, option)]

    @classmethod
    def _one(cls, part: str, option: str) -> list[Address]:
        host, _, port = part.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise Refusal(f"{option}: '{part}' is no address to listen on: allowed is HOST:PORT, such as 0.0.0.0:236.", 255)
        if host == "*%lo":
            return [cls("127.0.0.1", int(port)), cls("::1", int(port))]
        return [cls("::" if host == "*" else host.strip("[]"), int(port))]


def tcp(addresses: list[Address]) -> list[socket.socket]:
    """Listen on each address."""
    return [listener for address in addresses if (listener := _tcp(address))]


def _tcp(address: Address) -> socket.socket | None:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.host != "::"))
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as problem:
        if address.host == "::1":
            return None  # A container without IPv6 still has the other loopback address.
        if address.host == "::":
            return _tcp(Address("0.0.0.0", address.port))
        help_ = (
            ": give the container the sysctl net.ipv4.ip_unprivileged_port_start=0"
            if isinstance(problem, PermissionError)
            else ""
        )
        raise Refusal(f"cannot listen on {address.host}:{address.port}: {problem.strerror}{help_}.", 255) from problem
    return listener


def unix(path: Path, mode: int) -> socket.socket:
    """Listen on a socket file; one that a killed predecessor left behind is replaced."""
    try:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        previous = os.umask(0o777)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        listener.listen(_BACKLOG)
        path.chmod(mode)
    except OSError as problem:
        raise Refusal(f"cannot make the socket {path} ({problem.strerror}): mount a volume on {path.parent}.", 255) from problem
    return listener


def tls(key_file: str, password: str, ca_file: str) -> ssl.SSLContext:
    """TLS with the server's certificate; a client may show one that the CA has signed."""
    for path in (key_file, ca_file):
        if not os.access(path, os.R_OK):
            reason = "cannot be read by user kopano" if os.path.exists(path) else "is not there"
            raise Refusal(f"{path} {reason}: make it readable for uid {os.getuid()}.", 255)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(key_file, password=password)
    except OSError as problem:
        raise Refusal(f"{key_file} must hold a private key and its certificate in PEM form: {_reason(problem)}.", 255) from None
    try:
        context.load_verify_locations(ca_file)
    except OSError as problem:
        raise Refusal(f"{ca_file} must hold the certificate of the CA in PEM form: {_reason(problem)}.", 255) from None
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a socket file, as the kernel knows it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _reason(problem: OSError) -> str:
    return str(getattr(problem, "reason", "") or problem.strerror or "it is empty")
