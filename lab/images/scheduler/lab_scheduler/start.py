"""The image's entry point: a crontab from variables, the jobs that run at the start, then the cron in place of this process."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from lab_scheduler import Refusal, crontab, say
from lab_scheduler.crontab import Entry
from lab_scheduler.jobs import Run

CRONTAB = Path("/tmp/crontab")
SERVER = ("kopano_server", 236)
PATIENCE = 360
PUBLIC_STORE = Entry("PUBLIC_STORE", "", "docker exec kopano_server kopano-storeadm -h default: -P")


def main(command: list[str]) -> int:
    """Entry point of the container."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Nothing to read anew yet; without a handler the signal would end this process.
    signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        if command:
            os.execvp(command[0], command)
        _start(os.environ)
    except (Refusal, OSError) as problem:
        say(str(problem))
        return 64
    return 0


def _start(environ: Mapping[str, str]) -> None:
    _checked(environ)
    entries = crontab.of_variables(environ)
    CRONTAB.write_text(crontab.written(entries), "utf-8")
    say("This is the Kopano lab, a stand-in for tests and closed networks; it is not Kopano. Cron of the stack.")
    _wait(*SERVER)
    # The engine starts containers in any order, and a job that did not reach the proxy would not run again before its time.
    host, _, port = environ["DOCKER_HOST"].removeprefix("tcp://").rpartition(":")
    _wait(host, int(port))
    at_start = [one for one in entries if one.name.startswith(crontab.AT_START)]
    for entry in (PUBLIC_STORE, *at_start):
        # A job that fails is in the log, and its time will come again.
        Run.start(entry).finish()
    os.execvp("supercronic", ["supercronic", str(CRONTAB)])


def _checked(environ: Mapping[str, str]) -> None:
    host = environ.get("DOCKER_HOST", "")
    if not re.fullmatch(r"tcp://[A-Za-z0-9][A-Za-z0-9._-]*:[0-9]{1,5}", host):
        raise Refusal(f"DOCKER_HOST is '{host}': give the proxy of the Docker Engine, such as tcp://docker_proxy:2375.")
    zone = environ.get("TZ") or "UTC"
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, LookupError) as problem:
        raise Refusal(f"TZ is '{zone}', which is no time zone: give one such as Europe/Berlin.") from problem


def _wait(host: str, port: int) -> None:
    started = time.monotonic()
    told = False
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() - started > PATIENCE:
                raise Refusal(f"{host}:{port} does not answer, also after {PATIENCE} seconds.") from None
        if not told:
            say(f"waiting for {host}:{port} ...")
            told = True
        time.sleep(1)
