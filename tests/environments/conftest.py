"""Fixtures of the tests of surroundings: other machines' services, and what stands before the stack."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from deployments import Deployment, Prepare, prepared_deployments


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack that is prepared and not deployed. Everything of it is removed at the end, whatever happened to it."""
    prepared = Deployment.prepare(tmp_path_factory.mktemp("project"))
    try:
        yield prepared
    finally:
        prepared.remove()


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, str]]:
    """Host name -> address, for this test's own connections: certificates are for names that no resolver here knows."""
    resolved, known = socket.getaddrinfo, dict[str, str]()

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return resolved(known.get(host, host), *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield known


@pytest.fixture
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepare]:
    """Makes deployments that are removed when the test ends, also when it fails or is interrupted."""
    yield from prepared_deployments(tmp_path_factory)
