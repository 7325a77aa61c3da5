"""Say in words what differs from the program: `python -m tools.drift STACK`. Changes nothing.

Ends with 0 when nothing does, with 2 when something does, and with 1 when it could not be found out.
"""

from __future__ import annotations

from typing import Any

from tools import cli, docker_engine, names, stack
from tools.check_plan import preview
from tools.words import FailureError, main, say

DRIFT = 2
NOUNS = {
    "docker:index/container:Container": "container",
    "docker:index/network:Network": "network",
    "docker:index/volume:Volume": "volume",
    "docker:index/remoteImage:RemoteImage": "image",
}


def differences(plan: Any) -> dict[str, str]:
    """The resources that a plan would not leave as they are: URN -> what differs, in words."""
    return {
        step["urn"]: words
        for step in plan["steps"]
        # Components stand for nothing on the Docker host.
        if (step.get("newState") or step.get("oldState") or {}).get("custom") and (words := describe(step))
    }


def describe(step: Any) -> str:
    """What a step says of its resource, in words; empty for one that changes nothing. Values are not shown: some are secret."""
    state = step.get("newState") or step.get("oldState") or {}
    kind, name = state.get("type", ""), step["urn"].rsplit("::", 1)[-1]
    subject = f"{NOUNS.get(kind, kind.rpartition(':')[2])} {(state.get('inputs') or {}).get('name') or name}"
    operation = step["op"]
    if operation in ("same", "read", "refresh"):
        return ""
    if operation == "create":
        return f"{subject} is missing"
    if operation in ("delete", "delete-replaced"):
        return f"{subject} is no longer in the program" if operation == "delete" else ""
    changed = sorted({path.partition("[")[0].partition(".")[0] for path in step.get("detailedDiff") or {}})
    changed = changed or sorted(step.get("diffReasons") or step.get("replaceReasons") or [])
    return f"{subject} differs in {', '.join(changed)}" if changed else f"{subject} differs"


def _command() -> int:
    name = stack.name_from_arguments()
    cli.ensure()
    cli.ensure_plugins()
    if not stack.exists(name):
        raise FailureError(f"this checkout has no stack {name}: there is nothing to compare with")
    if why := docker_engine.trouble():
        raise FailureError(f"the Docker Engine does not answer, so nothing can be compared: {why}; make doctor says what to do")
    planned = differences(preview(name))
    found = differences(preview(name, "--refresh"))
    on_host = {urn: words for urn, words in found.items() if planned.get(urn) != words}
    if lost := names.describe(name):
        on_host["names"] = lost
    for heading, listed in (
        ("changed on the Docker host since the last deployment", on_host),
        ("changed in the program or the settings, and not deployed yet", planned),
    ):
        for words in sorted(set(listed.values())):
            say(f"{heading}: {words}")
    if on_host or planned:
        say(f"to bring stack {name} to what the program says: make up STACK={name}")
        return DRIFT
    say(f"stack {name} is as the program says: no drift")
    return 0


if __name__ == "__main__":
    main(_command)
