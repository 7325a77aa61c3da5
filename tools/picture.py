"""Draw a stack from the program's own graph: `python -m tools.picture STACK [FILE]`.

A row for each block, a coloured line for each network, a line with an arrow for each block that others need. The layout is plain
arithmetic, so that the same graph gives the same file everywhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree as xml

from components.blocks import BLOCKS
from components.settings import SERVICES
from tools.graph import Graph, Registered, plain
from tools.places import LOCAL, ROOT
from tools.policy import graph_of
from tools.words import FailureError, main, say

PICTURE = ROOT / "docs" / "architecture.svg"
"""The picture in the documents: the stack dev."""

READING_ORDER = ("web", "frontends", "openid", "meet", "mail", "core", "db", "ldap", "scheduler", "backup", "ssl")
"""Components from the users' side to the data. Others come after them."""

WEB_PORTS = {80: "http", 443: "https"}


@dataclass(frozen=True)
class Port:
    """A port of a block on the Docker host: what is served there, its number, and the address."""

    service: str
    number: int
    address: str


@dataclass(frozen=True)
class Block:
    """A row of the picture. `after` are the blocks that have to be there before it starts, `told` those whose addresses are in
    its variables, `volumes` the data volumes that it writes, `mode` its network where it is on none of the stack's."""

    name: str
    component: str
    networks: tuple[str, ...]
    mode: str
    ports: tuple[Port, ...]
    after: frozenset[str]
    told: frozenset[str]
    volumes: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """What a picture shows: the blocks in the order of their rows, and the networks (name -> whether it has no way out)."""

    name: str
    blocks: tuple[Block, ...]
    networks: Mapping[str, bool]

    @cached_property
    def components(self) -> dict[str, list[Block]]:
        """Component -> its blocks."""
        found: dict[str, list[Block]] = {}
        for block in self.blocks:
            found.setdefault(block.component, []).append(block)
        return found

    @cached_property
    def needed(self) -> list[str]:
        """The blocks that others need, those with the shortest way between first: their lines cross least."""
        rows = {block.name: row for row, block in enumerate(self.blocks)}
        ways: dict[str, list[int]] = {}
        for block in self.blocks:
            for other in block.after | block.told:
                ways.setdefault(other, [rows[other]]).append(rows[block.name])
        return sorted(ways, key=lambda other: (max(ways[other]) - min(ways[other]), rows[other]))


def _component(box: Registered) -> str:
    types = [kind for kind in box.parent.split("::")[2].split("$") if kind != "pulumi:pulumi:Stack"]
    return types[0].split(":")[1]


def _told(variables: Iterable[str], aliases: Mapping[str, str]) -> frozenset[str]:
    """The blocks whose addresses are in some variables: alone, with a port, or in a URL."""
    named = "|".join(map(re.escape, sorted(aliases, key=len, reverse=True)))
    address = re.compile(rf"(?:[a-z]+:(?://)?)?({named})(?::\d+)?/?")
    found = (address.fullmatch(line.partition("=")[2]) for line in variables)
    return frozenset(aliases[match[1]] for match in found if match)


def read(stack: str, graph: Graph) -> Stack:
    """What the picture of a stack shows, from its graph."""
    boxes = graph.containers()
    registered = {box.name: name for name, box in boxes.items()}
    nets = graph.of_type("docker:index/network:Network")
    networks = {f"{net.name}-id": net.name.partition("-")[2].removesuffix("-net") for net in nets}
    closed = {networks[f"{net.name}-id"]: bool(net.inputs.get("internal")) for net in nets}
    # From the users' side to the data, as the blocks.
    order = sorted(closed, key=lambda net: (net != "web", net != "kopano", net != "ldap", net))
    data = {
        plain(volume.inputs["name"]): volume.name.removeprefix("data-").removesuffix("-volume")
        for volume in graph.of_type("docker:index/volume:Volume")
        if "DataVolume" in volume.parent.split("::")[2].rpartition("$")[2]
    }
    aliases = {BLOCKS[name].alias: name for name in boxes}

    def row(name: str) -> Block:
        inputs = plain(boxes[name].inputs)
        joined = {networks[net["name"]] for net in inputs.get("networksAdvanced") or ()}
        waits = (registered.get(urn.rpartition("::")[2]) for urn in boxes[name].options.dependencies)
        services = {service.port: title for title, service in SERVICES.items() if service.block == name}
        return Block(
            name=name,
            component=_component(boxes[name]),
            networks=tuple(net for net in order if net in joined),
            mode=str(inputs.get("networkMode") or ""),
            ports=tuple(
                Port((services | WEB_PORTS).get(int(port["internal"]), "port"), int(port["external"]), str(port.get("ip", "")))
                for port in inputs.get("ports") or ()
            ),
            after=frozenset(other for other in waits if other),
            told=_told(inputs.get("envs") or (), aliases) - {name},
            volumes=tuple(
                data[mount["volumeName"]]
                for mount in inputs.get("volumes") or ()
                if mount.get("volumeName") in data and not mount.get("readOnly")
            ),
        )

    def place(block: Block) -> tuple[int, str, int]:
        known = READING_ORDER.index(block.component) if block.component in READING_ORDER else len(READING_ORDER)
        return known, block.component, list(BLOCKS).index(block.name)

    return Stack(stack, tuple(sorted(map(row, boxes), key=place)), {net: closed[net] for net in order})


