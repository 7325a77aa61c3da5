"""What a new password must be like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from self_service import Refusal

KINDS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "LOWERCASE": ("lower-case letters", str.islower),
    "UPPERCASE": ("upper-case letters", str.isupper),
    "DIGIT": ("digits", str.isdigit),
    "SPECIAL": ("characters that are neither letters nor digits", lambda character: not character.isalnum()),
}


@dataclass(frozen=True)
class Policy:
    """The rules; a number of 0 is no rule."""

    shortest: int
    longest: int
    least: Mapping[str, int]
    no_reuse: bool

    @classmethod
    def of_variables(cls, environ: Mapping[str, str]) -> Policy:
        """Read the PASSWORD_ variables."""
        policy = cls(
            _number(environ, "PASSWORD_MIN_LENGTH"),
            _number(environ, "PASSWORD_MAX_LENGTH"),
            {kind: _number(environ, f"PASSWORD_MIN_{kind}") for kind in KINDS},
            _flag(environ, "PASSWORD_NO_REUSE"),
        )
        if policy.longest and max(policy.shortest, sum(policy.least.values())) > policy.longest:
            raise Refusal(
                f"PASSWORD_MAX_LENGTH is {policy.longest}, and no password that short fulfils the PASSWORD_MIN_ variables: "
                "raise it, lower those, or give 0 for no limit."
            )
        return policy

    def rules(self) -> list[str]:
        """The rules for somebody who is choosing a password."""
        texts = []
        if self.shortest:
            texts.append(f"characters: at least {self.shortest}")
        if self.longest:
            texts.append(f"characters: at most {self.longest}")
        texts += [f"{KINDS[kind][0]}: at least {number}" for kind, number in self.least.items() if number]
        if self.no_reuse:
            texts.append("not the old password again")
        return texts

    def broken(self, old: str, new: str) -> list[str]:
        """The rules that this new password breaks."""
        texts = []
        if len(new) < self.shortest:
            texts.append(f"characters: at least {self.shortest}")
        if self.longest and len(new) > self.longest:
            texts.append(f"characters: at most {self.longest}")
        for kind, number in self.least.items():
            text, belongs = KINDS[kind]
            if sum(map(belongs, new)) < number:
                texts.append(f"{text}: at least {number}")
        if self.no_reuse and new == old:
            texts.append("not the old password again")
        return texts


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name) or "0"
    if not (value.isascii() and value.isdigit() and len(value) < 5):
        raise Refusal(f"{name} is '{value}': give a number from 0 (no rule) to 9999.")
    return int(value)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = (environ.get(name) or "false").lower()
    if value not in ("true", "false"):
        raise Refusal(f"{name} is '{value}': give true or false.")
    return value == "true"
