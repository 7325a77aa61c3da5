"""The settings in words: `python -m tools.configuration` writes docs/configuration.md and the config section of Pulumi.yaml.

Both are made from `KEYS` in components/settings.py. What is allowed is what the parsers say when they refuse a value, so that the
page and the messages of a deployment never differ. Only the order of the page and the blocks that a setting reaches are here.
"""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from components.blocks import BACKUP, BLOCKS, FOLLOWS
from components.images import PUBLISHED, unused_tags
from components.parsers import RefusedError
from components.settings import KEYS, NAMESPACE, Key
from tools.places import ROOT
from tools.stack_files import is_secret
from tools.words import FailureError, main

PAGE = ROOT / "docs" / "configuration.md"
PROJECT = ROOT / "Pulumi.yaml"

ALL = "all"
"""A setting reaches every block."""
NAMED = "named"
"""A setting reaches the blocks that it names."""

Reach = str | tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """A part of the page: its title, a sentence on what it is for, and its settings -> the blocks that each of them reaches."""

    title: str
    purpose: str
    keys: Mapping[str, Reach]


KOPANO_IMAGES = tuple(block for block, image in PUBLISHED.items() if not image.repository)
READERS = (
    "server",
    "dagent",
    "monitor",
    "search",
    "spooler",
    "webapp",
    "web",
    "mail",
    "gateway-tls",
    "konnect",
    "kapi",
    "kwmserver",
)
"""Blocks that have a certificate or trust the authority by a file."""
DIRECTORY_READERS = ("ssl", "ldap", "ldap-admin", "password-self-service", "server", "mail")
KONNECT = ("ssl", "konnect", "meet", "kwmserver")

GROUPS: tuple[Group, ...] = (
    Group(
        "Who and where",
        "The first settings of each environment. Only fqdn has to be set.",
        {
            "fqdn": ALL,
            "organisation": ("ldap",),
            "ldapBaseDn": DIRECTORY_READERS,
            "demoUsers": ("ldap",),
            "timezone": ALL,
            "dockerHost": ALL,
            "mailboxLocale": ("server",),
        },
    ),
    Group(
        "Ports and addresses",
        "What is open on the Docker host.",
        {
            "httpPort": ("web",),
            "httpsPort": ("web", "server", "kapi", "webapp", "konnect", "kwmserver"),
            "bindAddress": ("web", "mail", "gateway", "gateway-tls", "ical", "ldap", "server"),
            "ipv6": ALL,
            "publish": ("mail", "gateway", "gateway-tls", "ical", "ldap", "server"),
            "tls": ("ssl", "web", "web-front"),
        },
    ),
    Group(
        "Which blocks run, and what takes their place",
        "Optional blocks, and what is used where the bundled database, directory or mail server is off.",
        {
            "blocks": NAMED,
            "database": ("ssl", "db", "server"),
            "directory": DIRECTORY_READERS,
            "smtpServer": ("mail", "spooler"),
        },
    ),
    Group(
        "Outgoing mail, meetings and other programs",
        "What goes out to others, and what is added.",
        {
            "dkim": ("ssl", "mail"),
            "relay": ("mail",),
            "meetGuests": KONNECT,
            "turn": ("kwmserver",),
            "openidClients": ("ssl", "konnect"),
            "webappPlugins": ("webapp",),
        },
    ),
    Group(
        "Releases of the images",
        "From which registry they come, and which release each block runs.",
        {"imageSource": ALL, "registries": ALL, "imageRepository": KOPANO_IMAGES, "imageTags": KOPANO_IMAGES, "images": NAMED},
    ),
    Group(
        "Limits and variables of single blocks",
        "For what the settings above leave open.",
        {"memory": NAMED, "environment": NAMED, "deployTimeout": ALL},
    ),
    Group(
        "Secrets and certificates",
        "When they are replaced. The recipes are in [operations.md](operations.md#rotation).",
        {
            "generations": ("ssl", "db", "ldap", "password-self-service", *READERS),
            "certificate": ("ssl", "web", "mail", "gateway-tls", "konnect", "kapi", "kwmserver", "webapp", "server"),
            "certificateHours": ("ssl", *READERS),
            "certificateRenewalHours": ("ssl", *READERS),
        },
    ),
    Group(
        "Data",
        "Where it is, and how it is kept.",
        {
            "databaseName": ("ssl", "db", "server"),
            "volumes": ("db", "ldap", "mail", "server", "ical", "search", "grapi", "kapi", "spamd", "webapp", "zpush", "kdav"),
            "backup": ("ssl", "scheduler", "docker-proxy", "backup", "backup-ldap"),
            "protectData": (),
        },
    ),
)

