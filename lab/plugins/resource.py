"""What a resource type and a plug-in have to offer to the server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from lab.plugins.difference import Difference
from lab.plugins.schema import Properties, ResourceSchema


class ResourceError(Exception):
    """The work on a resource failed; the text is for the user.

    With an id, the resource exists although the work on it failed: the engine then keeps it, tainted.
    """

    def __init__(self, message: str, resource_id: str | None = None) -> None:
        super().__init__(message)
        self.resource_id = resource_id


class Refusal(Exception):
    """The plug-in does not do this; the text names what, as the end of "the plug-in does not implement ..."."""


class ResourceType(ABC):
    """One type of resource: its schema and the work on it."""

    schema: ResourceSchema

    @abstractmethod
    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Make the resource; its id and the properties that it turned out to have."""

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        """The properties that the resource has now (with "id" when that changed), or None when it is gone."""
        return state

    def update(self, resource_id: str, prior: Properties, planned: Properties) -> None:  # noqa: B027 - most have nothing to do here
        """Bring the resource to the planned state in place."""

    def delete(self, resource_id: str, state: Properties) -> None:  # noqa: B027 - most have nothing to do here
        """Remove the resource."""

    def check(self, inputs: Properties) -> list[tuple[str, str]]:
        """What is wrong with inputs that are right one by one: (property, sentence)."""
        return []

    def complete_plan(self, planned: Properties, inputs: Properties) -> None:  # noqa: B027 - most have nothing to do here
        """Fill in planned values that depend on each other."""

    def complete_difference(self, planned: Properties, difference: Difference) -> None:  # noqa: B027 - most have nothing to do here
        """Add changes that come with time and not with the inputs."""


class Plugin(ABC):
    """One plug-in: its resource types and its configuration."""

    name: str
    # Words of the genuine plug-in where the engine asks for a handshake that none of them offers.
    handshake_refusal: str = "Handshake is not yet implemented"
    accepts_resources: bool = True
    # How the genuine plug-in sets out the text of an error.
    error_form: str = "{}"
    resources: Mapping[str, ResourceType]

    def check_config(self, config: Properties) -> list[tuple[str, str]]:
        """What is wrong with the configuration: (property, sentence)."""
        return [
            (
                name,
                f"the lab's {self.name} plug-in does not implement the provider setting '{name}': "
                "leave it out or use the genuine plug-in",
            )
            for name in config
            if name != "version"
        ]

    def configure(self, config: Properties) -> None:  # noqa: B027 - most have nothing to do here
        """Take over a checked configuration."""

    def cancel(self) -> None:  # noqa: B027 - most have nothing to do here
        """End the work under way as soon as possible."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do here
        """Let go of what the plug-in holds open."""
