"""The connection to the Docker Engine, and its errors in the words of the genuine plug-in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab.plugins.docker_ssh import Tunnel
from lab.plugins.resource import Refusal, ResourceError

if TYPE_CHECKING:
    from docker import APIClient

# What the engine calls the registry of images that name none.
_HUB = "docker.io"
DEFAULT_HOST = "unix:///var/run/docker.sock"
# The genuine plug-in gives up on any one operation after this time.
_OPERATION_SECONDS = 20 * 60


class Engine:
    """One Docker Engine, connected to when it is first needed."""

    def __init__(self) -> None:
        self.host = ""
        # Registry -> the name and the password with which images are pulled from it.
        self.logins: dict[str, dict[str, str]] = {}
        self.cancelled = threading.Event()
        # After many containers joined a network in one moment, the engine of Debian 12 was seen to hold the network for
        # in use when all of them were gone; started one by one, it was not.
        self.starting = threading.Lock()
        self._lock = threading.Lock()
        self._api: APIClient | None = None
        self._tunnel: Tunnel | None = None

    @property
    def address(self) -> str:
        """Where the engine listens."""
        return self.host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST

    @property
    def api(self) -> APIClient:
        """The low-level client of the engine."""
        with self._lock:
            if self._api is None:
                self._api = self._connect()
            return self._api

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None
            self._close_tunnel()

    def _close_tunnel(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()
            self._tunnel = None

    def _connect(self) -> APIClient:
        address = self.address
        scheme = address.split("://", 1)[0]
        if scheme not in {"unix", "tcp", "ssh"}:
            raise Refusal(f"the engine address {address!r}: it must begin with unix://, tcp:// or ssh://")
        if scheme == "tcp" and (os.environ.get("DOCKER_TLS_VERIFY") or os.environ.get("DOCKER_CERT_PATH")):
            raise Refusal("TLS to the Docker Engine: unset DOCKER_TLS_VERIFY and DOCKER_CERT_PATH or use ssh://")
        # Loading the library takes longer than a whole preview's calls to this plug-in.
        import docker

        try:
            if scheme == "ssh":
                self._tunnel = Tunnel(address)
            reached = self._tunnel.url if self._tunnel else address
            return docker.APIClient(base_url=reached, version="auto", timeout=_OPERATION_SECONDS)
        except docker.errors.DockerException:
            unreachable = self._unreachable()
            self._close_tunnel()
            raise ResourceError(unreachable) from None

    def _unreachable(self) -> str:
        why = self._tunnel.trouble if self._tunnel else ""
        return f"Cannot connect to the Docker daemon at {self.address}{f' ({why})' if why else ''}. Is the docker daemon running?"

    @contextmanager
    def errors(self, doing: str = "", resource_id: str | None = None, hide: Sequence[str] = ()) -> Iterator[None]:
        """Report what the engine answers after the words that say what was being done."""
        import docker
        import requests

        try:
            yield
        except docker.errors.APIError as error:
            text = _without(str(error.explanation or error), hide)
            raise ResourceError(f"{doing}Error response from daemon: {text}", resource_id) from None
        except (requests.exceptions.RequestException, docker.errors.DockerException):
            raise ResourceError(f"{doing}{self._unreachable()}", resource_id) from None

    def pause(self, seconds: float) -> None:
        """Wait a little, or end the work when the engine asked for that."""
        if self.cancelled.wait(seconds):
            raise ResourceError("the work was cancelled")

    def removed(self, what: str, attempt: Any) -> None:
        """Repeat the attempt, which tells whether it removed something, while that is in use, for 30 seconds."""
        end = time.monotonic() + 30
        while not attempt():
            if time.monotonic() > end:
                raise ResourceError(f"timeout while waiting for state to become 'removed' (last state: '{what}', timeout: 30s)")
            self.pause(0.5)


def _without(text: str, hide: Sequence[str]) -> str:
    # The engine repeats an environment entry that it does not like, and any entry may be secret.
    for entry in sorted(hide, key=len, reverse=True):
        name, _, value = entry.partition("=")
        for secret in (entry, value):
            if len(secret) > 3:
                text = text.replace(secret, f"{name}=..." if secret == entry else "...")
    return text


def registry(address: str) -> str:
    """The registry of an address: without the protocol and a path, and the engine's own where none is named."""
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return host if ("." in host or ":" in host or host == "localhost") and host != "index.docker.io" else _HUB


def labels_to_map(labels: Sequence[dict[str, str]] | None) -> dict[str, str]:
    """Labels as the engine wants them."""
    return {label["label"]: label["value"] for label in labels or []}


def map_to_labels(labels: dict[str, str] | None) -> list[dict[str, str]]:
    """Labels as the state keeps them."""
    return [{"label": name, "value": value} for name, value in sorted((labels or {}).items())]
