"""Fixtures of the unit tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tools import graph
from tools.graph import Graph, Run, settings_of


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs the program: `run("dev", {"kopano:httpPort": 81}, secret=["kopano:environment"])` -> its graph.

    The same question gets the same graph, since each run takes about half a second: tests only read it.
    """
    known: dict[str, Graph] = {}

    def run_program(stack_name: str, changes: Mapping[str, Any] | None = None, secret: list[str] | None = None) -> Graph:
        values = {**settings_of(stack_name), **(changes or {})}
        question = json.dumps([stack_name, values, secret], sort_keys=True)
        if question not in known:
            known[question] = graph.run(stack_name, values, secret or [])
        return known[question]

    return run_program
