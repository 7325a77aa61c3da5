"""The policy pack: Pulumi's engine starts this with `--policy-pack policy` and asks it about each resource before it is made.

The engine tells a pack neither which values are secret nor which resources are retained when they leave the stack. So
secrets are compared by value, as soon as there are any, and that half of `data-retained` is checked by `make lint` alone.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
    proxy,
)
from pulumi_policy.deserialize import serialize_properties

# The engine starts this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from policy.rules import RULES, SECRET_OUTPUTS, Resource, Rule

UNKNOWN = {value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_")}


def _seen(args: ResourceValidationArgs | PolicyResource) -> Resource:
    return Resource(args.resource_type, args.name, args.urn, _known(args.props), tuple(args.opts.ignore_changes))


def _known(properties: Any) -> Any:
    """The properties without those that nobody knows in a preview. Reading one of them would end the rule."""
    return _without_unknown(serialize_properties(properties))


def _without_unknown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_unknown(inner) for key, inner in value.items() if not _unknown(inner)}
    return [_without_unknown(inner) for inner in value if not _unknown(inner)] if isinstance(value, list) else value


def _unknown(value: Any) -> bool:
    return isinstance(value, str) and value in UNKNOWN


def _one(rule: Rule) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for breach in rule.check(_seen(args), ()):
            report(breach, None)

    return ResourceValidationPolicy(rule.name, rule.description, validate)


def _secrets(resources: Collection[PolicyResource]) -> Iterator[str]:
    for resource in resources:
        outputs = _known(resource.props)
        yield from (str(outputs[name]) for name in SECRET_OUTPUTS.get(resource.resource_type, ()) if outputs.get(name))


def _whole(rule: Rule) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        secrets = set(_secrets(args.resources))
        for resource in args.resources:
            for breach in rule.check(_seen(resource), secrets):
                report(breach, resource.urn)

    return StackValidationPolicy(f"{rule.name}-of-the-stack", rule.description, validate)


if __name__ == "__main__":
    PolicyPack(
        "kopano",
        [*map(_one, RULES), *(_whole(rule) for rule in RULES if rule.name == "no-secret-in-labels")],
        EnforcementLevel.MANDATORY,
    )
