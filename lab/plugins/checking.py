"""Check: are the inputs valid, and what are they with defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from lab.plugins.schema import DEFAULTS_KEY, UNKNOWN, Field, Properties, ResourceSchema, Value

_KIND_NAMES = {
    "text": "a text",
    "int": "a whole number",
    "bool": "true or false",
    "map": "a map of texts",
    "list": "a list",
    "set": "a list",
    "one": "an object",
}


@dataclass(frozen=True)
class Naming:
    """What a name is made of when the program gives none."""

    resource_name: str
    seed: bytes = b""
    proposed: str | None = None
    disabled: bool = False


@dataclass
class Checked:
    """Inputs with defaults, and what is wrong with them: (property, sentence)."""

    inputs: Properties
    failures: list[tuple[str, str]] = field(default_factory=list)


def check(plugin: str, schema: ResourceSchema, olds: Properties, news: Properties, naming: Naming) -> Checked:
    """Check the inputs of one resource."""
    checked = Checked({})
    _Checker(plugin, schema, checked).object("", schema.fields, olds, news, checked.inputs)
    if schema.autonamed and not checked.inputs.get("name"):
        _name(schema, olds, naming, checked)
    if schema.bookkeeping:
        checked.inputs[DEFAULTS_KEY] = sorted(checked.inputs[DEFAULTS_KEY])
    else:
        _strip_defaults(checked.inputs)
    return checked


def _name(schema: ResourceSchema, olds: Properties, naming: Naming, checked: Checked) -> None:
    if "name" in olds.get(DEFAULTS_KEY, []) and olds.get("name"):
        name = olds["name"]
    elif naming.disabled:
        checked.failures.append(("name", "automatic naming is disabled but no explicit name was provided"))
        return
    elif naming.proposed is not None:
        name = naming.proposed
    else:
        name = f"{naming.resource_name}-{sha256(naming.seed).hexdigest()[:7]}"
    checked.inputs["name"] = name
    checked.inputs[DEFAULTS_KEY].append("name")


def _strip_defaults(value: Value) -> None:
    if isinstance(value, dict):
        value.pop(DEFAULTS_KEY, None)
        for element in value.values():
            _strip_defaults(element)
    elif isinstance(value, list):
        for element in value:
            _strip_defaults(element)


class _Checker:
    def __init__(self, plugin: str, schema: ResourceSchema, checked: Checked) -> None:
        self._plugin = plugin
        self._schema = schema
        self._failures = checked.failures

    def _fail(self, path: str, sentence: str) -> None:
        self._failures.append((path, sentence))

    def object(self, path: str, fields: Mapping[str, Field], olds: Properties, news: Properties, result: Properties) -> None:
        """Check the properties of one object into result."""
        result[DEFAULTS_KEY] = []
        for name, value in news.items():
            if value is None or name == DEFAULTS_KEY:
                continue
            where = f"{path}.{name}" if path else name
            fld = fields.get(name)
            if fld is None or fld.output_only or not fld.implemented:
                self._fail(
                    where,
                    f"the lab's {self._plugin} plug-in does not implement the input '{where}' of "
                    f"{self._schema.token}: leave it out or use the genuine plug-in",
                )
                continue
            result[name] = self._value(where, fld, olds.get(name), value)
        for name, fld in fields.items():
            if name in result:
                continue
            if fld.required and not (self._schema.autonamed and not path and name == "name"):
                self._fail(f"{path}.{name}" if path else name, f"'{name}' is missing: it must be given")
            # Defaults that mean "not set" stay out of the inputs.
            elif fld.default and fld.implemented and self._schema.bookkeeping:
                kept = name in olds.get(DEFAULTS_KEY, []) and olds.get(name) is not None
                result[name] = olds[name] if kept else fld.default
                result[DEFAULTS_KEY].append(name)
        result[DEFAULTS_KEY].sort()

    def _value(self, path: str, fld: Field, old: Value, new: Value) -> Value:
        if new == UNKNOWN:
            return new
        if not _has_kind(fld.kind, new):
            self._fail(path, f"'{path}' must be {_KIND_NAMES[fld.kind]}")
            return new
        if fld.kind == "one":
            return self._object(path, fld, old, new)
        if fld.is_collection:
            olds = old if isinstance(old, list) else []
            return [
                self._element(f"{path}[{index}]", fld, olds[index] if index < len(olds) else None, element)
                for index, element in enumerate(new)
            ]
        if fld.check is not None and (sentence := fld.check(new)) is not None:
            self._fail(path, f"'{path}' {sentence}")
        return new

    def _element(self, path: str, fld: Field, old: Value, new: Value) -> Value:
        if new == UNKNOWN:
            return new
        if fld.fields is None:
            if not isinstance(new, str):
                self._fail(path, f"'{path}' must be a text")
            elif fld.check is not None and (sentence := fld.check(new)) is not None:
                self._fail(path, f"'{path}' {sentence}")
            return new
        if not isinstance(new, dict):
            self._fail(path, f"'{path}' must be an object")
            return new
        return self._object(path, fld, old, new)

    def _object(self, path: str, fld: Field, old: Value, new: Properties) -> Properties:
        result: Properties = {}
        self.object(path, fld.fields or {}, old if isinstance(old, dict) else {}, new, result)
        return result


def _has_kind(kind: str, value: Value) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "map":
        return isinstance(value, dict) and all(isinstance(element, str) for element in value.values())
    return isinstance(value, dict if kind == "one" else list)