COMPANIONS: Mapping[str, Mapping[str, Any]] = {
    "database": {"blocks": {"db": False}},
    "directory": {"blocks": {"ldap": False}},
    "smtpServer": {"blocks": {"mail": False}},
}
"""Settings without which the example of another one is a contradiction."""

NONSENSE = "?!"
"""A value that few parsers take: they say what is allowed instead."""

HEAD = f"""# Settings

Every key of a stack file `Pulumi.NAME.yaml`. `make config` makes the page from `components/settings.py`, as the config section of
`Pulumi.yaml`. `scripts/new-environment NAME` writes a stack file. `scripts/pulumi config set {NAMESPACE}:KEY VALUE --stack NAME`
changes one key of it; `--path {NAMESPACE}:KEY.ENTRY` one entry, where the key is a map. A password is set with `--secret` and
without its value, which is then asked for. `make preview STACK=NAME` says all mistakes together, and then what would change.

"""


def ordered() -> list[tuple[Group, list[Key]]]:
    """The groups with their keys. Raises FailureError where a key has no group, or more than one."""
    by_name = {key.name: key for key in KEYS}
    grouped = [name for group in GROUPS for name in group.keys]
    for name in sorted({*by_name, *grouped}):
        if grouped.count(name) != 1 or name not in by_name:
            raise FailureError(
                f"{NAMESPACE}:{name} is {grouped.count(name)} times in GROUPS of tools/configuration.py and"
                f" {int(name in by_name)} times in KEYS of components/settings.py: it has to be once in each"
            )
    return [(group, [by_name[name] for name in group.keys]) for group in GROUPS]


def example(key: Key) -> Any:
    """The key's example as a stack file has it."""
    return key.example if key.type == "string" else yaml.safe_load(key.example)


def split_secrets(value: Any, path: str) -> tuple[Any, list[str]]:
    """A value without its secrets, and the paths of these."""
    if not isinstance(value, Mapping):
        return value, []
    shown, secrets = {}, []
    for entry, inner in value.items():
        # Pulumi takes a name with dots in it as one when it is in quotation marks.
        place = f'{path}["{entry}"]' if "." in entry else f"{path}.{entry}"
        if is_secret(entry) and not isinstance(inner, Mapping):
            secrets.append(place)
        else:
            shown[entry], below = split_secrets(inner, place)
            secrets += below
    return shown, secrets


def _refusal(parse: Callable[[Any], Any], value: Any) -> str:
    try:
        parse(value)
    except RefusedError as error:
        return error.allowed
    return ""


def _names(listed: Iterable[str]) -> str:
    names = list(listed)
    return "any [block](#names-of-blocks)" if sorted(names) == sorted(BLOCKS) else ", ".join(f"`{name}`" for name in names)


PLAIN = "one line of text, no backslash"
UNKNOWN, NEEDED = "has an unknown name, allowed are ", "must have a value for each of "


def allowed(parse: Callable[[Any], Any], value: Any, where: str = "") -> list[str]:
    """What a setting may be, in the words of its parser, found out by giving it what it refuses. `value` is an example, `where`
    says of which part of it the words are."""
    if not isinstance(value, Mapping):
        words = _refusal(parse, NONSENSE) or _refusal(parse, "")
        if not words or words.startswith(NEEDED):
            words = PLAIN
        return [where + words.removeprefix("must be ")]
    said = []
    first = next(iter(value))
    about_names, about_fields = _refusal(parse, {NONSENSE: NONSENSE}), _refusal(parse, {first: value[first]})
    names = about_names.removeprefix(UNKNOWN).split(", ") if about_names.startswith(UNKNOWN) else []
    if about_fields.startswith(NEEDED):
        needed = about_fields.removeprefix(NEEDED).split(", ")
        others = [name for name in names if name not in needed]
        said.append(f"{where}entries: {_names(needed)}" + (f"; may be left out: {_names(others)}" if others else ""))
        rules: list[str] = []
        for entry, inner in value.items():
            rules += allowed(lambda given, entry=entry: parse({**value, entry: given}), inner, f"{where}`{entry}`: ")  # type: ignore[misc]
        special = [rule for rule in rules if not rule.endswith(f": {PLAIN}")]
        plain = [f"{where}{'any other' if special else 'each'}: {PLAIN}"] if len(special) < len(rules) else []
        return said + special + plain
    if names:
        said.append(f"{where}names: {_names(names)}")
    elif about_names.startswith("must be named"):
        said.append(f"{where}names: {about_names.removeprefix('must be named with ')}")
    part = f"{where}in each, " if isinstance(value[first], Mapping) else f"{where}values: "
    return said + allowed(lambda given: parse({**value, first: given}), value[first], part)


