"""Hold every stack file against the rules of the policy pack, without an engine: `python -m tools.policy [STACK ...]`.

A stack file is run under mocks, where encrypted values are stood in for. `scripts/pulumi preview --policy-pack policy`
asks the same rules about what the engine plans.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pulumi

from policy.rules import RULES, SECRET_OUTPUTS, Resource
from tools import graph
from tools.graph import Graph, Registered, plain
from tools.places import ROOT, stack_file
from tools.words import FailureError, main, say


def stacks() -> list[str]:
    """The stacks that have a file in this checkout."""
    return sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in ROOT.glob("Pulumi.*.yaml"))


def seen(resource: Registered) -> Resource:
    """A registered resource as the rules see it."""
    options = resource.options
    inputs = plain(resource.inputs)
    return Resource(resource.type, resource.name, resource.urn, inputs, tuple(options.ignoreChanges), options.retainOnDelete)


def _secrets(of: Graph) -> Iterator[str]:
    # Every secret of the mocks and every stand-in begins with it.
    yield graph.PLANTED
    for resource in of.resources:
        outputs = plain(resource.outputs)
        yield from (str(outputs[name]) for name in SECRET_OUTPUTS.get(resource.type, ()) if outputs.get(name))
        for label in resource.inputs.get("labels") or ():
            if graph.is_secret(label["value"]):
                yield str(plain(label["value"]))


def breaches(of: Graph) -> list[str]:
    """What in a graph is against the rules, a sentence each."""
    secrets = set(_secrets(of))
    return sorted(
        f"{rule.name}: {breach}"
        for resource in map(seen, of.resources)
        for rule in RULES
        for breach in rule.check(resource, secrets)
    )


def _opened(value: Any) -> tuple[Any, bool]:
    """A value of a stack file with stand-ins for what is encrypted, and whether anything was."""
    if isinstance(value, dict) and set(value) == {"secure"}:
        return f"{graph.PLANTED}-setting", True
    if isinstance(value, dict):
        opened = {key: _opened(inner) for key, inner in value.items()}
        return {key: inner for key, (inner, _) in opened.items()}, any(secret for _, secret in opened.values())
    return value, False


def graph_of(stack: str) -> Graph:
    """The graph of a stack file. Raises FailureError where it cannot be used."""
    if not stack_file(stack).exists():
        raise FailureError(f"there is no {stack_file(stack).name} in this checkout: name one of {', '.join(stacks())}")
    opened = {key: _opened(value) for key, value in graph.settings_of(stack).items()}
    try:
        return graph.run(
            stack, {key: value for key, (value, _) in opened.items()}, [key for key, (_, hidden) in opened.items() if hidden]
        )
    except pulumi.RunError as error:
        raise FailureError(f"{stack_file(stack).name}: {error}") from None


def _command() -> None:
    names = sys.argv[1:] or stacks()
    found = [f"{stack_file(name).name}: {breach}" for name in names for breach in breaches(graph_of(name))]
    if found:
        raise FailureError("against the rules in policy/rules.py:\n  " + "\n  ".join(found))
    say(f"{len(RULES)} rules hold in {', '.join(stack_file(name).name for name in names)}")


if __name__ == "__main__":
    main(_command)
