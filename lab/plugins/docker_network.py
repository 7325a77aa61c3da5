"""docker.Network"""

from __future__ import annotations

from typing import Any

from lab.plugins.docker_engine import Engine, labels_to_map, map_to_labels
from lab.plugins.planning import unfinished
from lab.plugins.resource import ResourceError, ResourceType
from lab.plugins.schema import Field, Properties, ResourceSchema

LABELS = {"label": Field("text", required=True), "value": Field("text", required=True)}

SCHEMA = ResourceSchema(
    token="docker:index/network:Network",
    autonamed=True,
    schema_version="1",
    fields={
        "attachable": Field("bool", force_new=True),
        "driver": Field("text", computed=True, force_new=True),
        "ingress": Field("bool", force_new=True),
        "internal": Field("bool", computed=True, force_new=True),
        "ipamConfigs": Field(
            "set",
            computed=True,
            force_new=True,
            upstream_name="ipam_config",
            fields={
                "auxAddress": Field("map"),
                "gateway": Field("text"),
                "ipRange": Field("text"),
                "subnet": Field("text"),
            },
        ),
        "ipamDriver": Field("text", default="default", force_new=True),
        "ipamOptions": Field("map", force_new=True),
        "ipv6": Field("bool", force_new=True),
        "labels": Field("set", force_new=True, block=True, fields=LABELS),
        "name": Field("text", required=True, force_new=True),
        "options": Field("map", computed=True, force_new=True),
        "scope": Field("text", output_only=True),
    },
)


class Network(ResourceType):
    """A network of the engine."""

    schema = SCHEMA

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Make the network; a second one of the same name is refused."""
        wanted = unfinished(SCHEMA, planned)
        with self._engine.errors("Unable to create network: "):
            made = self._engine.api.create_network(
                wanted["name"],
                driver=wanted["driver"],
                options=wanted["options"],
                ipam=_ipam(wanted),  # type: ignore[arg-type]
                check_duplicate=True,
                internal=bool(wanted["internal"]),
                labels=labels_to_map(wanted["labels"]),
                enable_ipv6=bool(wanted["ipv6"]),
                attachable=bool(wanted["attachable"]) or None,
                ingress=bool(wanted["ingress"]) or None,
            )
        found = self.read(made["Id"], wanted)
        if found is None:
            raise ResourceError("the network was removed while it was being created")
        return str(made["Id"]), found

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        """Look the network up by its id."""
        found = self._inspect(resource_id)
        if found is None:
            return None
        ipam = found.get("IPAM") or {}
        return {
            "attachable": found["Attachable"],
            "driver": found["Driver"],
            "ingress": found["Ingress"],
            "internal": found["Internal"],
            "ipamConfigs": [
                {
                    "auxAddress": config.get("AuxiliaryAddresses") or {},
                    "gateway": config.get("Gateway", ""),
                    "ipRange": config.get("IPRange", ""),
                    "subnet": config.get("Subnet", ""),
                }
                for config in ipam.get("Config") or []
            ],
            "ipamDriver": ipam.get("Driver", ""),
            "ipamOptions": ipam.get("Options") or {},
            "ipv6": found["EnableIPv6"],
            "labels": map_to_labels(found["Labels"]),
            "name": found["Name"],
            "options": found["Options"] or {},
            "scope": found["Scope"],
        }

    def delete(self, resource_id: str, state: Properties) -> None:
        """Remove the network once no container uses it."""
        self._engine.removed("pending", lambda: self._removed(resource_id))

    def _removed(self, resource_id: str) -> bool:
        if self._inspect(resource_id) is None:
            return True
        try:
            with self._engine.errors():
                self._engine.api.remove_network(resource_id)
        except ResourceError as error:
            if "has active endpoints" in str(error):
                return False
            raise
        return True

    def _inspect(self, resource_id: str) -> dict[str, Any] | None:
        with self._engine.errors():
            from docker.errors import NotFound

            try:
                return dict(self._engine.api.inspect_network(resource_id))
            except NotFound:
                return None


def _ipam(wanted: Properties) -> Properties:
    pools = [
        {
            "Subnet": config["subnet"] or None,
            "IPRange": config["ipRange"] or None,
            "Gateway": config["gateway"] or None,
            "AuxiliaryAddresses": config["auxAddress"] or None,
        }
        for config in wanted["ipamConfigs"] or []
    ]
    return {"Driver": wanted["ipamDriver"], "Options": wanted["ipamOptions"], "Config": pools}
