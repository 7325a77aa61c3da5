"""What a plan of the engine would do, read from `pulumi preview --json` or from a plan that `--save-plan` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.words import FailureError

DATA_VOLUME = "kopano:volumes:DataVolume$"
"""In the URN of every volume whose content exists nowhere else."""

HARMLESS = frozenset({"same", "create", "read", "update", "refresh", "import"})
"""Operations that leave what is in a volume alone. All others delete it, now or as part of a replacement."""


def steps(plan: Any) -> Iterator[tuple[str, str]]:
    """The operations of a plan, each with the URN of its resource. Raises FailureError when it is no plan."""
    if isinstance(plan, dict) and isinstance(plan.get("steps"), list):
        yield from ((step["op"], step["urn"]) for step in plan["steps"])
    elif isinstance(plan, dict) and isinstance(plan.get("resourcePlans"), dict):
        for urn, resource in plan["resourcePlans"].items():
            yield from ((operation, urn) for operation in resource.get("steps") or ["same"])
    else:
        raise FailureError(
            "this is no plan: give what 'scripts/pulumi preview --json' printed, or a file that its --save-plan wrote"
        )


def endangered(plan: Any) -> dict[str, list[str]]:
    """The data volumes that a plan would delete or replace -> the operations on each. Raises FailureError as `steps`."""
    found: dict[str, list[str]] = {}
    for operation, urn in steps(plan):
        if DATA_VOLUME in urn and operation not in HARMLESS:
            found.setdefault(urn.rsplit("::", 1)[-1], []).append(operation)
    return found
