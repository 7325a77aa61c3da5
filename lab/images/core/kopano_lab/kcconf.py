"""Variables of the container become configuration files.

`KCCONF_<FILE>_<OPTION>=value` sets an option, `KCCOMMENT_<FILE>_<ANY>=line` switches a line off and
`KCUNCOMMENT_<FILE>_<ANY>=line` switches one on. Variables for a file that the image does not have are ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kopano_lab.errors import Refusal

PREFIXES = ("KCCONF_", "KCCOMMENT_", "KCUNCOMMENT_")
_NAME = re.compile(r"(KCCONF|KCCOMMENT|KCUNCOMMENT)_([A-Z]+)_([A-Z0-9_]+)")


@dataclass
class Changes:
    """What the environment asks for in one file."""

    options: dict[str, str] = field(default_factory=dict)
    comment: list[str] = field(default_factory=list)
    uncomment: list[str] = field(default_factory=list)


def changes(environ: Mapping[str, str], files: set[str]) -> dict[str, Changes]:
    """The changes asked for, by file (`server`, `ldap`, ...)."""
    asked = {file: Changes() for file in files}
    for name, value in environ.items():
        match = _NAME.fullmatch(name)
        if not match or match[2].lower() not in files:
            continue
        _check(name, value)
        file = asked[match[2].lower()]
        if match[1] == "KCCONF":
            file.options[match[3].lower()] = value
        elif value:
            (file.comment if match[1] == "KCCOMMENT" else file.uncomment).append(value)
    return asked


def apply(text: str, asked: Changes) -> str:
    """The text of a configuration file with the changes made."""
    lines = [_switched(line, asked) for line in text.splitlines()]
    for option, value in asked.options.items():
        setting = re.compile(rf"\s*#?\s*{re.escape(option)}\s*=")
        written = f"{option} = {value}"
        found = [index for index, line in enumerate(lines) if setting.match(line)]
        for index in found:
            lines[index] = written
        if not found:
            lines.append(written)
    return "\n".join(lines) + "\n"


def write(environ: Mapping[str, str], source: Path, target: Path, group: int) -> None:
    """Write every configuration file of `source` to `target`, for root and the group alone: they hold passwords."""
    originals = {path.stem: path for path in sorted(source.glob("*.cfg"))}
    asked = changes(environ, set(originals))
    try:
        target.mkdir(mode=0o750, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(target, -1, group)
        for file, original in originals.items():
            _write(target / original.name, apply(original.read_text("utf-8"), asked[file]), group)
    except OSError as problem:
        raise Refusal(
            f"the configuration in {target} cannot be written ({problem.strerror}): "
            "give the container a tmpfs on /tmp and the capability CHOWN."
        ) from problem


def _write(path: Path, text: str, group: int) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if os.geteuid() == 0:
            os.fchown(file.fileno(), -1, group)
        file.write(text)


def _check(name: str, value: str) -> None:
    # The published entry point puts values through a regular-expression replace, which a backslash breaks.
    for character, word in (("\\", "a backslash"), ("\n", "a line break"), ("\r", "a line break")):
        if character in value:
            raise Refusal(
                f"{name}: the value has {word}, which cannot be written into a configuration file: choose a value without one."
            )


def _switched(line: str, asked: Changes) -> str:
    if any(line.lstrip().startswith(start) for start in asked.comment):
        line = "#" + line.lstrip()
    for start in asked.uncomment:
        if line.lstrip().startswith("#") and line.lstrip().lstrip("#").lstrip().startswith(start):
            line = line.lstrip().lstrip("#").lstrip()
    return line