def reach(reached: Reach) -> str:
    """The blocks that a setting reaches, in words."""
    if reached == ALL:
        return "all blocks"
    if reached == NAMED:
        return "the blocks that it names"
    if reached == KOPANO_IMAGES:
        return "the blocks with an image of Kopano's"
    return ", ".join(f"`{block}`" for block in reached) or "no container"


def summary(key: Key) -> str:
    """The first sentence of a key's description."""
    sentence = key.description.partition(". ")[0].rstrip(".")
    return sentence if len(sentence) <= 80 else sentence.partition(": ")[0].partition(", ")[0]


def _default(key: Key) -> str:
    return "none" if key.default in ("", {}, []) else f"`{json.dumps(key.default)}`"


def _section(key: Key, reached: Reach) -> str:
    shown, secrets = split_secrets(example(key), key.name)
    settings = {f"{NAMESPACE}:{name}": value for name, value in {**COMPANIONS.get(key.name, {}), key.name: shown}.items()}
    rules = allowed(key.parse, example(key))
    if key.name == "imageTags":  # judged together with other settings, not by its parser
        rules.insert(0, f"names: {_names(unused_tags({NONSENSE: ''})[NONSENSE].split(', '))}")
    lines = [
        f"### {key.name}\n",
        f"{key.description}\n",
        f"- Type: {key.type}. Default: {_default(key)}. Reaches: {reach(reached)}.",
        f"- Allowed: {'; '.join(rules)}.",
        "\n```yaml",
        yaml.safe_dump({"config": settings}, sort_keys=False, allow_unicode=True, width=200) + "```\n",
    ]
    if secrets:
        command = "scripts/pulumi config set --secret --path"
        commands = [f"{command} {shlex.quote(f'{NAMESPACE}:{path}')} --stack NAME" for path in secrets]
        lines += ["```sh", *commands, "```\n"]
    return "\n".join(lines)


BLOCKS_HEAD = (
    "What `images`, `memory` and `environment` take as names, how each block is called on the stack's networks, and whether it"
    " runs where `blocks` says nothing."
)


def _runs(block: str) -> str:
    if block in FOLLOWS:
        return f"with `{FOLLOWS[block]}`"
    if block in BACKUP:
        return "where `kopano:backup` is set"
    optional = BLOCKS[block].optional
    return "always" if optional is None else "on" if optional else "off"


def page() -> str:
    """The content of docs/configuration.md."""
    groups = ordered()
    parts = [HEAD, "| key | what it is |\n| --- | --- |\n"]
    for group, keys in groups:
        parts.append(f"| **[{group.title}](#{anchor(group.title)})** | |\n")
        parts += [f"| [{key.name}](#{anchor(key.name)}) | {summary(key)} |\n" for key in keys]
    for group, keys in groups:
        parts.append(f"\n## {group.title}\n\n{group.purpose}\n\n")
        parts.append("\n".join(_section(key, group.keys[key.name]) for key in keys))
    listed = "".join(f"| `{name}` | `{block.alias}` | {_runs(name)} |\n" for name, block in BLOCKS.items())
    parts.append(
        f"\n## Names of blocks\n\n{BLOCKS_HEAD}\n\n| block | name on the networks | runs |\n| --- | --- | --- |\n{listed}"
    )
    return "".join(parts)


def anchor(title: str) -> str:
    """The anchor that a heading gets in Markdown."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def project() -> str:
    """The content of Pulumi.yaml: what stands before the first key of the program is kept.

    Pulumi's schema knows string, integer, boolean, array and object, and describes the items of arrays alone: what is in an
    object is checked by the program. No key is declared secret: Pulumi would then encrypt its default in each stack, and a
    setting that is not there would look like one that cannot be read.
    """
    head, _, _ = PROJECT.read_text(encoding="utf-8").partition(f"\n  {NAMESPACE}:")
    entries = [head + "\n"]
    for key in KEYS:
        words = textwrap.fill(
            key.description,
            118,
            initial_indent=" " * 6,
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
            break_long_words=False,
        )
        entries.append(
            f"  {NAMESPACE}:{key.name}:\n    type: {key.type}\n    description: >-\n{words}\n"
            f"    default: {json.dumps(key.default)}\n"
        )
    return "".join(entries)


def _command() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    PROJECT.write_text(project(), encoding="utf-8")


if __name__ == "__main__":
    main(_command)
