"""A preview as a person decides from it: `python -m tools.preview_report STACK [FILE]` prints Markdown.

FILE is what `scripts/pulumi preview --json` printed; without it the stack is previewed. Ends with 0, with 2 when data volumes
would be deleted or replaced (the report is printed all the same), and with 1 when there is nothing to report on. No value of a
secret is printed: not one that the plan marks, and not one whose name says that it is one.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.blocks import BLOCKS
from tools.check_plan import preview, read
from tools.plans import DATA_VOLUME, endangered
from tools.stack_files import is_secret
from tools.words import FailureError, main

BLOCKED = 2
CONTAINER, IMAGE = "docker:index/container:Container", "docker:index/remoteImage:RemoteImage"
ENGINE = "pulumi:providers:docker"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What Pulumi writes for a value that the deployment will know."""
VALUE_LENGTH = 120


@dataclass(frozen=True)
class Effect:
    """What users notice while a block is replaced: who, and for how many seconds. `measured`: the seconds are those of the table
    in docs/performance.md (a test compares them); otherwise they are the estimate of a start and one health check."""

    who: str
    seconds: float = 10
    measured: bool = False


EFFECTS: Mapping[str, Effect] = {
    "web": Effect("everybody who works in a browser or on a phone", 4.7, measured=True),
    "web-front": Effect("everybody who works in a browser or on a phone"),
    "ssl": Effect("nobody", 0),
    "db": Effect("everybody: mailboxes do not open; mail waits", 3.8, measured=True),
    "ldap": Effect("who logs in; mail waits", 4.7, measured=True),
    "ldap-admin": Effect("administrators of the directory"),
    "password-self-service": Effect("who changes a password"),
    "mail": Effect("who sends by SMTP; mail from outside comes again later", 15.4, measured=True),
    "server": Effect("everybody: mailboxes do not open; mail waits", 5.4, measured=True),
    "dagent": Effect("nobody: mail arrives later", 6.8, measured=True),
    "spooler": Effect("nobody: mail goes out later"),
    "gateway": Effect("users of IMAP and POP3", 7.5, measured=True),
    "gateway-tls": Effect("users of IMAP and POP3", 2.8, measured=True),
    "ical": Effect("users of CalDAV", 10.2, measured=True),
    "monitor": Effect("nobody"),
    "search": Effect("who searches"),
    "grapi": Effect("users of Meet and of programs on the REST API"),
    "kapi": Effect("users of Meet and of programs on the REST API", 5.0, measured=True),
    "spamd": Effect("nobody: spam is learned later"),
    "webapp": Effect("users of the WebApp", 3.0, measured=True),
    "zpush": Effect("users of phones (ActiveSync)"),
    "kdav": Effect("users of CalDAV and CardDAV"),
    "konnect": Effect("who logs in by OpenID", 5.8, measured=True),
    "kapps": Effect("users of the calendar app"),
    "meet": Effect("who opens Meet"),
    "kwmserver": Effect("who is in a meeting: it breaks off"),
    "kwmbridge": Effect("who is in a meeting: it breaks off"),
    "scheduler": Effect("nobody: jobs run later"),
    "docker-proxy": Effect("nobody: jobs run later"),
    "backup": Effect("nobody: a backup that is under way is lost"),
    "backup-ldap": Effect("nobody: a backup that is under way is lost"),
}
"""Block -> who notices that it is replaced. The order is that of the report."""

VERBS = {"create": "created", "delete": "deleted", "replace": "replaced", "update": "updated in place"}
KINDS = {
    CONTAINER: "container",
    IMAGE: "image",
    "docker:index/network:Network": "network",
    "docker:index/volume:Volume": "volume",
    ENGINE: "access to the Docker host",
    "random:index/randomPassword:RandomPassword": "password",
    "random:index/randomBytes:RandomBytes": "random key",
    "tls:index/privateKey:PrivateKey": "private key",
    "tls:index/locallySignedCert:LocallySignedCert": "certificate",
    "tls:index/certRequest:CertRequest": "certificate request",
    "tls:index/selfSignedCert:SelfSignedCert": "certificate authority",
}
OPAQUE = {
    "healthcheck": "health check",
    "volumes": "mounts",
    "uploads": "files",
    "networksAdvanced": "networks",
    "command": "command",
    "entrypoints": "command",
}
"""Inputs of a container that are named when they change, and not shown."""


