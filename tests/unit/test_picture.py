"""The picture of the architecture is that of the program."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from test_graph import OFF, TAKEN_OVER

from components import blocks
from tools import picture
from tools.graph import PLANTED, Run
from tools.picture import Stack

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def dev(run: Run) -> Stack:
    return picture.read("dev", run("dev"))


def test_the_picture_in_the_documents_is_that_of_the_program(dev: Stack) -> None:
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.svg(dev), "run: make picture"


def test_the_picture_has_a_row_for_each_block_that_runs_and_no_other(run: Run, dev: Stack) -> None:
    assert {block.name for block in dev.blocks} == blocks.enabled({})
    small = picture.read("dev", run("dev", OFF))
    assert {block.name for block in dev.blocks} - {block.name for block in small.blocks} == {*OFF["kopano:blocks"], "kwmserver"}
    assert ">kwmserver<" in picture.svg(dev)
    assert "kwmserver" not in picture.svg(small)


def test_networks_ports_and_data_are_those_of_the_stack_file(dev: Stack) -> None:
    found = {block.name: block for block in dev.blocks}
    assert dev.networks == {"web": False, "kopano": False, "ldap": False, "jobs": True}
    assert found["mail"].networks == ("kopano", "ldap")
    assert (found["ssl"].networks, found["ssl"].mode) == ((), "none")
    ports = {f"{port.service} {port.number} {port.address}" for block in dev.blocks for port in block.ports}
    assert {"https 2015 127.0.0.1", "imaps 2993 127.0.0.1", "submission 2587 127.0.0.1"} <= ports
    assert found["ldap"].volumes == ("ldap", "slapd")


def test_a_port_on_several_addresses_is_shown_once_with_all_of_them(run: Run) -> None:
    drawn = picture.svg(picture.read("dev", run("dev", TAKEN_OVER)))
    assert ">http 8080 · https 2015<" in drawn
    assert "ports published on 127.0.0.1 and ::1" in drawn


def test_what_a_block_needs_is_what_it_waits_for_and_whose_address_it_is_told(dev: Stack) -> None:
    found = {block.name: block for block in dev.blocks}
    assert found["kwmserver"].after == {"ssl", "web", "konnect"}
    assert found["server"].told == {"db", "ldap"}
    assert found["mail"].told == {"ldap", "dagent", "gateway"}
    assert found["gateway"].after == found["gateway"].told == {"server"}
    assert set(dev.needed) == set().union(*(block.after | block.told for block in dev.blocks))


def test_the_picture_can_be_read_by_those_who_do_not_see_it_and_in_the_dark(dev: Stack) -> None:
    drawn = picture.svg(dev)
    root = xml.fromstring(drawn)  # noqa: S314
    named = {element.get("id"): element.text for element in root if element.get("id")}
    assert root.get("role") == "img"
    assert set(root.get("aria-labelledby", "").split()) == set(named)
    for block in dev.blocks:
        assert block.name in (named["description"] or "")
    assert {text.text for text in root.iter(f"{SVG}text")} >= {block.name for block in dev.blocks} | set(dev.networks)
    assert "prefers-color-scheme: dark" in drawn
    assert PLANTED not in drawn


def test_nothing_is_drawn_outside_and_no_text_upon_another(run: Run) -> None:
    everything = {
        "kopano:blocks": {"spamd": True},
        "kopano:backup": {"schedule": "0 3 * * *", "keep": 7},
        "kopano:publish": {name: 20000 + number for number, name in enumerate(picture.SERVICES)},
    }
    root = xml.fromstring(picture.svg(picture.read("dev", run("dev", everything))))  # noqa: S314
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    spans: dict[float, list[tuple[float, float]]] = {}
    for text in root.iter(f"{SVG}text"):
        if text.get("transform"):
            continue
        x, y, wide = float(text.get("x", "")), float(text.get("y", "")), 7 * len(text.text or "")
        left = x - {"end": wide, "middle": wide / 2}.get(text.get("text-anchor", ""), 0)
        assert left >= 0, text.text
        assert left + wide <= width, text.text
        assert 0 < y < height, text.text
        spans.setdefault(y, []).append((left, left + wide))
    for line in spans.values():
        for (_, end), (start, _) in zip(sorted(line), sorted(line)[1:], strict=False):
            assert end <= start


def test_any_stack_file_can_be_drawn_into_any_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prod = run("prod")
    monkeypatch.setattr(picture, "graph_of", lambda name: {"prod": prod}[name])
    monkeypatch.setattr(sys, "argv", ["picture", "prod", str(tmp_path / "new" / "prod.svg")])
    picture._command()
    drawn = (tmp_path / "new" / "prod.svg").read_text(encoding="utf-8")
    assert re.search(r"https 443", drawn)
    assert "stack prod" in drawn
    assert capsys.readouterr().out == f"==> stack prod is drawn in {tmp_path}/new/prod.svg\n"
