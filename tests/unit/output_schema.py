"""Whether outputs are as components/outputs.py says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.outputs import Value
from tools.graph import is_secret

TYPES: Mapping[str, type | tuple[type, ...]] = {"string": str, "integer": (int, float), "map": dict}


def differences(given: Mapping[str, Any], schema: Mapping[str, Value], running: set[str], where: str = "") -> list[str]:
    """What of some outputs, secrets marked, is not as the schema says."""
    found = [f"{where}{name} is not in the schema" for name in given if name not in schema]
    for name, value in schema.items():
        path = f"{where}{name}"
        if name not in given:
            there = value.block in running if value.block else not value.absent
            found += [f"{path} is missing"] if there else []
            continue
        if value.block and value.block not in running:
            found.append(f"{path} is there without its block")
        content = given[name]
        if is_secret(content) != value.secret:
            found.append(f"{path} is {'secret' if is_secret(content) else 'plain'}")
        content = content["value"] if is_secret(content) else content
        if not isinstance(content, TYPES[value.type]) or (value.type == "integer" and content != int(content)):
            found.append(f"{path} is no {value.type}")
        elif value.each:
            found += differences(content, dict.fromkeys(content, value.each), running, f"{path}.")
        elif value.type == "map":
            found += differences(content, value.entries, running, f"{path}.")
    return found
