"""Another machine, with addresses of its own: a container that is on no network of Docker's, at the end of a cable."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments import docker

# For tests of networks, and routed nowhere.
RANGE = ipaddress.ip_network("198.18.0.0/15")


@dataclass(frozen=True)
class Cable:
    """The Docker host's address at its end of a cable, and the two addresses that the neighbour has at the other."""

    here: str
    there: str
    other: str

    @classmethod
    def new(cls) -> Cable:
        """A cable on a network that no other is likely to have."""
        network = ipaddress.ip_network((int(RANGE[0]) + 8 * secrets.randbelow(RANGE.num_addresses // 8), 29))
        return cls(*(str(network[number]) for number in (1, 2, 3)))


@contextlib.contextmanager
def neighbour(cable: Cable, image: str, options: Sequence[str], command: Sequence[str]) -> Iterator[str]:
    """A machine at the end of the cable that runs an image; gives the name of its container."""
    name = f"neighbour-{secrets.token_hex(4)}"
    ours, theirs = (f"env{secrets.token_hex(4)}" for _ in range(2))
    try:
        docker("run", "--detach", "--name", name, "--network", "none", *options, image, *command)
        there = docker("inspect", "--format", "{{.State.Pid}}", name).strip()
        inside = ["nsenter", "--target", there, "--net"]
        for words in (
            ["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", there],
            ["ip", "address", "add", f"{cable.here}/29", "dev", ours],
            ["ip", "link", "set", ours, "up"],
            *([*inside, "ip", "address", "add", f"{address}/29", "dev", theirs] for address in (cable.there, cable.other)),
            [*inside, "ip", "link", "set", theirs, "up"],
        ):
            subprocess.run(words, check=True, capture_output=True)
        yield name
    finally:
        # The cable goes with it.
        docker("rm", "--force", "--volumes", name, check=False)
