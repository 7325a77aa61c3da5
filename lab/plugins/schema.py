"""How the inputs and outputs of a resource are described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Value = Any
Properties = dict[str, Any]

# What the engine sends in place of a value that is not known before an update.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

DEFAULTS_KEY = "__defaults"
META_KEY = "__meta"
DELTA_KEY = "__pulumi_raw_state_delta"
RESERVED_KEYS = frozenset({DEFAULTS_KEY, META_KEY, DELTA_KEY})

SCALARS = frozenset({"text", "int", "bool"})


@dataclass(frozen=True)
class Field:
    """One property: its shape, who sets it, and what a change of it means.

    kind is text, int, bool, map (of text), list, set, or one (a list or set of at most one object,
    shown as the object). fields describes the objects in a list, set or one; without it the elements are texts.
    """

    kind: str
    required: bool = False
    computed: bool = False
    output_only: bool = False
    force_new: bool = False
    implemented: bool = True
    sensitive: bool = False
    default: Value = None
    fields: Mapping[str, Field] | None = None
    upstream_name: str | None = None
    # Compared on refresh by the form in which the engine keeps it, the input as it was written stays.
    keep_input: bool = False
    # An empty new value means "as it is".
    empty_keeps: bool = False
    # The set or one is never null in the state, only empty.
    block: bool = False
    same: Callable[[Value, Value], bool] | None = None
    check: Callable[[Value], str | None] | None = None

    @property
    def is_collection(self) -> bool:
        """Whether values have elements that are told apart by position or content."""
        return self.kind in {"list", "set"}

    def zero(self) -> Value:
        """The value that means "not set" for this kind."""
        return {"text": "", "int": 0, "bool": False, "list": [], "set": [], "map": {}}.get(self.kind)


@dataclass(frozen=True)
class ResourceSchema:
    """All properties of one resource type, and how the genuine plug-in treats the type."""

    token: str
    fields: Mapping[str, Field]
    autonamed: bool = False
    delete_before_replace: bool = False
    # The docker plug-in keeps its bookkeeping in the state, tls and random do not.
    bookkeeping: bool = True
    schema_version: str | None = None
    timeouts: bool = False


def one_of(*allowed: str) -> Callable[[Value], str | None]:
    """A check that a text is one of those allowed."""
    names = ", ".join(allowed)
    return lambda value: None if value in allowed else f"must be one of {names}, got {value!r}"


def at_least(minimum: int) -> Callable[[Value], str | None]:
    """A check that a number is not below the minimum."""
    return lambda value: None if value >= minimum else f"must be {minimum} or more, got {value}"


def matching(pattern: str, example: str) -> Callable[[Value], str | None]:
    """A check that a text has a form."""

    def check(value: Value) -> str | None:
        import re

        return None if re.fullmatch(pattern, value) else f"must look like {example}, got {value!r}"

    return check


def zero_filled(fld: Field, value: Value) -> Value:
    """The value with every unset part of an object made explicit."""
    if value is None:
        return fld.zero()
    if value == UNKNOWN:
        return value
    if fld.kind == "one":
        return filled_object(fld, value)
    if fld.is_collection and fld.fields is not None:
        return [filled_object(fld, element) for element in value]
    return value


def filled_object(fld: Field, value: Value) -> Value:
    """An object of a list, set or one with its unset properties zero."""
    if not isinstance(value, dict) or fld.fields is None:
        return value
    return {name: zero_filled(sub, value.get(name)) for name, sub in fld.fields.items()}


def identity(fld: Field, value: Value) -> Value:
    """A hashable form in which values that mean the same are equal."""
    value = zero_filled(fld, value)
    if fld.fields is not None and isinstance(value, dict):
        return object_identity(fld, value)
    if fld.is_collection and isinstance(value, list):
        elements = [element_identity(fld, element) for element in value]
        return tuple(sorted(elements, key=repr)) if fld.kind == "set" else tuple(elements)
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return value


def object_identity(fld: Field, value: Mapping[str, Value]) -> Value:
    """The identity of one object, property by property."""
    return tuple((name, identity(sub, value.get(name))) for name, sub in sorted((fld.fields or {}).items()))


def element_identity(fld: Field, element: Value) -> Value:
    """The identity of one element of a list or set."""
    return object_identity(fld, element) if fld.fields is not None and isinstance(element, dict) else element


def set_order(fld: Field, element: Value) -> str:
    """The key by which elements of a set are kept in order in the state."""
    return _encoded(element) if fld.fields is not None else str(element)


def _encoded(value: Value) -> str:
    import json

    if value is None:
        return "~"
    if value == UNKNOWN:
        return "?"
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, dict):
        return "<" + "".join(_encoded(value[name]) + ";" for name in sorted(value)) + ">"
    if isinstance(value, list):
        return "[" + "".join(_encoded(element) + ";" for element in value) + "]"
    return json.dumps(value, ensure_ascii=False)
