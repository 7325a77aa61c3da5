"""The stack's outputs in words: `python -m tools.outputs` writes docs/outputs.md and docs/outputs.json.

Both are made from `SCHEMA` in components/outputs.py. docs/outputs.json keeps what each version had: what a released version had
never changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from components.outputs import SCHEMA, VERSION, Value
from tools.places import ROOT
from tools.words import FailureError, main

PAGE = ROOT / "docs" / "outputs.md"
VERSIONS = ROOT / "docs" / "outputs.json"
CHANGELOG = ROOT / "CHANGELOG.md"

Flat = Mapping[str, str]
"""Path of an output or an entry -> its type, `secret` where it is one, and ? where it can be missing."""

HEAD = f"""# Outputs

What another stack can rely on, made from `components/outputs.py` by `make outputs`. In a program of your own (a state that Pulumi
keeps in files calls every organisation `organization`):

```python
kopano = pulumi.StackReference("organization/kopano/NAME")
webapp = kopano.require_output("urls")["webapp"]
password = kopano.require_output("database")["password"]  # stays a secret
```

On the command line: `scripts/pulumi stack output urls --stack NAME`, with `--show-secrets` also what is secret.

`database` and `ldap` reach another program as secrets as a whole, their host names too, since there is a password in them.

This is version {VERSION} of the outputs. When something goes, gets another type, becomes secret or is no longer always there,
that is a breaking change: the first number rises, and [CHANGELOG.md](../CHANGELOG.md) marks it. An addition raises the second
number. What each version had is in [outputs.json](outputs.json).
"""


def flat(schema: Mapping[str, Value] = SCHEMA, prefix: str = "") -> dict[str, str]:
    """The schema by path; the names of a map that are not known before are written as *."""
    found: dict[str, str] = {}
    for name, value in schema.items():
        found[prefix + name] = value.type + (", secret" if value.secret else "") + ("?" if value.block or value.absent else "")
        found |= flat(value.entries, f"{prefix}{name}.")
        if value.each:
            found |= flat({"*": value.each}, f"{prefix}{name}.")
    return found


def fingerprint(version: Flat) -> str:
    """A short hash over what a version has, by which CHANGELOG.md names it."""
    return hashlib.sha256(json.dumps(version, sort_keys=True).encode()).hexdigest()[:8]


def recorded() -> dict[str, dict[str, str]]:
    """What each version had, the latest last."""
    return dict(json.loads(VERSIONS.read_text(encoding="utf-8"))) if VERSIONS.exists() else {}


def changes(before: Flat, after: Flat) -> tuple[list[str], list[str]]:
    """What changed from one version to the next: the paths that break those who rely on them, and those that do not."""
    breaking = [path for path in before if path not in after or after[path] not in (before[path], before[path].removesuffix("?"))]
    changed = [path for path in after if after[path] != before.get(path)]
    return breaking, [path for path in changed if path not in breaking]


def follows(before: str, after: str, *, breaking: bool) -> bool:
    """Whether a version has the number that it has to have after another one."""
    (major, minor), numbers = map(int, before.split(".")), tuple(map(int, after.split(".")))
    return numbers == ((major + 1, 0) if breaking else (major, minor + 1))


def line(version: str, has: Flat) -> str:
    """The line by which CHANGELOG.md says that a version of the outputs came."""
    return f"Outputs: version {version} (`{fingerprint(has)}`)."


def sections(changelog: str) -> list[str]:
    """The parts of a changelog, the newest first."""
    return re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]


def troubles(versions: Mapping[str, Flat], current: Flat, changelog: str) -> list[str]:
    """What is missing for the outputs to be what the documents say, each in a sentence."""
    found = []
    if VERSION not in versions:
        found.append(f"version {VERSION} of the outputs is not in docs/outputs.json: run make outputs")
    elif versions[VERSION] != current:
        breaking, others = changes(versions[VERSION], current)
        found.append(
            f"the outputs are not those of version {VERSION}: {', '.join(breaking + others)}. Raise the"
            f" {'first' if breaking else 'second'} number of VERSION in components/outputs.py, unless that version is not"
            " released yet, say it in CHANGELOG.md, and run make outputs"
        )
    before: tuple[str, Flat] | None = None
    for version, has in versions.items():
        named = [section for section in sections(changelog) if line(version, has) in section]
        if not named:
            found.append(f"no section of CHANGELOG.md has the line: {line(version, has)}")
        if before:
            breaking, others = changes(before[1], has)
            if not follows(before[0], version, breaking=bool(breaking)):
                rises = "first" if breaking else "second"
                found.append(f"version {version} of the outputs comes after {before[0]}: its {rises} number has to rise by one")
            marked = "".join(entry for section in named for entry in _entries(section) if entry.startswith("- **Breaking:**"))
            found += [f"CHANGELOG.md does not mark it as breaking: `{path}`" for path in breaking if f"`{path}`" not in marked]
            said = "".join(named)
            found += [
                f"CHANGELOG.md does not say it under version {version}: `{path}`" for path in others if f"`{path}`" not in said
            ]
        before = version, has
    return found


def _entries(section: str) -> list[str]:
    return re.split(r"^(?=- )", section, flags=re.MULTILINE)[1:]


def _absent(value: Value) -> str:
    if value.block == "backup-ldap":
        return "without `kopano:backup`, or where the block `ldap` is off"
    if value.block == "backup":
        return "without `kopano:backup`"
    if value.block == "kwmserver":
        return "where the block `meet` is off"
    if value.block:
        return f"where the block `{value.block}` is off"
    return f"where {value.absent}" if value.absent else "never"


def _row(path: str, value: Value) -> str:
    return f"| `{path}` | {value.type} | {'yes' if value.secret else 'no'} | {_absent(value)} | {value.meaning} |\n"


def page() -> str:
    """The content of docs/outputs.md."""
    parts = [HEAD, "\n| output | type | secret | what it is |\n| --- | --- | --- | --- |\n"]
    for name, value in SCHEMA.items():
        secret = ", ".join(f"`{entry}`" for entry, inner in value.entries.items() if inner.secret) or "no"
        parts.append(
            f"| {f'[{name}](#{name.lower()})' if value.type == 'map' else name} | {value.type} | {secret} | {value.meaning} |\n"
        )
    for name, value in SCHEMA.items():
        if value.type == "map":
            rows = {f"{name}.{entry}": inner for entry, inner in value.entries.items()}
            rows |= {f"{name}.*": value.each} if value.each else {}
            parts.append(f"\n## {name}\n\n{value.meaning}\n\n| entry | type | secret | missing | what it is |\n")
            parts.append("| --- | --- | --- | --- | --- |\n" + "".join(_row(path, inner) for path, inner in rows.items()))
    return "".join(parts)


def record() -> None:
    """Write what the current version has. Raises FailureError where that version was released with something else."""
    versions = recorded()
    if versions.get(VERSION) == flat():
        return
    unreleased = sections(CHANGELOG.read_text(encoding="utf-8"))[0]
    if VERSION in versions and line(VERSION, versions[VERSION]) not in unreleased:
        raise FailureError(
            f"version {VERSION} of the outputs is released and had something else: raise VERSION in components/outputs.py, and"
            " say what changed in CHANGELOG.md"
        )
    text = json.dumps({**versions, VERSION: flat()}, indent=2)
    VERSIONS.write_text(text + "\n", encoding="utf-8")


def _command() -> None:
    record()
    PAGE.write_text(page(), encoding="utf-8")
    if missing := troubles(recorded(), flat(), CHANGELOG.read_text(encoding="utf-8")):
        raise FailureError("; ".join(missing))


if __name__ == "__main__":
    main(_command)
