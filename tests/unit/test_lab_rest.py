"""The rules of the lab's password page, which need no directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

IMAGES = Path(__file__).resolve().parents[2] / "lab" / "images"


@pytest.fixture
def policy() -> Iterator[ModuleType]:
    """The module as the image has it: a package of its own."""
    sys.path.insert(0, str(IMAGES / "password_self_service"))
    try:
        from self_service import policy as module  # type: ignore[import-not-found]

        yield module
    finally:
        sys.path.pop(0)


RULES = {
    "PASSWORD_MIN_LENGTH": "8",
    "PASSWORD_MAX_LENGTH": "12",
    "PASSWORD_MIN_LOWERCASE": "1",
    "PASSWORD_MIN_UPPERCASE": "1",
    "PASSWORD_MIN_DIGIT": "2",
    "PASSWORD_MIN_SPECIAL": "1",
    "PASSWORD_NO_REUSE": "true",
}


@pytest.mark.parametrize(
    ("new", "broken"),
    [
        ("Größe-42x", []),
        ("Aa-42", ["characters: at least 8"]),
        ("Aa-4200000000", ["characters: at most 12"]),
        ("AA-424242", ["lower-case letters: at least 1"]),
        ("aa-424242", ["upper-case letters: at least 1"]),
        ("Aa-aaaa4a", ["digits: at least 2"]),
        ("Aa4242424", ["characters that are neither letters nor digits: at least 1"]),
        ("Old-1234x", ["not the old password again"]),
    ],
)
def test_a_new_password_that_breaks_a_rule_is_told_which(policy: ModuleType, new: str, broken: list[str]) -> None:
    assert policy.Policy.of_variables(RULES).broken("Old-1234x", new) == broken


def test_without_rules_any_password_does_and_none_is_shown(policy: ModuleType) -> None:
    free = policy.Policy.of_variables({})
    assert free.rules() == []
    assert free.broken("a", "a") == []


def test_the_rules_shown_are_the_rules_kept(policy: ModuleType) -> None:
    rules = policy.Policy.of_variables(RULES)
    assert set(rules.broken("", "")) <= set(rules.rules())
    assert len(rules.rules()) == len(RULES)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PASSWORD_MIN_DIGIT": "two"}, "PASSWORD_MIN_DIGIT is 'two': give a number from 0 (no rule) to 9999."),
        ({"PASSWORD_NO_REUSE": "maybe"}, "PASSWORD_NO_REUSE is 'maybe': give true or false."),
        (RULES | {"PASSWORD_MAX_LENGTH": "7"}, "PASSWORD_MAX_LENGTH is 7, and no password that short"),
        ({"PASSWORD_MAX_LENGTH": "3", "PASSWORD_MIN_DIGIT": "4"}, "PASSWORD_MAX_LENGTH is 3, and no password that short"),
    ],
)
def test_rules_that_no_password_can_keep_are_refused(policy: ModuleType, variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(Exception, match="PASSWORD_") as refused:
        policy.Policy.of_variables(variables)
    assert str(refused.value).startswith(sentence)
