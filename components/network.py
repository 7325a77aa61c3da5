"""The networks that separate the blocks."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker


@dataclass(frozen=True)
class NetworksArgs:
    """Arguments of `Networks`: `prefix` begins the names of the networks on the Docker host; `stack` labels them."""

    prefix: str
    stack: str


class Networks(pulumi.ComponentResource):
    """`kopano:network:Networks`: the three networks of a deployment.

    Creates three `docker.Network` bridges. A container joins only those that it needs: what is on one network cannot be
    reached from another. Outputs, each the network's name on the Docker host: `kopano` (the core, the database, the mail
    stack), `web` (what the proxy reaches), `ldap` (the directory and its readers).
    """

    def __init__(self, name: str, args: NetworksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:network:Networks", name, None, opts)
        self.kopano = self._network(name, "kopano-net", args)
        self.web = self._network(name, "web-net", args)
        self.ldap = self._network(name, "ldap-net", args)
        self.register_outputs({"kopano": self.kopano, "web": self.web, "ldap": self.ldap})

    def _network(self, name: str, network: str, args: NetworksArgs) -> pulumi.Output[str]:
        return docker.Network(
            f"{name}-{network}",
            name=f"{args.prefix}-{network}",
            driver="bridge",
            labels=[docker.NetworkLabelArgs(label="kopano.stack", value=args.stack)],
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        ).name
