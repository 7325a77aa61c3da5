"""Reads the services' configuration files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from kopano_lab.errors import Refusal

_OPTIONS = Path(__file__).resolve().parent.parent / "options.json"
_YES = {"yes", "true", "1", "on"}
_NO = {"no", "false", "0", "off", ""}


def known_options(file: str) -> set[str]:
    """Every option that the published service knows in this file."""
    return set(json.loads(_OPTIONS.read_text("utf-8"))[file] or ())


class Config:
    """The options of one file, over the service's defaults."""

    def __init__(
        self, file: str, values: Mapping[str, str], defaults: Mapping[str, str], propmap: Mapping[str, str] | None = None
    ) -> None:
        self.file = file
        self.propmap = dict(propmap or {})
        self.given = dict(values)
        self._defaults = dict(defaults)

    @classmethod
    def load(cls, path: Path, defaults: Mapping[str, str], known: Collection[str]) -> Config:
        """Read the file and what it includes; an option that is not known stops the service."""
        values: dict[str, str] = {}
        propmap: dict[str, str] = {}
        _read(path, values, propmap)
        unknown = sorted(set(values) - set(known))
        if unknown:
            names = ", ".join(f"KCCONF_{path.stem.upper()}_{name.upper()}" for name in unknown)
            raise Refusal(
                f"unknown option in {path.name}: {', '.join(unknown)}: remove {names} from the container's environment.", 255
            )
        return cls(path.name, values, defaults, propmap)

    def text(self, name: str) -> str:
        """The option as it is written."""
        return self.given.get(name, self._defaults[name])

    def number(self, name: str) -> int:
        """A whole number, not negative."""
        value = self.text(name)
        if not (value.isascii() and value.isdigit()):
            raise self._wrong(name, "must be a whole number, such as 60")
        return int(value)

    def flag(self, name: str) -> bool:
        """Yes or no."""
        value = self.text(name).lower()
        if value not in _YES | _NO:
            raise self._wrong(name, "must be yes or no")
        return value in _YES

    def without_effect(self) -> list[str]:
        """Options that are set and known, but that the lab's service does nothing with."""
        return sorted(set(self.given) - set(self._defaults))

    def _wrong(self, name: str, rule: str) -> Refusal:
        return Refusal(f"{self.file}: {name} = '{self.text(name)}' {rule}.", 255)


def _read(path: Path, values: dict[str, str], propmap: dict[str, str]) -> None:
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as problem:
        raise Refusal(f"configuration file {path} cannot be read: {problem.strerror}.", 255) from problem
    for line in lines:
        if line.startswith("!"):
            directive, _, argument = line[1:].partition(" ")
            other = path.parent / argument.strip()
            if directive == "include":
                _read(other, values, propmap)
            elif directive == "propmap":
                _read(other, propmap, propmap)
            else:
                raise Refusal(f"{path.name}: unknown directive '!{directive}': only !include and !propmap are known.", 255)
        elif "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            values[name.strip()] = value.strip()
