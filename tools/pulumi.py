"""The Pulumi CLI in the environment of this checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tools import docker_engine
from tools.places import ROOT, environment
from tools.words import FailureError, main


def executable() -> str:
    """The path of the chosen CLI. Raises FailureError when there is none."""
    found = shutil.which("pulumi", path=environment()["PATH"])
    if not found:
        raise FailureError("there is no Pulumi CLI on this machine: run 'make setup', which installs one in this checkout")
    return found


def run(*arguments: str, quiet: bool = False, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the CLI. `quiet` captures what it prints. A secret goes through `stdin`, never through `arguments`."""
    return subprocess.run(
        [executable(), *arguments],
        cwd=ROOT,
        env=environment(),
        text=True,
        capture_output=quiet,
        check=check,
        input=stdin,
    )


def run_told(*arguments: str) -> int:
    """Run the CLI, print what it says as it says it, and return its exit code. Tracebacks are cut down to their last line:
    when a resource fails, Pulumi's SDK shows where it was in itself at that moment."""
    command = [executable(), *arguments, "--non-interactive"]
    interrupts: list[int] = []
    # An interruption reaches the CLI too, which then ends in good order. It must not lose the reader of its output by it.
    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        with subprocess.Popen(
            command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as running:
            for line in without_tracebacks(running.stdout or []):
                print(line, end="", flush=True)
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt
    return running.returncode


def without_tracebacks(lines: Iterable[str]) -> Iterator[str]:
    """The lines of the CLI with each traceback replaced by what was raised."""
    raised: str | None = None
    for line in lines:
        if line.strip() == "error: Program failed with an unhandled exception:":
            raised = ""
        elif raised is None:
            yield line
        elif re.match(r" {0,2}\S", line):
            # The program was only told to stop; the failure itself is in the other messages.
            if raised and not raised.endswith("context canceled"):
                yield f"    error: the program failed: {raised}\n"
            raised = None
            yield line
        else:
            raised = line.strip() or raised


def query(*arguments: str) -> Any:
    """What a command prints as JSON."""
    return json.loads(run(*arguments, "--json", quiet=True).stdout or "null")


def _stack(words: list[str]) -> str:
    """The stack that a command for the CLI names; empty where it names none."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("--stack", "-s"):
            return following
        if word.startswith("--stack="):
            return word.partition("=")[2]
    return ""


def _exec() -> int:
    # With the Docker host of the stack comes how many connections at a time it takes.
    if name := _stack(sys.argv[1:]):
        docker_engine.of_stack(name)
    os.chdir(ROOT)
    os.execve(executable(), ["pulumi", *sys.argv[1:]], environment())


if __name__ == "__main__":
    main(_exec)
