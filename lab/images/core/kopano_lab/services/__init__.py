"""What a container of this image can run: one module for each value of SERVICE_TO_START.

A module has `PROGRAM` (what is run) and `prepare(environ, checks)`: root's part, the drop to kopano, and the waits.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from kopano_lab.errors import Refusal

IMPLEMENTED = ("dagent", "gateway", "ical", "monitor", "search", "server", "spamd", "spooler")
PUBLISHED = ("dagent", "gateway", "grapi", "ical", "kapi", "monitor", "search", "server", "spamd", "spooler")


def find(name: str) -> ModuleType:
    """The module of a service."""
    if name in IMPLEMENTED:
        return import_module(f"kopano_lab.services.{name}")
    reason = "the lab does not have this service" if name in PUBLISHED else "there is no such service"
    raise Refusal(f"SERVICE_TO_START='{name}': {reason}: allowed is {', '.join(IMPLEMENTED)}.")
