"""docker.Container"""

from __future__ import annotations

import time
from typing import Any

from lab.plugins.docker_container_request import MEBIBYTE, create_request, upload_archives
from lab.plugins.docker_container_schema import SCHEMA
from lab.plugins.docker_container_state import described
from lab.plugins.docker_engine import Engine
from lab.plugins.docker_image import find_image
from lab.plugins.planning import unfinished
from lab.plugins.resource import ResourceError, ResourceType
from lab.plugins.schema import Properties

# How often a container that is waited for is looked at.
_POLL_SECONDS = 0.25
# Time for a process that ends at once to do so, so that the state tells of it.
_SETTLE_SECONDS = 0.5

_NO_CHECK = (
    "you have supplied a 'wait' argument, but the container does not have a healthcheck defined. "
    "Please remove the 'wait' argument or add a 'healthcheck' attribute"
)

_LIMITS = ("restart", "maxRetryCount", "cpuShares", "memory", "memoryReservation", "cpuSet", "memorySwap")


class Container(ResourceType):
    """A container of the engine."""

    schema = SCHEMA

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Make the container, connect it, fill it, start it, and wait for it as asked."""
        wanted = unfinished(SCHEMA, planned)
        hidden = tuple(wanted["envs"] or ())
        try:
            find_image(self._engine, wanted["image"])
        except ResourceError as error:
            raise ResourceError(f"Unable to create container with image {wanted['image']}: {error}") from None
        request = create_request(wanted)
        with self._engine.errors("Unable to create container: ", hide=hidden):
            made = self._engine.api.create_container_from_config(  # type: ignore[no-untyped-call]
                request, wanted["name"], platform=wanted["platform"] or None
            )
        container = str(made["Id"])
        try:
            self._connect(container, wanted)
            self._upload(container, wanted)
            if wanted["start"]:
                self._start(container, hidden)
                if wanted["wait"]:
                    self._wait_for_health(container, wanted["waitTimeout"])
                else:
                    self._settle(container)
            logs = self._attach(container, wanted) if wanted["attach"] else None
            found = self.read(container, wanted)
        except ResourceError as error:
            # The container exists: the engine has to know of it, to replace or remove it.
            raise ResourceError(str(error), container) from None
        if found is None:
            raise ResourceError("the container was removed while it was being created")
        return container, found if logs is None else {**found, "containerLogs": logs}

    def _connect(self, container: str, wanted: Properties) -> None:
        if not wanted["networksAdvanced"]:
            return
        try:
            with self._engine.errors("Unable to disconnect the default network: "):
                self._engine.api.disconnect_container_from_network(container, "bridge")
        except ResourceError as error:
            if "is not connected to" not in str(error):
                raise
        for network in wanted["networksAdvanced"]:
            with self._engine.errors(f"Unable to connect to network '{network['name']}': "):
                self._engine.api.connect_container_to_network(
                    container,
                    network["name"],
                    aliases=network["aliases"] or None,
                    ipv4_address=network["ipv4Address"] or None,
                    ipv6_address=network["ipv6Address"] or None,
                    link_local_ips=network["linkLocalIps"] or None,
                )

    def _upload(self, container: str, wanted: Properties) -> None:
        for archive in upload_archives(wanted):
            with self._engine.errors("Unable to upload volume content: "):
                self._engine.api.put_archive(container, "/", archive)

    def _start(self, container: str, hidden: tuple[str, ...] = ()) -> None:
        with self._engine.errors("Unable to start container: ", hide=hidden), self._engine.starting:
            self._engine.api.start(container)

    def _wait_for_health(self, container: str, seconds: int) -> None:
        end = time.monotonic() + seconds
        while True:
            found = self._inspect(container) or {}
            health = found.get("State", {}).get("Health")
            if health is None:
                raise ResourceError(_NO_CHECK)
            if health["Status"] == "healthy":
                return
            # A check that failed may pass again: only the time ends the wait.
            if time.monotonic() >= end:
                raise ResourceError("container failed to be in healthy state")
            self._engine.pause(_POLL_SECONDS)

    def _settle(self, container: str) -> None:
        end = time.monotonic() + _SETTLE_SECONDS
        while (found := self._inspect(container)) is not None and found["State"]["Running"]:
            if time.monotonic() >= end:
                return
            self._engine.pause(_SETTLE_SECONDS / 5)

    def _attach(self, container: str, wanted: Properties) -> str | None:
        while (found := self._inspect(container)) is not None and found["State"]["Running"]:
            self._engine.pause(_POLL_SECONDS)
        if not wanted["logs"] or found is None:
            return None
        with self._engine.errors("unable to read container logs: "):
            return bytes(self._engine.api.logs(container)).decode(errors="replace")

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        """Look the container up by its id."""
        found = self._inspect(resource_id)
        return None if found is None else described(state, found)

    def update(self, resource_id: str, prior: Properties, planned: Properties) -> None:
        """Start a container that is to run again, and apply what the engine can change on a container."""
        if planned["mustRun"] and prior.get("mustRun") is False and planned["start"]:
            self._start(resource_id)
        if all(planned[name] == prior.get(name) for name in _LIMITS):
            return
        swap = planned["memorySwap"] or 0
        with self._engine.errors("Unable to update a container: "):
            self._engine.api.update_container(
                resource_id,
                cpu_shares=planned["cpuShares"] or 0,
                cpuset_cpus=planned["cpuSet"] or "",
                mem_limit=(planned["memory"] or 0) * MEBIBYTE,
                mem_reservation=(planned["memoryReservation"] or 0) * MEBIBYTE,
                memswap_limit=swap * MEBIBYTE if swap > 0 else swap,
                restart_policy={"Name": planned["restart"], "MaximumRetryCount": planned["maxRetryCount"] or 0},
            )

    def delete(self, resource_id: str, state: Properties) -> None:
        """Stop the container within its grace time, then remove it."""
        from docker.errors import NotFound

        if not state.get("attach"):
            with self._engine.errors(f"Error stopping container {resource_id}: "):
                try:
                    self._engine.api.stop(resource_id, timeout=max(0, state.get("destroyGraceSeconds") or 0))
                except NotFound:
                    return
        try:
            with self._engine.errors(f"Error deleting container {resource_id}: "):
                remove_volumes = state.get("removeVolumes") is not False
                self._engine.api.remove_container(resource_id, v=remove_volumes, force=True)
        except ResourceError as error:
            # A container with `rm` goes by itself once it has stopped.
            if not any(words in str(error) for words in ("No such container", "is already in progress")):
                raise
        self._engine.removed("removing", lambda: self._inspect(resource_id) is None)

    def _inspect(self, container: str) -> dict[str, Any] | None:
        with self._engine.errors():
            from docker.errors import NotFound

            try:
                return dict(self._engine.api.inspect_container(container))
            except NotFound:
                return None
