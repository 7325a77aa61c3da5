"""Writes new stack files: plain values at once, secrets through the CLI, which encrypts them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.settings import NAMESPACE
from tools import cli, pulumi, stack
from tools.words import FailureError

SECRET_NAME = re.compile(r"PASS|PW$|_PW_|SECRET|TOKEN|CREDENTIAL|PRIVATE|KEY(?!S_PATH|_FILE)")


def is_secret(name: str) -> bool:
    """Whether the value of a variable, or of an entry of a setting, is taken for a secret, judged by its name."""
    return SECRET_NAME.search(name.upper()) is not None


def check_name(name: str, option: str = "") -> None:
    """Raise FailureError where no stack can be called so; `option` is what names it on the command line."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,39}", name):
        raise FailureError(
            f"say how the stack is to be called, in lower-case letters, digits and hyphens, for example:{option} prod"
        )


def check_free(file: Path, advice: str = "choose another name") -> None:
    """Raise FailureError where the stack file is there already."""
    if file.exists():
        raise FailureError(f"{file.name} is there already and is not changed: {advice}")


def write(file: Path, name: str, comment: str, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Write the stack file of the new stack `name`. Arguments: setting -> value; path of a setting -> secret value.

    A file that is there is never changed. Where a secret cannot be set, nothing is left: no file, and no stack that was made for
    it.
    """
    content = {"config": {f"{NAMESPACE}:{setting}": value for setting, value in config.items()}}
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(f"# {comment}\n")
            yaml.safe_dump(content, stream, sort_keys=False, allow_unicode=True)
    except FileExistsError:
        check_free(file)
        raise
    if not secrets:
        return
    made = False
    try:
        cli.ensure()
        cli.ensure_plugins()
        made = not stack.exists(name)
        stack.ensure(name)
        for path, value in secrets.items():
            key = f"{NAMESPACE}:{path}"
            pulumi.run("config", "set", "--secret", "--path", key, "--stack", name, quiet=True, stdin=value)
    except BaseException:
        file.unlink(missing_ok=True)  # half a stack file would be in the way of the next try
        if made:
            pulumi.run("stack", "rm", "--yes", "--stack", name, quiet=True, check=False)
        raise
