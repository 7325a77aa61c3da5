"""Fixtures of the live tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployments import BESIDE, Deployment, Prepare, prepared_deployments

from lab.images import catalog


@pytest.fixture
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepare]:
    """Makes deployments that are removed when the test ends, also when it fails or is interrupted."""
    yield from prepared_deployments(tmp_path_factory)


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment of every block that is up. Tests leave it as they found it."""
    running = Deployment.prepare(tmp_path_factory.mktemp("project"))
    # Greylisting is on, as for everybody; a test cannot wait for the usual five minutes.
    greylisting = {"kopano:environment": {"mail": {"POSTGREY_DELAY": "2"}}}
    # What the demo has not, so that the tests need no other deployment for it.
    # The port of a program on the user's own machine is nobody's business but its own.
    clients = {"kopano:openidClients": {"extra-mailbox-app": "http://localhost:8090/callback"}}
    plugins = {"kopano:webappPlugins": "desktopnotifications webappmanual"}
    running.configure({**greylisting, **clients, **plugins, "kopano:dkim": {"kopano.localhost": "lab"}, "kopano:blocks": BESIDE})
    try:
        running.make("up")
        yield running
    finally:
        running.remove()


@pytest.fixture(scope="session")
def client() -> str:
    """The image of throw-away clients: it has the clients of the database and the directory, or can be told what to run."""
    return catalog.reference("db")
