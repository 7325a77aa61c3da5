"""Entries of the form "minute hour day month weekday command", from variables or from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from croniter import croniter  # type: ignore[import-untyped]

from lab_scheduler import Refusal

AT_START = "CRON_"
LATER = "CRONDELAYED_"


@dataclass(frozen=True)
class Entry:
    """One job: its name, its five fields of time, and a command for the shell."""

    name: str
    times: str
    command: str

    def after(self, moment: datetime) -> datetime:
        """The first time after that moment, by the clocks of its time zone.

        In the hour that clocks go through twice a job runs once; one that falls into the hour that they leave out runs an hour
        later. Clocks are followed without a zone, since croniter goes wrong on the days on which they change.
        """
        clocks: datetime = croniter(self.times, moment.replace(tzinfo=None)).get_next(datetime)
        found = clocks.replace(tzinfo=moment.tzinfo)
        return found if found.timestamp() > moment.timestamp() else found.replace(fold=1)


def entry(name: str, text: str) -> Entry:
    """Read one entry."""
    fields = text.split(maxsplit=5)
    example = "such as '10 * * * * docker exec kopano_server kopano-admin --sync'"
    if len(fields) < 6 or "\n" in text:
        raise Refusal(f"{name} is '{text}': give minute, hour, day, month, weekday and a command on one line, {example}.")
    times = " ".join(fields[:5])
    try:
        # Far enough for a 29 February; a time that never comes fails here as well.
        croniter(times, datetime(2024, 1, 1), max_years_between_matches=10).get_next(datetime)
    except (ValueError, KeyError) as problem:
        raise Refusal(
            f"{name} has the times '{times}', which are none: give five fields as in a crontab, {example}."
        ) from problem
    return Entry(name, times, fields[5].strip())


def of_variables(environ: Mapping[str, str]) -> list[Entry]:
    """The entries in CRON_ and CRONDELAYED_ variables; an empty one stands for no job."""
    names = sorted(name for name in environ if name.startswith((AT_START, LATER)) and environ[name].strip())
    return [entry(name, environ[name]) for name in names]


def written(entries: list[Entry]) -> str:
    """The text of a crontab with these entries: a comment over each says its name."""
    return "".join(f"# {one.name}\n{one.times} {one.command}\n" for one in entries)


def read(text: str) -> list[Entry]:
    """The entries of a crontab; a job without a name over it goes by its line."""
    entries = []
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            entries.append(entry(name or f"LINE_{number}", line))
        title = re.fullmatch(r"#\s*([A-Za-z0-9_]+)\s*", line)
        name = title.group(1) if title else ""
    return entries
