"""The docker plug-in: networks, volumes, images and containers on one Docker Engine."""

from __future__ import annotations

from lab.plugins.docker_container import Container
from lab.plugins.docker_engine import Engine
from lab.plugins.docker_image import RemoteImage
from lab.plugins.docker_network import Network
from lab.plugins.docker_volume import Volume
from lab.plugins.resource import Plugin
from lab.plugins.schema import Properties

# No check of the engine is made before it is needed, so there is nothing to disable.
_SETTINGS = {"host", "disableDockerDaemonCheck"}


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
        """Refuse every setting but the engine's address."""
        return super().check_config({name: value for name, value in config.items() if name not in _SETTINGS})

    def configure(self, config: Properties) -> None:
        """Take over the engine's address."""
        self.engine.host = str(config.get("host") or "")

    def cancel(self) -> None:
        """End waiting for containers."""
        self.engine.cancelled.set()

    def close(self) -> None:
        """Close the connections to the engine."""
        self.engine.close()


PLUGIN = DockerPlugin()