# All in pixels.
ROW, BOX, HEAD, GAP, PAD = 28, 22, 20, 8, 5
TOP = 176
# Wide enough for all ports that one block can have, and for the longest name of a block.
PORTS_END, BAND, BOX_LEFT, BOX_WIDTH = 326, 340, 352, 184
NETWORKS, NETWORK_PITCH = 566, 52
NEED_PITCH = 26

STYLE = """
svg { --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #c9d1d9; --band: #f3f5f7; --box: #ffffff; --need: #6e7781;
  --net0: #c2570c; --net1: #0b5cc4; --net2: #1a7f45; --net3: #8438c7; --net4: #a40e4c; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --ink: #e6edf3; --soft: #9aa5b1; --line: #3d444d; --band: #161b22; --box: #21262d; --need: #9aa5b1;
    --net0: #f0883e; --net1: #58a6ff; --net2: #3fb950; --net3: #bc8cff; --net4: #ff7b9c; }
}
text { font: 13px system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: var(--ink); }
.title { font-size: 20px; font-weight: 600; }
.soft { fill: var(--soft); font-size: 12px; }
.head { fill: var(--soft); font-size: 12px; font-weight: 600; }
.name { font-weight: 600; }
.paper { fill: var(--paper); }
.band { fill: var(--band); }
.box { fill: var(--box); stroke: var(--line); }
.guide { stroke: var(--line); stroke-width: 1; }
.in { stroke: var(--ink); stroke-width: 1.5; }
.tip { fill: var(--ink); }
.need { stroke: var(--need); stroke-width: 1.5; fill: none; }
.after { fill: var(--need); }
.told { fill: var(--band); stroke: var(--need); stroke-width: 2; }
.goal { fill: var(--need); }
.net0 { stroke: var(--net0); fill: var(--net0); } .net1 { stroke: var(--net1); fill: var(--net1); }
.net2 { stroke: var(--net2); fill: var(--net2); } .net3 { stroke: var(--net3); fill: var(--net3); }
.net4 { stroke: var(--net4); fill: var(--net4); }
.lane { stroke-width: 5; stroke-linecap: round; opacity: 0.35; }
text.net0, text.net1, text.net2, text.net3, text.net4 { stroke: none; font-weight: 600; }
"""
COLOURS = 5


