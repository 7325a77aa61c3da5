"""Fail when a plan would delete or replace data: `python -m tools.check_plan STACK [FILE]`.

FILE is the output of `pulumi preview --json` or a plan that `--save-plan` wrote; without it the stack is previewed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tools import cli, docker_engine, pulumi, stack
from tools.plans import endangered, steps
from tools.words import FailureError, main, say


def preview(name: str, *options: str) -> Any:
    """What the engine plans for the stack. Raises FailureError when it cannot plan."""
    docker_engine.of_stack(name)
    cli.ensure()
    cli.ensure_plugins()
    stack.ensure(name)
    stack.load_settings(name)
    done = pulumi.run("preview", "--json", "--non-interactive", *options, "--stack", name, quiet=True, check=False)
    if done.returncode:
        raise FailureError(f"stack {name} could not be previewed: {failure(done.stdout, done.stderr)}")
    return json.loads(done.stdout)


def failure(output: str, errors: str) -> str:
    """What a preview that failed said: its diagnostics, else its last words."""
    try:
        said = [entry["message"].strip() for entry in json.loads(output).get("diagnostics", []) if entry["severity"] == "error"]
    except (json.JSONDecodeError, AttributeError):
        said = []
    return "; ".join(said) or errors.strip()[-1500:] or "it said nothing"


def read(file: Path) -> Any:
    """A plan from a file. Raises FailureError when there is none in it."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise FailureError(f"the plan {file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise FailureError(f"{file} is not JSON: give what 'scripts/pulumi preview --json' printed, or a saved plan") from None


def _command() -> int:
    name, file = [*sys.argv[1:], "", ""][:2]
    if not name or len(sys.argv) > 3:
        raise FailureError("name one stack, and a plan if there is one, for example: make check-plan STACK=dev PLAN=plan.json")
    plan = read(Path(file)) if file else preview(name)
    if volumes := endangered(plan):
        listed = "; ".join(f"{volume}: {', '.join(operations)}" for volume, operations in sorted(volumes.items()))
        raise FailureError(
            f"this plan would delete or replace data volumes ({listed}): do not deploy it; undo the change that asks for it, and"
            " move data by backup and restore"
        )
    say(f"no data volume is deleted or replaced in this plan of {len(list(steps(plan)))} steps")
    return 0


if __name__ == "__main__":
    main(_command)
