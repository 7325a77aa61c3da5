"""Diff: what changes between a state and a plan, property by property, and what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from lab.plugins.schema import (
    DEFAULTS_KEY,
    UNKNOWN,
    Field,
    Properties,
    ResourceSchema,
    Value,
    element_identity,
)

ADD, DELETE, UPDATE = "ADD", "DELETE", "UPDATE"


@dataclass
class Difference:
    """The answer to Diff: detailed maps a property path to ADD, DELETE or UPDATE, each maybe with _REPLACE."""

    detailed: dict[str, str] = field(default_factory=dict)
    stables: list[str] = field(default_factory=list)
    delete_before_replace: bool = False

    @property
    def changed(self) -> list[str]:
        """The changed properties."""
        return sorted({_root(path) for path in self.detailed})

    @property
    def replaces(self) -> list[str]:
        """The properties whose change asks for a replacement, once for each changed path."""
        return sorted(_root(path) for path, kind in self.detailed.items() if kind.endswith("_REPLACE"))


def _root(path: str) -> str:
    return path.replace("[", ".").split(".", 1)[0]


def difference(schema: ResourceSchema, prior: Properties, planned: Properties, inputs: Properties) -> Difference:
    """Compare the state with the plan."""
    result = Difference()
    for name, fld in schema.fields.items():
        for path, kind in _changes(name, fld, prior.get(name), planned.get(name), inputs.get(name)):
            result.detailed[path] = f"{kind}_REPLACE" if fld.force_new else kind
    finish(schema, inputs, result)
    return result


def finish(schema: ResourceSchema, inputs: Properties, result: Difference) -> None:
    """Fill in what follows from the changed paths."""
    replaced = set(result.replaces)
    if schema.bookkeeping:
        result.stables = sorted(name for name, fld in schema.fields.items() if fld.force_new and name not in replaced)
    # Two resources cannot carry one explicit name at the same time.
    named = schema.autonamed and "name" in inputs and "name" not in inputs.get(DEFAULTS_KEY, [])
    result.delete_before_replace = bool(replaced) and (schema.delete_before_replace or named)


def _changes(path: str, fld: Field, old: Value, new: Value, given: Value) -> Iterator[tuple[str, str]]:
    old = None if old == [] else old
    new = None if new == [] else new
    if old is None or new is None:
        if old is not None:
            yield path, DELETE
        elif new is not None:
            yield path, ADD
    elif new == UNKNOWN:
        # A value that only the plug-in sets is unknown because it is being made, not because it changes.
        yield path, UPDATE
    elif fld.kind == "one":
        yield from _object_changes(path, fld, old, new, given)
    elif fld.kind == "map":
        yield from _map_changes(path, old, new)
    elif fld.kind == "set":
        yield from _set_changes(path, fld, old, new, given if isinstance(given, list) else [])
    elif fld.kind == "list" and fld.fields is not None:
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            yield from _element_changes(f"{path}[{index}]", fld, before, after, _at(given, index))
    elif fld.kind == "list":
        yield from _list_changes(path, old, new)
    elif old != new:
        yield path, UPDATE


def _object_changes(path: str, fld: Field, old: Properties, new: Properties, given: Value) -> Iterator[tuple[str, str]]:
    inputs = given if isinstance(given, dict) else {}
    for name, sub in (fld.fields or {}).items():
        yield from _changes(f"{path}.{name}", sub, old.get(name), new.get(name), inputs.get(name))


def _element_changes(path: str, fld: Field, old: Value, new: Value, given: Value) -> Iterator[tuple[str, str]]:
    if old is None or new is None:
        yield path, ADD if old is None else DELETE
    elif isinstance(old, dict) and isinstance(new, dict):
        yield from _object_changes(path, fld, old, new, given)
    elif old != new:
        yield path, UPDATE


def _at(given: Value, index: int) -> Value:
    return given[index] if isinstance(given, list) and index < len(given) else None


def _map_changes(path: str, old: Properties, new: Properties) -> Iterator[tuple[str, str]]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            plain = name.isidentifier()
            kind = ADD if name not in old else DELETE if name not in new else UPDATE
            yield (f"{path}.{name}" if plain else f'{path}["{name}"]'), kind


def _list_changes(path: str, old: list[Value], new: list[Value]) -> Iterator[tuple[str, str]]:
    kinds: dict[int, str] = {}
    matcher = SequenceMatcher(None, [repr(value) for value in old], [repr(value) for value in new], autojunk=False)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        for index in range(old_start, old_end):
            kinds[index] = UPDATE if index in kinds else DELETE
        for index in range(new_start, new_end):
            kinds[index] = UPDATE if index in kinds else ADD
    for index, kind in kinds.items():
        yield f"{path}[{index}]", kind


def _set_changes(path: str, fld: Field, old: list[Value], new: list[Value], given: list[Value]) -> Iterator[tuple[str, str]]:
    before = {repr(element_identity(fld, element)): index for index, element in enumerate(old)}
    after = {repr(element_identity(fld, element)): index for index, element in enumerate(new)}
    removed = {index for key, index in before.items() if key not in after}
    added = [index for key, index in after.items() if key not in before]
    if not removed and not added:
        return
    places = _input_places(fld, given, new, added)
    if places is None:
        # The elements cannot be told apart in the program's own list: the set changes as a whole.
        yield path, UPDATE
        return
    for place in sorted(removed | set(places)):
        yield from _element_changes(
            f"{path}[{place}]",
            fld,
            old[place] if place in removed else None,
            new[places[place]] if place in places else None,
            _at(given, place),
        )


def _input_places(fld: Field, given: list[Value], new: list[Value], added: list[int]) -> dict[int, int] | None:
    """Where in the program's list each added element stands, or None when one stands nowhere."""
    if len(given) < len(new):
        return None
    places: dict[int, int] = {}
    for index in added:
        for place, element in enumerate(given):
            if place not in places and _came_from(fld, element, new[index]):
                places[place] = index
                break
    return places if len(places) == len(added) else None


def _came_from(fld: Field, given: Value, planned: Value) -> bool:
    if fld.fields is None or not isinstance(given, dict) or not isinstance(planned, dict):
        return bool(given == planned)
    return all(
        (not given.get(name) and not planned.get(name))
        if sub.kind in {"list", "set", "map"} and not given.get(name)
        else given.get(name) == planned.get(name)
        for name, sub in fld.fields.items()
    )
