"""Between protobuf structures and plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from lab.plugins.schema import UNKNOWN, Properties, Value

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"
# The engine has one stand-in for each kind of value; here they all mean the same.
_UNKNOWNS = frozenset(
    {
        UNKNOWN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


class Unsupported(Exception):
    """A kind of value that the plug-ins do not handle."""


def decode(struct: struct_pb2.Struct) -> Properties:
    """The plain values of a structure; secrets lose their mark here, the engine keeps it by property name."""
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: struct_pb2.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return UNKNOWN if text in _UNKNOWNS else text
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_plain(element) for element in value.list_value.values]
    if kind == "struct_value":
        return _unwrapped(decode(value.struct_value))
    return None


def _unwrapped(value: Properties) -> Value:
    signature = value.get(_SIGNATURE)
    if signature is None:
        return value
    if signature == _SECRET:
        return value.get("value")
    if signature == _OUTPUT:
        return value.get("value", UNKNOWN)
    if signature == _REFERENCE:
        return value.get("id")
    raise Unsupported("assets and archives: pass the content as text")


def encode(properties: Mapping[str, Any], secret: frozenset[str] = frozenset()) -> struct_pb2.Struct:
    """The structure of plain values; the named properties are marked secret."""
    struct = struct_pb2.Struct()
    for name, value in properties.items():
        if name in secret and value is not None:
            value = {_SIGNATURE: _SECRET, "value": value}
        struct.fields[name].CopyFrom(_wire(value))
    return struct


def _wire(value: Value) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, (int, float)):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, dict):
        return struct_pb2.Value(struct_value=encode(value))
    return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_wire(element) for element in value]))
