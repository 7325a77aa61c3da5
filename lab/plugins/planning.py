"""What a resource will look like: the state that inputs lead to, before and after the work is done."""

from __future__ import annotations

from collections.abc import Mapping

from lab.plugins.schema import (
    DEFAULTS_KEY,
    UNKNOWN,
    Field,
    Properties,
    ResourceSchema,
    Value,
    identity,
    set_order,
    zero_filled,
)


def plan_create(schema: ResourceSchema, inputs: Properties) -> Properties:
    """The state of a new resource, as far as the inputs tell it."""
    return {name: _created(fld, inputs.get(name)) for name, fld in schema.fields.items()}


def _created(fld: Field, value: Value) -> Value:
    if value is not None:
        return planned_value(fld, value)
    if fld.default is not None:
        return fld.default
    if fld.computed or fld.output_only:
        return UNKNOWN
    return [] if fld.block and fld.kind != "one" else None


def planned_value(fld: Field, value: Value) -> Value:
    """The form in which the state keeps an input."""
    if value == UNKNOWN:
        return value
    if fld.kind == "one":
        return _planned_object(fld, value)
    if not fld.is_collection:
        return value
    if fld.fields is not None:
        value = [element if element == UNKNOWN else _planned_object(fld, element) for element in value]
    if fld.kind == "list":
        return value
    if UNKNOWN in value:
        return UNKNOWN
    unique = {repr(identity(Field("set", fields=fld.fields), [element])): element for element in value}
    return sorted(unique.values(), key=lambda element: set_order(fld, element))


def _planned_object(fld: Field, value: Mapping[str, Value]) -> Properties:
    planned: Properties = {}
    for name, sub in (fld.fields or {}).items():
        given = value.get(name)
        if given is not None:
            planned[name] = planned_value(sub, given)
        elif sub.default is not None:
            planned[name] = sub.default
        elif sub.computed:
            planned[name] = UNKNOWN
        else:
            # Numbers and switches of a block stay null until the resource is read.
            planned[name] = sub.zero() if sub.kind in {"text", "list", "set", "map"} else None
    return planned


def plan_update(
    schema: ResourceSchema, prior: Properties, inputs: Properties, ignored: frozenset[str] = frozenset()
) -> Properties:
    """The state after an update in place; what did not change keeps its place and form."""
    planned: Properties = {}
    for name, fld in schema.fields.items():
        old = prior.get(name)
        planned[name] = old if name in ignored else _updated(fld, old, inputs.get(name))
    return planned


def _updated(fld: Field, old: Value, given: Value) -> Value:
    if given is None and fld.default is not None:
        given = fld.default
    if given is None:
        if fld.computed or fld.output_only or fld.empty_keeps or identity(fld, old) == identity(fld, None):
            return old
        return None
    if fld.empty_keeps and given == "":
        return old
    if fld.same is not None and given != UNKNOWN and fld.same(old or [], given):
        return old
    new = planned_value(fld, given)
    return old if new != UNKNOWN and old is not None and identity(fld, old) == identity(fld, new) else new


def settled(schema: ResourceSchema, planned: Properties, actual: Properties) -> Properties:
    """The state of a resource just made: what was read, but in the plan's form where the plan was complete."""
    state: Properties = {}
    for name, fld in schema.fields.items():
        plan, read = planned.get(name), actual.get(name)
        if plan is None:
            empty = isinstance(read, (list, dict)) and not read
            state[name] = None if empty else read
        elif has_unknown(plan):
            state[name] = read
        elif fld.kind == "set" or (fld.kind == "one" and fld.block):
            state[name] = plan
        else:
            state[name] = plan if read is None else read
    return state


def unfinished(schema: ResourceSchema, planned: Properties) -> Properties:
    """The state of a resource whose making failed half way: the plan, without what nobody can know."""
    return {name: _without_unknown(fld, planned.get(name)) for name, fld in schema.fields.items()}


def _without_unknown(fld: Field, value: Value) -> Value:
    if value == UNKNOWN:
        return [] if fld.kind == "set" else None
    if isinstance(value, list):
        return [_known(element) for element in value]
    return _known(value)


def _known(value: Value) -> Value:
    if isinstance(value, dict):
        return {name: None if element == UNKNOWN else element for name, element in value.items()}
    return value


def explicit(schema: ResourceSchema, state: Properties) -> Properties:
    """The state with every part of its blocks made explicit, as it is kept from the first update or refresh on."""
    return {
        name: zero_filled(fld, state.get(name)) if fld.fields is not None and state.get(name) is not None else state.get(name)
        for name, fld in schema.fields.items()
    }


def has_unknown(value: Value) -> bool:
    """Whether any part of a value is not known yet."""
    if isinstance(value, dict):
        return any(has_unknown(element) for name, element in value.items() if name != DEFAULTS_KEY)
    if isinstance(value, list):
        return any(has_unknown(element) for element in value)
    return bool(value == UNKNOWN)
