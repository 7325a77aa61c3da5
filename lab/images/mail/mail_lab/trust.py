"""Who may send without logging in: the containers on the same networks, but not what comes through the Docker host."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True)
class Peers:
    """Networks that the container is on, and the Docker host's own addresses in them."""

    networks: tuple[str, ...]
    gateways: tuple[str, ...]


def connected() -> Peers:
    """The networks of this container."""
    addresses = _ip("addr", "show", "scope", "global")
    routes = [*_ip("-4", "route", "show", "default"), *_ip("-6", "route", "show", "default")]
    # Of an address of another scope, ip leaves an empty entry.
    known = [info for link in addresses for info in link.get("addr_info", ()) if "local" in info]
    interfaces = [f"{info['local']}/{info['prefixlen']}" for info in known]
    return peers(interfaces, [route["gateway"] for route in routes if "gateway" in route])


def peers(interfaces: Iterable[str], routers: Iterable[str]) -> Peers:
    """The networks of these interfaces. Whoever comes through a published port by Docker's proxy has a gateway's address.

    Only one network has a default route; in the others Docker's gateway is the first address.
    """
    networks = [ipaddress.ip_interface(interface).network for interface in interfaces]
    gateways = {ipaddress.ip_address(router) for router in routers} | {
        network[1] for network in networks if network.num_addresses > 2
    }
    return Peers(tuple(sorted({str(network) for network in networks})), tuple(sorted(str(gateway) for gateway in gateways)))


def mynetworks(trusted: Peers) -> str:
    """Postfix's list: the first match counts, so what is not trusted stands before the network that it is in."""
    return " ".join(
        [_bracketed(network) for network in LOOPBACK]
        + [f"!{_bracketed(gateway)}" for gateway in trusted.gateways]
        + [_bracketed(network) for network in trusted.networks]
    )


def _bracketed(address: str) -> str:
    host, slash, length = address.partition("/")
    return f"[{host}]{slash}{length}" if ":" in host else address


def _ip(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-json", *arguments], capture_output=True, text=True)
    return json.loads(done.stdout or "[]") if done.returncode == 0 else []
