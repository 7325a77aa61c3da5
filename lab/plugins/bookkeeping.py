"""The notes that the genuine plug-in keeps beside a state, so that it can take the state over."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lab.plugins.schema import DELTA_KEY, META_KEY, Field, Properties, ResourceSchema, Value

_TIMEOUTS_KEY = "e2bfb730-ecaa-11e6-8f88-34363bc7c4c0"
_EXTRA_KEY = "_new_extra_shim"
_TWENTY_MINUTES = 20 * 60 * 1_000_000_000


def with_notes(schema: ResourceSchema, state: Properties, *, was_read: bool) -> Properties:
    """The state with its notes; was_read tells that it was filled by a refresh."""
    if not schema.bookkeeping:
        return state
    notes: Properties = {DELTA_KEY: _object_note(schema.fields, state, was_read)}
    meta: Properties = {_TIMEOUTS_KEY: _timeouts()} if schema.timeouts else {}
    if schema.schema_version is not None:
        meta["schema_version"] = schema.schema_version
    notes[META_KEY] = _compact(meta)
    return {**state, **notes}


def with_preview_notes(schema: ResourceSchema, planned: Properties) -> Properties:
    """The plan of a resource to be made with its notes."""
    if not schema.bookkeeping or not schema.timeouts:
        return planned
    # Ports are the one place where the form given and the form kept may differ.
    extra = {f"ports.{index}.ip": port["ip"] for index, port in enumerate(planned.get("ports") or []) if isinstance(port, dict)}
    return {**planned, META_KEY: _compact({_EXTRA_KEY: extra, _TIMEOUTS_KEY: _timeouts()})}


def _timeouts() -> dict[str, int]:
    return {name: _TWENTY_MINUTES for name in ("create", "delete", "update")}


def _compact(value: Properties) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _object_note(fields: Mapping[str, Field], value: Properties, was_read: bool) -> Properties:
    note: Properties = {}
    parts = {name: part for name, fld in fields.items() if (part := _note(fld, value.get(name), was_read)) is not None}
    if parts:
        note["ps"] = parts
    renamed = {name: fld.upstream_name for name, fld in fields.items() if fld.upstream_name is not None}
    if renamed:
        note["renamed"] = renamed
    return {"obj": note}


def _note(fld: Field, value: Value, was_read: bool) -> Properties | None:
    if fld.kind == "one":
        if value is None:
            return {"plu": {"i": {}}} if fld.block or was_read else None
        return {"plu": {"i": _object_note(fld.fields or {}, value, was_read)}}
    if value is None:
        return None
    if fld.kind == "map":
        return {"map": {}}
    if not fld.is_collection:
        return None
    if fld.fields is None or not value:
        return {"arr": {}}
    elements = {str(index): _object_note(fld.fields, element, was_read) for index, element in enumerate(value)}
    return {"arr": {"el": elements}}
