"""Read: what a refresh makes of the inputs, given what was found."""

from __future__ import annotations

from collections.abc import Mapping

from lab.plugins.schema import DEFAULTS_KEY, Field, Properties, ResourceSchema, Value


def refreshed_inputs(schema: ResourceSchema, inputs: Properties, state: Properties) -> Properties:
    """The inputs that would have led to the state: only what the program had given takes part."""
    return _object(schema.fields, inputs, state)[0]


def _object(fields: Mapping[str, Field], old: Properties, state: Properties) -> tuple[Properties, bool]:
    result: Properties = {}
    defaults = set(old.get(DEFAULTS_KEY, []))
    all_default = True
    for name, value in old.items():
        if name == DEFAULTS_KEY:
            all_default = False
            continue
        is_default = False
        if name in state:
            result[name], is_default = _value(fields.get(name), value, state[name])
        if not is_default:
            all_default = False
            defaults.discard(name)
    if DEFAULTS_KEY in old:
        result[DEFAULTS_KEY] = sorted(defaults)
    return result, all_default or DEFAULTS_KEY not in old


def _value(fld: Field | None, old: Value, state: Value) -> tuple[Value, bool]:
    if isinstance(old, list) and isinstance(state, list):
        return _elements(fld, old, state)
    if isinstance(old, dict) and isinstance(state, dict):
        if fld is not None and fld.fields is not None:
            return _object(fld.fields, old, state)
        kept = {name: state[name] for name in old if name in state}
        return kept, kept == old
    if fld is not None and fld.keep_input and isinstance(old, str) and isinstance(state, str):
        return old, old == state
    return state, bool(old == state)


def _elements(fld: Field | None, old: list[Value], state: list[Value]) -> tuple[list[Value], bool]:
    result: list[Value] = []
    all_default = True
    partners = _partners(fld, old, state)
    for index, element in enumerate(old):
        partner = partners.get(index)
        if partner is None:
            all_default = False
            continue
        if fld is not None and fld.fields is not None and isinstance(element, dict):
            value, is_default = _object(fld.fields, element, state[partner])
        else:
            value, is_default = state[partner], element == state[partner]
        all_default = all_default and is_default
        result.append(value)
    return result, all_default


def _partners(fld: Field | None, old: list[Value], state: list[Value]) -> dict[int, int]:
    """Which element found belongs to which element given: sets of objects by likeness, all else by position."""
    objects = all(isinstance(element, dict) for element in [*old, *state])
    if fld is None or fld.kind != "set" or not objects:
        return {index: index for index in range(min(len(old), len(state)))}
    scores = sorted(
        ((-_likeness(given, found), place, index) for place, given in enumerate(old) for index, found in enumerate(state))
    )
    partners: dict[int, int] = {}
    for _, place, index in scores:
        if place not in partners and index not in partners.values():
            partners[place] = index
    return partners


def _likeness(given: Properties, found: Properties) -> int:
    return sum(1 + 2 * (found[name] == value) for name, value in given.items() if name in found)
