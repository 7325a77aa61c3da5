"""Measure this program against Docker Compose: `python -m bench.measure [RUNS]`.

Both run the same images with the same settings, one after the other in each round, so that what else the machine does meets both.
State, stack, ports, networks and volumes are the measurement's own and are removed in the end, also when it fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench import client
from bench.compose import Composed, compose, with_variable
from tools import pulumi, setup, stack
from tools.places import LOCAL, ROOT, environment, stack_file
from tools.up import deploy
from tools.words import FailureError, main, say

RUNS = 5
FOLDER = LOCAL / "bench"
"""What there is during a measurement: state, passphrase, the compose file and its files. Secrets, so nobody else's to read."""
COMMAND_SECONDS = 300
"""After this time a command has failed. The longest takes less than a minute."""

BLOCK, VARIABLE, VALUE = "server", "KCCONF_SERVER_LOG_LEVEL", "4"
"""The one variable that is changed: it replaces the container on which most of the others depend."""

COLD, NO_OP, CHANGE, DOWN = "cold", "no-op", "one variable", "tear-down"
MEASURES: Mapping[str, str] = {
    COLD: "cold: images there and nothing else, until all blocks are healthy",
    NO_OP: "no-op",
    CHANGE: f"one variable of one block changed (`{VARIABLE}`)",
    DOWN: "tear-down, data kept",
}
EVALUATION_LIMIT = 2.0


@dataclass
class Times:
    """Seconds, by what was measured, of one of the two."""

    of: dict[str, list[float]] = field(default_factory=lambda: {measure: [] for measure in MEASURES})

    @contextlib.contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Take the time of a block of code that does not fail."""
        started = time.monotonic()
        yield
        self.of[what].append(time.monotonic() - started)


def table(program: Times, other: Times) -> str:
    """The medians and their ratios in Markdown."""
    lines = ["| what | this program | Docker Compose | ratio | range of both |", "| --- | --- | --- | --- | --- |"]
    for measure, words in MEASURES.items():
        ours, theirs = program.of[measure], other.of[measure]
        middle, middle_of_other = statistics.median(ours), statistics.median(theirs)
        ranges = " and ".join(f"{min(times):.1f} to {max(times):.1f}" for times in (ours, theirs))
        lines.append(f"| {words} | {middle:.1f} s | {middle_of_other:.1f} s | {middle / middle_of_other:.2f} | {ranges} |")
    return "\n".join(lines)


def stack_settings(demo: Mapping[str, Any], ports: Iterator[int], variable: bool) -> dict[str, Any]:
    """The stack file of the measurement: the demo on other ports, with or without the changed variable."""
    config = dict(demo["config"])
    config["kopano:httpPort"], config["kopano:httpsPort"] = next(ports), next(ports)
    config["kopano:publish"] = {service: next(ports) for service in config["kopano:publish"]}
    if variable:
        config["kopano:environment"] = {BLOCK: {VARIABLE: VALUE}}
    return {"config": config}


def free_ports(number: int) -> list[int]:
    """Ports that nothing uses now, below those that outgoing connections get."""
    found: list[int] = []
    while len(found) < number:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found += [] if port in found else [port]
    return found


class Program:
    """This program, on a stack of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.times = name, Times()
        self._demo = yaml.safe_load(stack_file("dev").read_text(encoding="utf-8"))
        self._ports = free_ports(2 + len(self._demo["config"]["kopano:publish"]))

    def cold(self) -> None:
        """The first deployment of a new stack. That the stack is made counts, as do its keys and passwords."""
        self._configure(variable=False)
        with self.times.measure(COLD):
            _run(pulumi.executable(), "stack", "init", self.name)
            self._up()

    def no_op(self) -> None:
        """A deployment that changes nothing."""
        with self.times.measure(NO_OP):
            self._up()

    def change(self) -> None:
        """A deployment after one setting has changed."""
        self._configure(variable=True)
        with self.times.measure(CHANGE):
            self._up()

    def down(self) -> None:
        """Remove the stack; what `destroy` keeps goes untimed."""
        with self.times.measure(DOWN):
            _run(pulumi.executable(), "destroy", "--stack", self.name, "--yes", "--skip-preview", "--non-interactive")
        _run(pulumi.executable(), "stack", "rm", self.name, "--yes", "--force", "--preserve-config")
        sweep(self.name)

    def entries(self) -> list[dict[str, Any]]:
        """The resources of the deployed stack with their secrets."""
        exported = _run(pulumi.executable(), "stack", "export", "--stack", self.name, "--show-secrets")
        return list(json.loads(exported)["deployment"]["resources"])

    def _configure(self, *, variable: bool) -> None:
        file = stack_file(self.name)
        known = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        salt = {key: value for key, value in known.items() if key == "encryptionsalt"} if variable else {}
        settings = stack_settings(self._demo, iter(self._ports), variable)
        file.write_text(yaml.safe_dump({**salt, **settings}), encoding="utf-8")

    def _up(self) -> None:
        # As `make up` does it, after its checks.
        _run(pulumi.executable(), *deploy(self.name), "--non-interactive")


