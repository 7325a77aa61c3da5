"""Refusals: what stops a service or a tool, told in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable


class Refusal(Exception):
    """A reason to stop, and the exit code that goes with it."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def told(program: str, action: Callable[[], int]) -> int:
    """Run the action; a refusal is printed as one line and becomes the exit code."""
    try:
        return action()
    except Refusal as refusal:
        print(f"{program}: {refusal}", file=sys.stderr, flush=True)
        return refusal.code