@dataclass
class Change:
    """What a plan does to one resource: the verb, its inputs before and after, and which of them differ."""

    urn: str
    verb: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.rsplit("::", 1)[-1]

    @property
    def type(self) -> str:
        """The resource's type, such as `docker:index/volume:Volume`."""
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def block(self) -> str:
        """The block whose container this is; empty for what is none."""
        if self.type != CONTAINER:
            return ""
        labels = _labels(_inputs(self.after)) or _labels(_inputs(self.before))
        return labels.get("kopano.block", "")


def _inputs(state: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = state.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}


def _labels(inputs: Mapping[str, Any]) -> dict[str, str]:
    listed = inputs.get("labels")
    entries = [entry for entry in listed if isinstance(entry, dict) and "label" in entry] if isinstance(listed, list) else []
    return {entry["label"]: str(entry.get("value")) for entry in entries}


def changes(plan: Any) -> list[Change]:
    """The resources that a plan changes, each once. Raises FailureError when it is no plan with states."""
    listed = plan.get("steps") if isinstance(plan, dict) else None
    if not isinstance(listed, list) or not all(isinstance(step, dict) and {"op", "urn"} <= set(step) for step in listed):
        raise FailureError("this is no preview: give what 'scripts/pulumi preview --json' printed")
    found: dict[str, Change] = {}
    for step in listed:
        operation = step["op"]
        verb = {
            "create": "create",
            "delete": "delete",
            "update": "update",
            "replace": "replace",
            "create-replacement": "replace",
            "delete-replaced": "replace",
        }.get(operation)
        state = step.get("newState") or step.get("oldState") or {}
        # Components stand for nothing on the Docker host.
        if verb is None or not state.get("custom"):
            continue
        change = found.setdefault(step["urn"], Change(step["urn"], verb))
        change.verb = "replace" if "replace" in (verb, change.verb) else verb
        change.before = change.before or step.get("oldState") or {}
        change.after = step.get("newState") or change.after
        paths = [*(step.get("detailedDiff") or {}), *(step.get("replaceReasons") or []), *(step.get("diffReasons") or [])]
        change.reasons |= {path.partition("[")[0].partition(".")[0] for path in paths}
    return list(found.values())


def code(value: Any) -> str:
    """A value in a cell of a table, whatever signs are in it."""
    text = " ".join(str(value).split())
    text = text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 1] + "…"
    return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|')}`" if text else "(empty)"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown; none where there is no row."""
    if not rows:
        return []
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _variables(inputs: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str] | None]:
    """A container's plain variables, and its secret ones where the plan shows them (it was made with --show-secrets)."""
    listed, described = inputs.get("envs"), _labels(inputs).get("kopano.environment")
    everything = None
    if isinstance(listed, list) and all(isinstance(entry, str) for entry in listed):
        everything = dict(entry.partition("=")[::2] for entry in listed)
    if described is None:
        # Without a secret one there is no label; a list that is hidden has nothing to show. Labels that cannot be read (unknown,
        # or secret) tell of none, so all are taken for secret.
        if everything and not _labels(inputs):
            return {}, everything
        return everything or {}, {}
    try:
        plain = {name: str(value) for name, value in json.loads(described).items()}
    except (ValueError, AttributeError):
        plain = {}
    if everything is None:
        return plain, None
    return plain, {name: value for name, value in everything.items() if name not in plain}


