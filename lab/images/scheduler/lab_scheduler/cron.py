"""The cron: starts each job when its time has come, reads its crontab anew on SIGUSR2."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from lab_scheduler import Refusal, say
from lab_scheduler.crontab import Entry, read
from lab_scheduler.jobs import Run

ENDINGS = {signal.SIGTERM, signal.SIGINT}
SIGNALS = ENDINGS | {signal.SIGUSR2, signal.SIGCHLD}
PATIENCE = 20
"""Seconds that running jobs get at the end."""
NAP = 60
"""No longer sleep than this, so that a clock that was set is noticed. Times are compared by their seconds since 1970: of two in
one zone Python compares what the clocks show."""


def main(arguments: list[str]) -> int:
    """Entry point: `supercronic CRONTAB`."""
    if len(arguments) != 1:
        print("supercronic: give the crontab's path, and nothing else.", flush=True)
        return 64
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        Cron(Path(arguments[0]), ZoneInfo(os.environ.get("TZ") or "UTC")).run()
    except Refusal as refusal:
        say(str(refusal))
        return 64
    return 0


class Cron:
    """Keeps the time of each entry of a crontab."""

    def __init__(self, path: Path, zone: ZoneInfo) -> None:
        self._path = path
        self._zone = zone
        self._runs: dict[str, Run] = {}
        self._next: dict[Entry, datetime] = {}
        self._load()

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        while True:
            now = self._now()
            for entry, due in list(self._next.items()):
                if due.timestamp() <= now.timestamp():
                    self._begin(entry)
                    self._next[entry] = entry.after(now)
            soonest = min((due.timestamp() for due in self._next.values()), default=time.time() + NAP)
            caught = signal.sigtimedwait(SIGNALS, min(max(soonest - time.time(), 0), NAP))
            self._runs = {name: run for name, run in self._runs.items() if not run.ended()}
            if caught and caught.si_signo in ENDINGS:
                self._end()
                return
            if caught and caught.si_signo == signal.SIGUSR2:
                self._reload()

    def _now(self) -> datetime:
        return datetime.now(self._zone)

    def _load(self) -> None:
        try:
            text = self._path.read_text("utf-8")
        except OSError as problem:
            raise Refusal(f"the crontab {self._path} cannot be read: {problem.strerror}.") from problem
        now = self._now()
        self._next = {entry: entry.after(now) for entry in read(text)}
        for entry, due in sorted(self._next.items(), key=lambda item: item[1]):
            say(f"{entry.name}: next at {due:%Y-%m-%d %H:%M %Z}: {entry.command}")
        if not self._next:
            say("there is no job: set one in a variable that begins with CRON_ or CRONDELAYED_.")

    def _reload(self) -> None:
        say(f"SIGUSR2: reading {self._path} anew.")
        try:
            self._load()
        except Refusal as refusal:
            say(f"{refusal} The jobs stay as they were.")

    def _begin(self, entry: Entry) -> None:
        if entry.name in self._runs:
            say(f"{entry.name}: left out this time, as its last run is not over.")
            return
        try:
            self._runs[entry.name] = Run.start(entry)
        except OSError as problem:
            say(f"{entry.name}: could not be started: {problem.strerror}.")

    def _end(self) -> None:
        say("stopping.")
        for run in self._runs.values():
            run.stop()
        deadline = time.monotonic() + PATIENCE
        while self._runs and time.monotonic() < deadline:
            signal.sigtimedwait({signal.SIGCHLD}, 1)
            self._runs = {name: run for name, run in self._runs.items() if not run.ended()}
