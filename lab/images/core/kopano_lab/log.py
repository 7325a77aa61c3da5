"""Log lines of the services, on standard output."""

from __future__ import annotations

import logging
import sys

_LEVELS = (logging.CRITICAL, logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)


def setup(level: int, timestamp: bool) -> None:
    """Log from this Kopano level (0 to 6) on; what an operator must see is logged as a warning or worse."""
    form = "%(asctime)s: [%(levelname)s] %(message)s" if timestamp else "[%(levelname)s] %(message)s"
    logging.basicConfig(stream=sys.stdout, level=_LEVELS[min(level, 6)], format=form)
    logging.addLevelName(NOTICE, "NOTICE")


NOTICE = logging.WARNING + 1


def notice(message: str, *values: object) -> None:
    """A line that belongs to normal work and is always of interest."""
    logging.log(NOTICE, message, *values)
