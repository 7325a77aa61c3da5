"""Durations as Go programs write them: 1m30s, 500ms, 0s."""

from __future__ import annotations

import re

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")


def nanoseconds(text: str) -> int:
    """The length of a duration; ValueError when the text is none."""
    if text == "0":
        return 0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return round(sum(float(number) * _NANOSECONDS[unit] for number, unit in parts))


def written(length: int) -> str:
    """The canonical text of a duration in nanoseconds."""
    if length == 0:
        return "0s"
    if length < _NANOSECONDS["s"]:
        unit = next(name for name in ("ms", "us", "ns") if length >= _NANOSECONDS[name])
        return f"{_decimal(length, _NANOSECONDS[unit])}{unit}"
    hours, rest = divmod(length, _NANOSECONDS["h"])
    minutes, rest = divmod(rest, _NANOSECONDS["m"])
    seconds = f"{_decimal(rest, _NANOSECONDS['s'])}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(length: int, unit: int) -> str:
    whole, rest = divmod(length, unit)
    fraction = f"{rest / unit:.9f}"[2:].rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def problem(text: str) -> str | None:
    """What is wrong with a duration, if anything."""
    try:
        nanoseconds(text)
    except ValueError:
        return f"must be a duration such as 10s or 1m30s, got {text!r}"
    return None
