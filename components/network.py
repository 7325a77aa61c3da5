"""The networks that separate the blocks."""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.settings import Ipv6


@dataclass(frozen=True)
class NetworksArgs:
    """Arguments of `Networks`: `prefix` begins the names of the networks on the Docker host; `stack` labels them; `ipv6` says
    where their addresses are from when they have IPv6, too."""

    prefix: str
    stack: str
    ipv6: Ipv6 | None = None


class Networks(pulumi.ComponentResource):
    """`kopano:network:Networks`: the networks of a deployment.

    Creates four `docker.Network` bridges. A container joins only those that it needs: what is on one network cannot be
    reached from another. Outputs, each the network's id on the Docker host: `kopano` (the core, the database, the mail stack),
    `web` (what the proxy reaches), `ldap` (the directory and its readers), `jobs` (the scheduler and its way to the Docker
    Engine, without a way out). By id, since a network that was removed and made again has the same name, and the plug-in does
    not see that its containers were left without it. Besides, `names` (kopano, web, ldap -> name on the Docker host);
    `web_gateways`: the engine's own addresses on `web`, from which the Docker host itself speaks to containers there; and
    `peers`: the addresses of containers on `kopano` and `ldap` without the engine's own, as Postfix writes networks.
    """

    def __init__(self, name: str, args: NetworksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:network:Networks", name, None, opts)
        kopano, web, ldap = (
            self._network(name, f"{network}-net", args, addresses=addresses)
            for network, addresses in zip(WITH_IPV6, _addresses(args.ipv6), strict=True)
        )
        self.kopano, self.web, self.ldap = kopano.id, web.id, ldap.id
        self.jobs = self._network(name, "jobs-net", args, internal=True).id
        self.web_gateways = pulumi.Output.all(web.ipam_configs).apply(lambda networks: _gateways(networks[0]))
        self.names = {"kopano": kopano.name, "web": web.name, "ldap": ldap.name}
        self.peers = pulumi.Output.all(kopano.ipam_configs, ldap.ipam_configs).apply(_peers)
        self.register_outputs({**self.names, "peers": self.peers, "web_gateways": self.web_gateways})

    def _network(
        self,
        name: str,
        network: str,
        args: NetworksArgs,
        *,
        internal: bool | None = None,
        addresses: list[docker.NetworkIpamConfigArgs] | None = None,
    ) -> docker.Network:
        return docker.Network(
            f"{name}-{network}",
            name=f"{args.prefix}-{network}",
            driver="bridge",
            internal=internal,
            ipv6=True if addresses else None,
            ipam_configs=addresses,
            labels=[docker.NetworkLabelArgs(label="kopano.stack", value=args.stack)],
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )


WITH_IPV6 = ("kopano", "web", "ldap")
"""The networks that get IPv6, where it is wanted."""


def subnets(ipv6: Ipv6 | None) -> list[tuple[ipaddress.IPv4Network, ipaddress.IPv6Network]]:
    """The subnets of each network in `WITH_IPV6`; none where there is no IPv6."""
    if ipv6 is None:
        return []
    # A quarter of the range for each, and of the prefix what every network gets.
    four = ipaddress.IPv4Network(ipv6.ipv4).subnets(2)
    six = ipaddress.IPv6Network(ipv6.prefix).subnets(new_prefix=64)
    return list(itertools.islice(zip(four, six, strict=False), len(WITH_IPV6)))


def _addresses(ipv6: Ipv6 | None) -> list[list[docker.NetworkIpamConfigArgs] | None]:
    """What each network in `WITH_IPV6` is told of its addresses. Both kinds, with their gateways: what is not said here the
    engine adds, and the plug-in then finds a difference and makes the network anew with each deployment."""
    told = [[docker.NetworkIpamConfigArgs(subnet=str(net), gateway=str(net[1])) for net in pair] for pair in subnets(ipv6)]
    return [*told] or [None] * len(WITH_IPV6)


def _in_order(configs: list[dict[str, str]] | None) -> list[dict[str, str]]:
    """The addresses of a network, IPv4 first: the plug-in hands them back in any order."""
    return sorted(configs or [], key=lambda config: (":" in config.get("subnet", ""), config.get("subnet", "")))


def _peers(networks: list[list[dict[str, str]] | None]) -> str:
    """Subnets without their gateways: what comes from a gateway's address may come from anywhere."""
    known = [config for configs in networks for config in _in_order(configs)]
    ranges = ["127.0.0.0/8"]
    if any(":" in config.get("subnet", "") for config in known):
        ranges.append("[::1]/128")
    for config in known:
        ranges += [f"!{_bracketed(config['gateway'])}"] if config.get("gateway") else []
        ranges += [_bracketed(config["subnet"])] if config.get("subnet") else []
    return " ".join(ranges)


def _bracketed(address: str) -> str:
    """An address or network as Postfix writes it."""
    host, slash, length = address.partition("/")
    return f"[{host}]{slash}{length}" if ":" in host else address


def _gateways(configs: list[dict[str, str]] | None) -> list[str]:
    """The engine's own addresses on a network."""
    return [config["gateway"] for config in _in_order(configs) if config.get("gateway")]
