"""A page where somebody changes the own password, by the rights of nobody else."""

from __future__ import annotations


class Refusal(Exception):
    """A wrong setting, in one sentence."""


def say(text: str) -> None:
    """One line in the container's log."""
    print(f"password_self_service: {text}", flush=True)
