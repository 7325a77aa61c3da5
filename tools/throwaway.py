"""Throw-away containers that fill or read volumes: hardened, and without a network unless one is named."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from tools.words import FailureError


@dataclass(frozen=True)
class Throwaway:
    """A container that runs one bash script and goes.

    `name` is the container's; one of that name at a time. `mounts` are volume -> path, with `:ro` behind a path that is only
    read. `secrets` and `variables` are the container's variables: neither is on a command line.
    """

    name: str
    image: str
    script: str
    arguments: Sequence[str]
    mounts: Mapping[str, str]
    capabilities: Sequence[str] = ()
    network: str = "none"
    variables: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Sequence[str] = ("/tmp",)

    def command(self) -> list[str]:
        """The docker command line."""
        words = ["docker", "run", "--rm", "--interactive", "--name", self.name, "--network", self.network, "--user", "root"]
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--read-only"]
        # What it writes may be all of the data: the engine is not to keep a second copy of that as a log.
        words += ["--log-driver", "none", "--ulimit", "nofile=8192"]
        words += [word for name in self.capabilities for word in ("--cap-add", name)]
        words += [word for path in self.tmpfs for word in ("--tmpfs", path)]
        words += [word for name in self.variables for word in ("--env", name)]
        words += [word for volume, path in self.mounts.items() for word in ("--volume", f"{volume}:{path}")]
        return [*words, "--entrypoint", "/bin/bash", self.image, "-c", self.script, *self.arguments]

    def run(
        self,
        failed: str,
        *,
        feed: Callable[[IO[bytes]], None] | None = None,
        output: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:
        """Run it. `feed` writes its standard input. Raises FailureError that begins with `failed`, with what it said last."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self.command(), env={**os.environ, **self.variables}, stdin=subprocess.PIPE, stdout=output, stderr=said
            )
            try:
                _feed(process.stdin, feed)
                code = process.wait()
            finally:
                if process.poll() is None:
                    subprocess.run(["docker", "rm", "--force", self.name], check=False, capture_output=True)
                    process.wait()
            said.seek(0)
            lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
        if code:
            words = [line for line in lines if not line.startswith("See 'docker")]
            raise FailureError(f"{failed}: {words[-1] if words else f'it ended with exit code {code}'}")


def _feed(target: IO[bytes] | None, feed: Callable[[IO[bytes]], None] | None) -> None:
    if target is None:
        return
    # Where it ends before it has read all, its exit code says whether that is a failure.
    with contextlib.suppress(BrokenPipeError), target:
        if feed:
            feed(target)
