"""docker.Volume"""

from __future__ import annotations

from lab.plugins.docker_engine import Engine, labels_to_map, map_to_labels
from lab.plugins.docker_network import LABELS
from lab.plugins.planning import unfinished
from lab.plugins.resource import ResourceError, ResourceType
from lab.plugins.schema import Field, Properties, ResourceSchema

SCHEMA = ResourceSchema(
    token="docker:index/volume:Volume",
    autonamed=True,
    schema_version="1",
    fields={
        "cluster": Field("one", block=True, implemented=False, fields={}),
        "driver": Field("text", computed=True, force_new=True),
        "driverOpts": Field("map", force_new=True),
        "labels": Field("set", force_new=True, block=True, fields=LABELS),
        "mountpoint": Field("text", output_only=True),
        "name": Field("text", computed=True, force_new=True),
    },
)


class Volume(ResourceType):
    """A volume of the engine."""

    schema = SCHEMA

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Make the volume; one that exists under the name is taken over as it is."""
        wanted = unfinished(SCHEMA, planned)
        with self._engine.errors("Unable to create volume: "):
            made = self._engine.api.create_volume(
                wanted["name"],
                driver=wanted["driver"],
                driver_opts=wanted["driverOpts"],
                labels=labels_to_map(wanted["labels"]),
            )
        found = self.read(made["Name"], wanted)
        if found is None:
            raise ResourceError("the volume was removed while it was being created")
        return str(made["Name"]), found

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        """Look the volume up by its name."""
        with self._engine.errors("Unable to inspect volume: "):
            from docker.errors import NotFound

            try:
                found = self._engine.api.inspect_volume(resource_id)
            except NotFound:
                return None
        return {
            "cluster": None,
            "driver": found["Driver"],
            "driverOpts": found["Options"] or {},
            "labels": map_to_labels(found["Labels"]),
            "mountpoint": found["Mountpoint"],
            "name": found["Name"],
        }

    def delete(self, resource_id: str, state: Properties) -> None:
        """Remove the volume and its data once no container uses it."""
        self._engine.removed("in_use", lambda: self._removed(resource_id))

    def _removed(self, resource_id: str) -> bool:
        try:
            with self._engine.errors():
                self._engine.api.remove_volume(resource_id, force=True)
        except ResourceError as error:
            if "volume is in use" in str(error):
                return False
            raise
        return True