class _Sheet:
    """An SVG drawing under way."""

    def __init__(self, title: str, description: str) -> None:
        self.root = xml.Element("svg", xmlns="http://www.w3.org/2000/svg", role="img")
        self.root.set("aria-labelledby", "title description")
        xml.SubElement(self.root, "title", id="title").text = title
        xml.SubElement(self.root, "desc", id="description").text = description
        xml.SubElement(self.root, "style").text = STYLE
        self.paper = self.draw("rect", "paper")
        self.into = self.root

    def group(self, title: str) -> None:
        """What is drawn from now on belongs together, and is called so by a browser that points at it."""
        self.into = xml.SubElement(self.root, "g")
        xml.SubElement(self.into, "title").text = title

    def draw(self, tag: str, looks: str, **attributes: float | str) -> xml.Element:
        into = getattr(self, "into", self.root)
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        return xml.SubElement(into, tag, {"class": looks, **named})

    def text(self, x: float, y: float, words: str, looks: str = "", **attributes: float | str) -> None:
        self.draw("text", looks, x=x, y=y, **attributes).text = words

    def line(self, looks: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.draw("line", looks, x1=x1, y1=y1, x2=x2, y2=y2)

    def dot(self, looks: str, x: float, y: float, radius: float = 5) -> None:
        self.draw("circle", looks, cx=x, cy=y, r=radius)

    def tip(self, looks: str, x: float, y: float, ahead: int) -> None:
        """The tip of an arrow to the right (`ahead` 1) or left (-1) that ends at a point."""
        self.draw("path", looks, d=f"M{x} {y} l{-8 * ahead} -5 v10 z")

    def written(self, width: float, height: float) -> str:
        for name, value in (("width", width), ("height", height), ("viewBox", f"0 0 {width:g} {height:g}")):
            self.root.set(name, str(value))
        self.paper.set("width", str(width))
        self.paper.set("height", str(height))
        xml.indent(self.root)
        return xml.tostring(self.root, encoding="unicode") + "\n"


def _rows(stack: Stack) -> tuple[dict[str, int], list[tuple[str, int, int]], int]:
    """Block -> the middle of its row; component, top and height of each band; where the last one ends."""
    y, rows, bands = TOP, {}, []
    for component, blocks in stack.components.items():
        # A component that is called like its only block needs no heading.
        head = 0 if [block.name for block in blocks] == [component] else HEAD
        height = head + ROW * len(blocks) + 2 * PAD
        bands.append((component if head else "", y, height))
        for number, block in enumerate(blocks):
            rows[block.name] = y + head + PAD + ROW * number + ROW // 2
        y += height + GAP
    return rows, bands, y


def _published(block: Block) -> list[str]:
    """The published ports of a block, each once on however many addresses it is."""
    return list(dict.fromkeys(f"{port.service} {port.number}" for port in block.ports))


def _words(block: Block) -> str:
    parts = [
        block.name,
        f"networks: {', '.join(block.networks) or block.mode}",
        *([f"published: {', '.join(_published(block))}"] if block.ports else []),
        *([f"starts after: {', '.join(sorted(block.after))}"] if block.after else []),
        *([f"knows the address of: {', '.join(sorted(block.told))}"] if block.told else []),
        *([f"data: {', '.join(block.volumes)}"] if block.volumes else []),
    ]
    return "; ".join(parts)


def svg(stack: Stack) -> str:
    """The picture of a stack."""
    addresses = sorted({port.address for block in stack.blocks for port in block.ports})
    summary = f"{len(stack.blocks)} blocks in {len(stack.components)} components, {len(stack.networks)} networks"
    if addresses:
        summary += f", ports published on {' and '.join(addresses)}"
    sheet = _Sheet(f"Kopano on Docker: stack {stack.name}", f"{summary}. {'. '.join(map(_words, stack.blocks))}.")
    rows, bands, bottom = _rows(stack)
    lanes = {net: NETWORKS + NETWORK_PITCH * (number + 0.5) for number, net in enumerate(stack.networks)}
    needs = NETWORKS + NETWORK_PITCH * len(lanes) + 20
    ways = {name: needs + NEED_PITCH * (number + 0.5) for number, name in enumerate(stack.needed)}
    data = needs + NEED_PITCH * len(ways) + 22
    longest = max((len(", ".join(block.volumes)) for block in stack.blocks), default=0)
    width = data + max(120, 7 * longest) + 24

    sheet.text(24, 38, f"Kopano on Docker: stack {stack.name}", "title")
    sheet.text(24, 60, summary, "soft")
    for x, words, anchor in (
        (PORTS_END, "published ports", "end"),
        (BOX_LEFT, "blocks, by component", "start"),
        (NETWORKS, "networks", "start"),
        (needs, "needs", "start"),
        (data, "writes data volumes", "start"),
    ):
        sheet.text(x, 94, words, "head", text_anchor=anchor)
    for title, top, height in bands:
        sheet.draw("rect", "band", x=BAND, y=top, width=width - BAND - 16, height=height, rx=8)
        if title:
            sheet.text(BOX_LEFT, top + 17, title, "soft")
    _networks(sheet, stack, lanes, rows)
    _needs(sheet, stack, ways, rows)
    for block in stack.blocks:
        _row(sheet, block, rows[block.name], lanes, ways, data)
    _legend(sheet, bottom + 22)
    return sheet.written(width, bottom + 48)


def _networks(sheet: _Sheet, stack: Stack, lanes: Mapping[str, float], rows: Mapping[str, int]) -> None:
    for number, (net, closed) in enumerate(stack.networks.items()):
        sheet.group(f"network {net}{', without a way out' if closed else ''}")
        colour = f"net{number % COLOURS}"
        sheet.text(lanes[net], TOP - 26, net, colour, text_anchor="middle")
        if closed:
            sheet.text(lanes[net], TOP - 12, "internal", "soft", text_anchor="middle")
        members = [rows[block.name] for block in stack.blocks if net in block.networks]
        if members:
            sheet.line(f"lane {colour}", lanes[net], min(members), lanes[net], max(members))


def _needs(sheet: _Sheet, stack: Stack, ways: Mapping[str, float], rows: Mapping[str, int]) -> None:
    for name, x in ways.items():
        users = [rows[block.name] for block in stack.blocks if name in block.after | block.told]
        sheet.group(f"{name} is needed by {', '.join(b.name for b in stack.blocks if name in b.after | b.told)}")
        sheet.text(x + 4, TOP - 12, name, "soft", transform=f"rotate(-50 {x + 4} {TOP - 12})")
        sheet.line("need", x, min([*users, rows[name]]), x, max([*users, rows[name]]))


def _row(sheet: _Sheet, block: Block, y: int, lanes: Mapping[str, float], ways: Mapping[str, float], data: float) -> None:
    sheet.group(_words(block))
    marks = [*(lanes[net] for net in block.networks), *(ways[other] for other in block.after | block.told)]
    if block.name in ways:
        marks.append(ways[block.name])
    if block.volumes:
        marks.append(data - 8)
    if marks:
        sheet.line("guide", BOX_LEFT + BOX_WIDTH, y, max(marks), y)
    if block.ports:
        sheet.text(PORTS_END, y + 4, " · ".join(_published(block)), text_anchor="end")
        sheet.line("in", PORTS_END + 5, y, BOX_LEFT - 6, y)
        sheet.tip("tip", BOX_LEFT - 1, y, 1)
    sheet.draw("rect", "box", x=BOX_LEFT, y=y - BOX / 2, width=BOX_WIDTH, height=BOX, rx=5)
    sheet.text(BOX_LEFT + 10, y + 4.5, block.name, "name")
    for net in block.networks:
        sheet.dot(f"net{list(lanes).index(net) % COLOURS}", lanes[net], y)
    if not block.networks:
        words = {"none": "no network", "host": "the Docker host's network"}.get(block.mode, block.mode)
        sheet.draw("rect", "band", x=NETWORKS, y=y - 8, width=7 * len(words), height=16)
        sheet.text(NETWORKS + 4, y + 4, words, "soft")
    for other in sorted(block.after | block.told):
        # A ring: told the address. A dot: waits for it. Both: a dot in a ring.
        if other in block.told:
            sheet.dot("told", ways[other], y, 5.5)
        if other in block.after:
            sheet.dot("after", ways[other], y, 2.5 if other in block.told else 4)
    if block.name in ways:
        sheet.tip("goal", ways[block.name] - 9, y, -1)
        sheet.line("need", ways[block.name] - 2, y, ways[block.name], y)
    if block.volumes:
        sheet.text(data, y + 4, ", ".join(block.volumes), "soft")


def _legend(sheet: _Sheet, y: int) -> None:
    sheet.group("legend")
    x = float(BOX_LEFT)
    for mark, words in (
        ("net1", "is on this network"),
        ("after", "starts after it"),
        ("told", "is told its address"),
        ("goal", "the block that is needed"),
    ):
        if mark == "goal":
            sheet.tip("goal", x - 6, y, -1)
            sheet.line("need", x, y, x + 6, y)
        else:
            sheet.dot(mark, x, y, 4 if mark == "after" else 5)
        sheet.text(x + 12, y + 4, words, "soft")
        x += 38 + 6.6 * len(words)


def _command() -> None:
    name, file = [*sys.argv[1:], ""][:2]
    if not name or len(sys.argv) > 3:
        raise FailureError("name one stack, and a file if you like, for example: make picture STACK=prod OUT=prod.svg")
    target = Path(file) if file else PICTURE if name == "dev" else LOCAL / f"architecture.{name}.svg"
    drawn = svg(read(name, graph_of(name)))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise FailureError(f"the picture cannot be written to {target}: {error.strerror}") from None
    say(f"stack {name} is drawn in {target.relative_to(ROOT) if target.is_relative_to(ROOT) else target}")


if __name__ == "__main__":
    main(_command)