def variables(change: Change, changed: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """The variables of a container that change: name, value before, value after. Secret ones have no values; where the plan hides
    their names as well, they are called by those of the `changed` resources from which they come."""
    before, hidden_before = _variables(_inputs(change.before))
    after, hidden_after = _variables(_inputs(change.after))
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if is_secret(name) or name in (hidden_before or {}) or name in (hidden_after or {}):
            yield name, "", "changed"
        elif new is None and hidden_after is None:
            # The value of before may be that of a secret now: nothing in the plan tells.
            yield name, "", "removed, or a secret now"
        else:
            yield name, "(not set)" if old is None else code(old), "(not set)" if new is None else code(new)
    if hidden_before is not None and hidden_after is not None:
        for name in sorted({*hidden_before, *hidden_after} - {*before, *after}):
            if hidden_before.get(name) != hidden_after.get(name):
                yield name, "", "changed"
        return
    sources = sorted(set((change.after.get("propertyDependencies") or {}).get("envs") or []) & set(changed))
    for source in sources:
        yield f"secret from {code(source.rsplit('::', 1)[-1])}", "", "changed"
    if "envs" in change.reasons and before == after and not sources:
        yield "a secret variable", "", "changed"


def _ports(inputs: Mapping[str, Any]) -> set[str]:
    listed = inputs.get("ports")
    if not isinstance(listed, list):
        return set()
    return {
        f"{port.get('ip', '0.0.0.0')}:{port.get('external')} → {port.get('internal')}/{port.get('protocol', 'tcp')}"
        for port in listed
        if isinstance(port, dict)
    }


def ports(listed: Sequence[Change]) -> list[list[str]]:
    """Published ports that are opened or closed: what, where, of which block."""
    rows = []
    for change in listed:
        before, after = _ports(_inputs(change.before)), set() if change.verb == "delete" else _ports(_inputs(change.after))
        rows += [["**opened**", code(port), change.block] for port in sorted(after - before)]
        rows += [["closed", code(port), change.block] for port in sorted(before - after)]
    return rows


def images(plan: Any, listed: Sequence[Change]) -> list[list[str]]:
    """Blocks whose image changes: block, from, to. A container has only the image's id; the references are in the stack's outputs
    as they were, and in the images as they will be."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for step in plan["steps"]:
        kind = step["urn"].split("::")[2].rpartition("$")[2]
        if kind == "pulumi:pulumi:Stack":
            images_before = ((step.get("oldState") or {}).get("outputs") or {}).get("images")
            before = images_before if isinstance(images_before, dict) else {}
        elif kind == IMAGE and (name := _inputs(step.get("newState") or {}).get("name")):
            after[step["urn"]] = str(name)
    rows = []
    for change in listed:
        urns = (change.after.get("propertyDependencies") or {}).get("image") or []
        old = before.get(change.block, "")
        new = "" if change.verb == "delete" else next((after[urn] for urn in urns if urn in after), old)
        if old != new:
            rows.append([change.block, code(old) if old else "(none)", code(new) if new else "(none)"])
    return rows


def _why(change: Change, changed: Collection[str]) -> str:
    """What of a container changes, in words; empty for one that comes or goes."""
    if change.verb in ("create", "delete"):
        return ""
    inputs = _inputs(change.before), _inputs(change.after)
    labels = [_labels(one) for one in inputs]
    words = []
    if "image" in change.reasons:
        words.append("image")
    count = sum(1 for _ in variables(change, changed))
    if count:
        words.append("1 variable" if count == 1 else f"{count} variables")
    if "ports" in change.reasons:
        words.append("published ports")
    if "labels" in change.reasons and labels[0].get("kopano.keys") != labels[1].get("kopano.keys"):
        words.append("keys or certificates")
    if "memory" in change.reasons:
        words.append(f"memory {inputs[0].get('memory')} → {inputs[1].get('memory')} MB")
    words += [word for key, word in OPAQUE.items() if key in change.reasons and word not in words]
    known = {"image", "envs", "ports", "labels", "memory", "memorySwap", *OPAQUE}
    words += sorted(change.reasons - known)
    return ", ".join(dict.fromkeys(words)) or "something that its parts need"


def _notice(change: Change) -> list[str]:
    """Who notices what a plan does to a block, and for how long."""
    effect = EFFECTS.get(change.block, Effect("unknown"))
    if change.verb == "create":
        return ["nobody: it is new", ""]
    if change.verb == "delete":
        return [f"{effect.who.partition(':')[0]}, for good", ""]
    if change.verb == "update" or not effect.seconds:
        return ["nobody", ""]
    return [effect.who, f"{effect.seconds:g} s ({'measured' if effect.measured else 'estimated'})"]


def report(name: str, plan: Any) -> str:
    """The plan for a stack in Markdown. Raises FailureError when it is no plan."""
    found = changes(plan)
    order = list(EFFECTS)
    blocks = sorted((change for change in found if change.block in BLOCKS), key=lambda change: order.index(change.block))
    others = [change for change in found if change not in blocks]
    changed = {change.urn for change in found}
    # For the comment on a pull request, which is looked for by this line.
    lines = [f"<!-- kopano preview of {name} -->", f"## What changes in stack `{name}`", ""]
    danger = endangered(plan)
    if danger:
        lines += ["> [!CAUTION]", "> **Do not merge.** This plan deletes or replaces data volumes:"]
        lines += [f"> - `{volume}`: {', '.join(dict.fromkeys(operations))}" for volume, operations in sorted(danger.items())]
        lines += ["> ", "> Undo the change that asks for it, and move data by backup and restore.", ""]
    if not found:
        return "\n".join([*lines, "Nothing changes.", ""])
    counted = [f"{sum(change.verb == verb for change in found)} {words}" for verb, words in VERBS.items()]
    lines += [", ".join(words for words in counted if not words.startswith("0 ")) + f" of {_total(plan)} resources."]
    if not danger:
        touched = sorted(change.name for change in found if DATA_VOLUME in change.urn)
        also = f" New or changed labels only: {', '.join(map(code, touched))}." if touched else ""
        lines += [f"No data volume is deleted or replaced.{also}"]
    for change in found:
        hosts = [_inputs(state).get("host") or "this machine" for state in (change.before, change.after)]
        if change.type == ENGINE and change.verb == "update" and hosts[0] != hosts[1]:
            lines += [
                "",
                "> [!CAUTION]",
                f"> **Another Docker host**, {code(hosts[0])} → {code(hosts[1])}: nothing is moved there.",
            ]
            lines += ["> Where the stack's data is not there, `make up` stops. Move a stack by backup and restore."]
    sections = {
        "Blocks, and what users notice": table(
            ["block", "what happens", "because of", "who notices", "for how long"],
            [
                [
                    f"**{one.block}**",
                    VERBS[one.verb],
                    _why(one, changed) if one.before and one.verb != "delete" else "",
                    *_notice(one),
                ]
                for one in blocks
            ],
        ),
        "Images": table(["block", "from", "to"], images(plan, blocks)),
        "Variables": table(
            ["block", "variable", "from", "to"],
            [
                [change.block, name if " " in name else code(name), old, new]
                for change in blocks
                if change.verb in ("replace", "update")
                for name, old, new in variables(change, changed)
            ],
        ),
        "Published ports": table(["", "port", "block"], ports(blocks)),
        "What else changes": table(
            ["resource", "what happens", "because of"],
            [
                [
                    f"{KINDS.get(change.type, change.type)} {code(change.name)}",
                    VERBS[change.verb],
                    ", ".join(sorted(change.reasons)),
                ]
                for change in sorted(others, key=lambda one: (one.verb, one.name))
            ],
        ),
    }
    for heading, rows in sections.items():
        lines += ["", f"### {heading}", "", *rows] if rows else []
    return "\n".join([*lines, ""])


def _total(plan: Any) -> int:
    summary = plan.get("changeSummary") or {}
    return sum(count for count in summary.values() if isinstance(count, int)) or len({step["urn"] for step in plan["steps"]})


def _command() -> int:
    name, file = [*sys.argv[1:], "", ""][:2]
    if not name or len(sys.argv) > 3:
        raise FailureError("name one stack, and a preview if there is one: scripts/preview-report dev preview.json")
    # The report alone goes to the standard output, not what is said on the way to it.
    with contextlib.redirect_stdout(sys.stderr):
        plan = read(Path(file)) if file else preview(name)
    print(report(name, plan), end="")
    return BLOCKED if endangered(plan) else 0


if __name__ == "__main__":
    main(_command)
