"""Fixtures of the tests that break a deployment and mend it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployments import Deployment


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack that is prepared and not deployed. Everything of it is removed at the end, whatever happened to it."""
    prepared = Deployment.prepare(tmp_path_factory.mktemp("project"))
    try:
        yield prepared
    finally:
        prepared.remove()
