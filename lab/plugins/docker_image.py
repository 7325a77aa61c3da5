"""docker.RemoteImage, and how an image is found for a container."""

from __future__ import annotations

from typing import Any

from lab.plugins.docker_engine import Engine, registry
from lab.plugins.resource import ResourceError, ResourceType
from lab.plugins.schema import Field, Properties, ResourceSchema

SCHEMA = ResourceSchema(
    token="docker:index/remoteImage:RemoteImage",
    timeouts=True,
    fields={
        "build": Field("one", block=True, implemented=False, fields={}),
        "forceRemove": Field("bool"),
        "imageId": Field("text", output_only=True),
        "keepLocally": Field("bool"),
        "name": Field("text", required=True, force_new=True),
        "platform": Field("text", force_new=True),
        "pullTriggers": Field("set", force_new=True),
        "repoDigest": Field("text", output_only=True),
        "triggers": Field("map", force_new=True),
    },
)


def local_image(engine: Engine, name: str) -> dict[str, Any] | None:
    """What the engine knows of an image that it has."""
    with engine.errors():
        from docker.errors import ImageNotFound, NotFound

        try:
            return dict(engine.api.inspect_image(name))  # type: ignore[no-untyped-call]
        except (ImageNotFound, NotFound):
            return None


def find_image(engine: Engine, name: str, platform: str | None = None) -> dict[str, Any]:
    """The image of that name, pulled when the engine does not have it."""
    if not name:
        raise ResourceError("empty image name is not allowed")
    found = local_image(engine, name)
    if found is not None:
        return found
    with engine.errors(f"unable to pull image {name}: error pulling image {name}: "):
        # Without one here, the log-ins that this user has stored count.
        login = engine.logins.get(registry(name.rpartition("/")[0]))
        engine.api.pull(name, platform=platform or None, auth_config=login)
    found = local_image(engine, name)
    if found is None:
        raise ResourceError(f"unable to find or pull image {name}")
    return found


class RemoteImage(ResourceType):
    """An image that the engine has or can pull."""

    schema = SCHEMA

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Take the image as it is, or pull it."""
        return self._found(planned)

    def _found(self, wanted: Properties) -> tuple[str, Properties]:
        try:
            found = find_image(self._engine, wanted["name"], wanted["platform"])
        except ResourceError as error:
            raise ResourceError(f"Unable to read Docker image into resource: {error}") from None
        return _described(wanted, found)

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        """Look up what the name means now."""
        found = local_image(self._engine, state["name"])
        if found is None:
            return None
        new_id, described = _described(state, found)
        return {**described, "id": new_id}

    def update(self, resource_id: str, prior: Properties, planned: Properties) -> None:
        """Make sure that the image is there."""
        self._found(planned)

    def delete(self, resource_id: str, state: Properties) -> None:
        """Remove the image, unless it is to be kept."""
        if state.get("keepLocally"):
            return
        if local_image(self._engine, state["name"]) is not None:
            with self._engine.errors("Unable to remove Docker image: "):
                self._engine.api.remove_image(state["name"], force=bool(state.get("forceRemove")))


def _described(state: Properties, found: dict[str, Any]) -> tuple[str, Properties]:
    digests = found.get("RepoDigests") or []
    repository = state["name"].split(":", 1)[0]
    # An image that came from several registries has a digest for each.
    digest = next((item for item in digests if len(digests) > 1 and item.startswith(repository)), None)
    described = {**state, "imageId": found["Id"], "repoDigest": digest or (digests[0] if digests else "")}
    return found["Id"] + state["name"], described