class Compose:
    """Docker Compose, with what the program's stack was made into."""

    def __init__(self, name: str, executable: Path, composed: Composed) -> None:
        self.name, self.times = name, Times()
        self._composed, self._changed = composed, with_variable(composed, BLOCK, VARIABLE, VALUE)
        self._words = [str(executable), "--project-name", name, "--file", str(FOLDER / "compose" / "compose.json")]

    def cold(self) -> None:
        """The first start."""
        self._composed.write(FOLDER / "compose")
        with self.times.measure(COLD):
            self._up()

    def no_op(self) -> None:
        """A start that changes nothing."""
        with self.times.measure(NO_OP):
            self._up()

    def change(self) -> None:
        """A start after one variable has changed."""
        self._changed.write(FOLDER / "compose")
        with self.times.measure(CHANGE):
            self._up()

    def down(self) -> None:
        """Remove containers and networks; the volumes go untimed."""
        with self.times.measure(DOWN):
            _run(*self._words, "down")
        sweep(self.name)

    def _up(self) -> None:
        _run(*self._words, "up", "--detach", "--wait")


def sweep(name: str) -> None:
    """Remove what there is of a measurement on the Docker host."""
    label = f"label=kopano.stack={name}"
    for container in stack.containers(name):
        stack.remove(container.name)
    for network in stack.docker("network", "ls", "--quiet", "--filter", label):
        stack.docker("network", "rm", network)
    for volume in stack.volumes(name):
        stack.docker("volume", "rm", volume)


def evaluations(runs: int) -> list[float]:
    """Seconds that the Python program takes by itself, from the start of the interpreter to its end: under mocks, so that neither
    the engine nor a plug-in counts."""
    times = []
    for _ in range(runs):
        started = time.monotonic()
        _run(sys.executable, "-m", "bench.evaluation")
        times.append(time.monotonic() - started)
    return times


def _run(*words: str) -> str:
    """Run a command in the measurement's own environment. Raises FailureError with what it said."""
    variables = {
        **environment(),
        "PULUMI_BACKEND_URL": (FOLDER / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(FOLDER / "passphrase"),
    }
    variables.pop("PULUMI_CONFIG_PASSPHRASE", None)
    said = subprocess.Popen(
        words, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        output, errors = said.communicate(timeout=COMMAND_SECONDS)
    except BaseException as error:
        said.terminate()
        said.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise FailureError(f"'{Path(words[0]).name} {words[1]} ...' did not end in {COMMAND_SECONDS} s") from None
        raise
    if said.returncode:
        # Only errors go with it: what `stack export` prints is secret.
        told = errors.strip() or ("" if "export" in words else output.strip())
        raise FailureError(f"'{Path(words[0]).name} ... {words[-1]}' failed with exit code {said.returncode}: {told[-1500:]}")
    return output


def _check(name: str, who: str, number: int) -> None:
    """Raise FailureError where not all blocks are there and well: a fast start of half of them is none."""
    there = stack.containers(name)
    if len(there) != number or stack.sick(name):
        ill = ", ".join(f"{box.block} '{box.state}'" for box in stack.sick(name))
        raise FailureError(
            f"{who} says that all is well with {len(there)} of {number} containers, and these are not: {ill or '-'}"
        )


def _clear() -> None:
    """Remove what this measurement, or one before that was killed, has left."""
    for note in FOLDER.glob("*.stack"):
        sweep(note.stem)
        stack_file(note.stem).unlink(missing_ok=True)
    shutil.rmtree(FOLDER, ignore_errors=True)


def _prepare(name: str) -> None:
    FOLDER.mkdir(mode=0o700, parents=True)
    (FOLDER / f"{name}.stack").touch()
    (FOLDER / "state").mkdir()
    passphrase = FOLDER / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(secrets.token_urlsafe(32), encoding="utf-8")


def _measure(runs: int) -> str:
    name = f"bench{secrets.token_hex(3)}"
    executable = client.ensure()
    _clear()
    _prepare(name)
    program = Program(name)
    say("first a deployment that does not count: it fills caches, and is what the compose file is made from")
    program.cold()
    number = len(stack.containers(name))
    _check(name, "the program", number)
    composed = compose(name, program.entries(), FOLDER / "compose")
    program.down()
    program.times = Times()
    other = Compose(name, executable, composed)
    sides: Sequence[tuple[str, Program | Compose]] = [("program", program), ("Compose", other)]
    for turn in range(runs):
        # Each begins every second round.
        for who, side in sides if turn % 2 == 0 else list(reversed(sides)):
            for step in (side.cold, side.no_op, side.change):
                step()
                _check(name, who, number)
            side.down()
            last = ", ".join(f"{measure} {times[-1]:.1f}" for measure, times in side.times.of.items())
            say(f"round {turn + 1} of {runs}, {who}: {last} (s)")
    times = evaluations(runs)
    middle = statistics.median(times)
    evaluation = f"Program alone: {middle:.1f} s ({min(times):.1f} to {max(times):.1f}; it may take {EVALUATION_LIMIT:.0f} s)."
    return f"{table(program.times, other.times)}\n\n{evaluation} {runs} runs each, {number} containers, {os.cpu_count()} cores."


def _runs() -> int:
    words = sys.argv[1:] or [str(RUNS)]
    if len(words) != 1 or not words[0].isdigit() or not int(words[0]):
        raise FailureError("name the number of runs, for example: make bench RUNS=5")
    return int(words[0])


def _end(number: int, _: Any) -> None:
    raise KeyboardInterrupt


def _command() -> int:
    runs = _runs()
    signal.signal(signal.SIGTERM, _end)
    setup.setup("images")
    try:
        print(f"\n{_measure(runs)}")
    finally:
        _clear()
    return 0


if __name__ == "__main__":
    main(_command)
