"""The lab's scheduler: a cron on croniter, and the one docker command that its jobs need."""

from __future__ import annotations


class Refusal(Exception):
    """What is wrong and what to do about it, in one sentence."""


def say(text: str) -> None:
    """One line in the container's log."""
    print(f"scheduler: {text}", flush=True)
