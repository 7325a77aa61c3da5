"""Fixtures of the tests that break a deployment and mend it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployments import Deployment, Prepare, prepared_deployments


@pytest.fixture
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepare]:
    """Makes deployments that are removed when the test ends, also when it fails or is interrupted."""
    yield from prepared_deployments(tmp_path_factory)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack that is prepared and not deployed. Everything of it is removed at the end, whatever happened to it."""
    prepared = Deployment.prepare(tmp_path_factory.mktemp("project"))
    try:
        yield prepared
    finally:
        prepared.remove()
