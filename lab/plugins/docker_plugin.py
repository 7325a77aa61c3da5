"""The docker plug-in: networks, volumes, images and containers on one Docker Engine."""

from __future__ import annotations

import json
from typing import Any

from lab.plugins.docker_container import Container
from lab.plugins.docker_engine import Engine, registry
from lab.plugins.docker_image import RemoteImage
from lab.plugins.docker_network import Network
from lab.plugins.docker_volume import Volume
from lab.plugins.resource import Plugin
from lab.plugins.schema import UNKNOWN, Properties

# No check of the engine is made before it is needed, so there is nothing to disable.
_SETTINGS = {"host", "disableDockerDaemonCheck", "registryAuth"}
_LOGIN = {"address", "username", "password"}


def _logins(config: Properties) -> list[Any]:
    # A setting that is no text comes as JSON; one that is not known before the deployment has no log-ins yet.
    given = config.get("registryAuth") or "[]"
    known = json.loads(given) if isinstance(given, str) and given != UNKNOWN else given
    return [login for login in known if isinstance(login, dict)] if isinstance(known, list) else []


class DockerPlugin(Plugin):
    """Stands in for the genuine docker plug-in."""

    name = "docker"
    handshake_refusal = "method Handshake not implemented"
    accepts_resources = False
    error_form = "1 error occurred:\n\t* {}\n\n"

    def __init__(self) -> None:
        self.engine = Engine()
        types = (Network(self.engine), Volume(self.engine), RemoteImage(self.engine), Container(self.engine))
        self.resources = {resource.schema.token: resource for resource in types}

    def check_config(self, config: Properties) -> list[tuple[str, str]]:
        """Refuse every setting but the engine's address and log-ins of registries by name and password."""
        failures = super().check_config({name: value for name, value in config.items() if name not in _SETTINGS})
        for login in _logins(config):
            others = {name for name, value in login.items() if value not in (None, "")} - _LOGIN
            if others or not set(login) >= _LOGIN:
                failures.append(
                    (
                        "registryAuth",
                        "the lab's docker plug-in logs in to a registry with address, username and password, all three and"
                        " nothing else: give these or use the genuine plug-in",
                    )
                )
        return failures

    def configure(self, config: Properties) -> None:
        """Take over the engine's address and the log-ins of registries."""
        self.engine.host = str(config.get("host") or "")
        self.engine.logins = {
            registry(login["address"]): {"username": login["username"], "password": login["password"]}
            for login in _logins(config)
        }

    def cancel(self) -> None:
        """End waiting for containers."""
        self.engine.cancelled.set()

    def close(self) -> None:
        """Close the connections to the engine."""
        self.engine.close()


PLUGIN = DockerPlugin()
