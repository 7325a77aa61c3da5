"""Users: the Kopano server says whether a password is right, and who it belongs to."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from kopano_lab.client import Client
from kopano_lab.errors import Refusal
from kopano_lab.wire import RpcError


@dataclass(frozen=True)
class Person:
    """A user, or a guest whom a client vouches for."""

    id: str
    username: str
    name: str
    email: str = ""
    since: int = 0
    guest: bool = False
    passthru: dict[str, Any] | None = None
    """Claims that a client wants handed on in a guest's tokens."""

    @classmethod
    def stored(cls, record: dict[str, Any]) -> Person:
        """A person from what `record` gave."""
        return cls(**record)

    def record(self) -> dict[str, Any]:
        """What a sealed cookie or token keeps."""
        return asdict(self)

    @property
    def given_name(self) -> str:
        """All of the name but its last word: the server keeps full names only."""
        return self.name.rpartition(" ")[0]

    @property
    def family_name(self) -> str:
        """The last word of the name."""
        return self.name.rpartition(" ")[2]


class Unavailable(Exception):
    """The server does not answer."""


def logged_on(server: str, name: str, password: str) -> Person | None:
    """The user of that name, if the password is right."""
    client = Client(server, timeout=20)
    try:
        found = client.user(client.log_on(name, password)["user"])
        client.log_off()
    except RpcError as problem:
        if problem.code in ("logon_failed", "bad_request"):
            return None
        raise Unavailable(str(problem)) from problem
    except Refusal as problem:
        raise Unavailable(str(problem)) from problem
    finally:
        client.close()
    return Person(
        id=found["externid"],
        username=found["name"],
        name=found["fullname"] or found["name"],
        email=found["email"] or "",
        since=int(time.time()),
    )
