"""An environment that questions made, with the real CLI and its encryption."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import Deployment

PLANTED = "planted-7731"
ANSWERS = ("mail.example.org", "", "", "lab", "kopano@db.example.org/kopano", "", "", "false")


@pytest.fixture
def unwritten(tmp_path: Path) -> Iterator[Deployment]:
    """A copy of the project, and the name of a stack that has no file yet."""
    deployment = Deployment.prepare(tmp_path)
    (tmp_path / f"Pulumi.{deployment.stack}.yaml").unlink()
    try:
        yield deployment
    finally:
        deployment.remove()


def answered(deployment: Deployment, *lines: str) -> str:
    """Run the command at a terminal, type the answers, and return what the terminal showed."""
    ours, theirs = pty.openpty()
    command = ["scripts/new-environment", deployment.stack]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, cwd=deployment.root, env=clean, start_new_session=True, **streams) as run:
        os.close(theirs)
        shown = b""
        for line in lines:
            before = len(shown)
            while not shown[before:].endswith(b": "):
                shown += os.read(ours, 1000)
            os.write(ours, f"{line}\n".encode())
        try:
            while part := os.read(ours, 1000):
                shown += part
        except OSError:  # the terminal's other end is closed
            pass
        assert run.wait() == 0, shown.decode()
    os.close(ours)
    return shown.decode()


def test_a_password_that_was_typed_is_never_shown_and_reaches_the_program(unwritten: Deployment) -> None:
    shown = answered(unwritten, *ANSWERS, PLANTED)
    file = (unwritten.root / f"Pulumi.{unwritten.stack}.yaml").read_text(encoding="utf-8")
    assert "kopano:database.password" in shown
    assert PLANTED not in shown + file
    assert "secure: v1:" in file
    assert unwritten.pulumi("config", "get", "--path", "kopano:database.password").stdout.strip() == PLANTED
    said = unwritten.make("preview").stdout
    assert "core-server-container" in said
    assert PLANTED not in said
    again = unwritten.run("scripts/new-environment", unwritten.stack, "--non-interactive", check=False)
    assert "is there already and is not changed" in again.stdout
    assert (unwritten.root / f"Pulumi.{unwritten.stack}.yaml").read_text(encoding="utf-8") == file
