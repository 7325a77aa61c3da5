"""How the commands speak: progress in words, and one sentence for each failure."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable


class FailureError(Exception):
    """Something that a person has to mend. Its text is one sentence: what, where, and what to do."""


def say(text: str) -> None:
    """Print a line of progress at once, also when the output is a pipe."""
    print(f"==> {text}", flush=True)


def main(command: Callable[[], int | None]) -> None:
    """Run a command as a program: a failure or an interruption becomes one line, never a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that starts it in the background has it ignored, and all programs below would inherit that. The CLI ends its
        # helpers by an interrupt: it would wait five seconds for each of its runs to end, and kill them.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(command() or 0)
    except FailureError as failure:
        sys.exit(f"error: {failure}")
    except subprocess.CalledProcessError as error:
        words = " ".join(map(str, error.cmd[:3]))
        said = (error.stderr or b"" if not isinstance(error.stderr, str) else error.stderr) or ""
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        sys.exit(f"error: '{words} ...' failed with exit code {error.returncode}: {said.strip()[-1500:] or 'it said nothing'}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run the same command again to go on")
