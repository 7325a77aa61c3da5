"""A wrong value ends the deployment in words that name the block and the cause; the corrected one needs nothing but itself."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from deployments import SMALL, Deployment, docker, free_port
from outside import Outside, services_outside

from lab.images import catalog


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with services_outside() as services:
        yield services


def without_cp() -> str:
    """An image of the helper that cannot fill the volumes of keys."""
    made = f"broken-{secrets.token_hex(4)}"
    docker("run", "--name", made, "--entrypoint", "/bin/rm", catalog.reference("ssl"), "/bin/cp")
    docker("commit", made, f"{made}:1")
    docker("rm", made)
    return f"{made}:1"


def test_each_wrong_value_is_named_with_its_block_and_the_corrected_one_is_enough(stack: Deployment, outside: Outside) -> None:
    blocks = {**SMALL["kopano:blocks"], "db": False, "ldap": False}
    right: dict[str, Any] = {
        "kopano:blocks": blocks,
        "kopano:demoUsers": False,
        "kopano:database": outside.database,
        "kopano:directory": outside.directory,
        "kopano:publish": {"smtp": free_port(), "imaps": free_port()},
        "kopano:deployTimeout": 25,
    }
    keyless = without_cp()
    absent = {"webapp": "localhost:9/kopano_webapp:none"}
    wrong = secrets.token_hex(12)
    try:
        for change, said in (
            ({"kopano:images": absent}, r"block webapp: the image localhost:9/kopano_webapp:none is not on the Docker host"),
            ({"kopano:images": {"ssl": keyless}}, r"block ssl \(.*-ssl\) is 'Exited \(127\)[^']*' and said last: .*cp"),
            (
                {"kopano:database": {**outside.database, "password": wrong}},
                r"block server \(.*-server\) is '[^']*' and said last: .*(refuse|denied).*",
            ),
            (
                {"kopano:directory": {**outside.directory, "bindPassword": wrong}},
                r"block server \(.*-server\) is '[^']*' and said last: .*refuses the bind as 'cn=readonly,",
            ),
        ):
            stack.configure({**right, **change})
            started = time.monotonic()
            ended = stack.make("up", check=False)
            assert ended.returncode != 0, change
            assert re.search(said, ended.stdout), ended.stdout[-4000:]
            assert f"error: stack {stack.stack} was not deployed completely" in ended.stdout
            assert "Traceback" not in ended.stdout
            assert wrong not in ended.stdout
            assert time.monotonic() - started < 120
        stack.configure(right)
        assert "all blocks are healthy" in stack.make("up").stdout
        listed = stack.execute("server", "kopano-admin", "-l")
        assert "user1" in listed
        stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", "--refresh")
    finally:
        docker("rmi", "--force", keyless, check=False)
