"""Runs of jobs: what each one says and how it ends goes to the container's log."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass

from lab_scheduler import say
from lab_scheduler.crontab import Entry


@dataclass
class Run:
    """A job that has been started."""

    name: str
    process: subprocess.Popen[bytes]
    labeller: subprocess.Popen[bytes]
    began: float

    @classmethod
    def start(cls, entry: Entry) -> Run:
        """Start the job's command in a shell; each line of its output is labelled with its name."""
        say(f"{entry.name}: started: {entry.command}")
        process = subprocess.Popen(  # noqa: S602 - a crontab's commands are for the shell
            entry.command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own, so that all of the job can be ended. Blocked signals would be blocked in the job as well.
            start_new_session=True,
            preexec_fn=_open_to_signals,
        )
        labeller = subprocess.Popen(
            ["sed", "--unbuffered", f"s/^/scheduler: {entry.name}: | /"], stdin=process.stdout, start_new_session=True
        )
        if process.stdout:
            process.stdout.close()
        return cls(entry.name, process, labeller, time.monotonic())

    def ended(self) -> bool:
        """Whether the job is over; told once in the log."""
        if self.process.poll() is None:
            return False
        self.finish()
        return True

    def finish(self) -> int:
        """Wait for the job's end."""
        code = self.process.wait()
        try:
            # A process that the job has left behind may hold the output open.
            self.labeller.wait(5)
        except subprocess.TimeoutExpired:
            self.labeller.kill()
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        say(f"{self.name}: ended with {how} after {time.monotonic() - self.began:.1f} s")
        return code

    def stop(self) -> None:
        """Ask all of the job to end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)


def _open_to_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
