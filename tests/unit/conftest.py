"""Fixtures of the unit tests."""

from __future__ import annotations

import contextvars
import json
from collections.abc import Mapping
from typing import Any

import pytest
from graph import Graph, Run, run_into, settings_of


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs the program: `run("dev", {"kopano:httpPort": 81}, secret=["kopano:environment"])` -> its graph.

    The same question gets the same graph, since each run takes about half a second: tests only read it.
    """
    known: dict[str, Graph] = {}

    def run_program(stack_name: str, changes: Mapping[str, Any] | None = None, secret: list[str] | None = None) -> Graph:
        values = {**settings_of(stack_name), **(changes or {})}
        config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
        question = json.dumps([stack_name, config, secret], sort_keys=True)
        if question not in known:
            graph = Graph()
            # Pulumi keeps the stack under way in context variables: in a context of its own, no run sees another.
            contextvars.copy_context().run(run_into, graph, stack_name, config, secret or [])
            known[question] = graph
        return known[question]

    return run_program
