"""The list of Kopano's options: one file for the program, one for the lab's image, which has no other build context."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ROOT / "components" / "kopano_options.json"
COPY = ROOT / "lab" / "images" / "core" / "options.json"


@pytest.fixture(scope="module")
def options() -> dict[str, list[str] | None]:
    loaded: dict[str, list[str] | None] = json.loads(OPTIONS.read_text("utf-8"))
    return loaded


def test_program_and_image_have_the_same_list() -> None:
    assert OPTIONS.read_bytes() == COPY.read_bytes()


def test_names_are_sorted_lower_case_and_unique(options: dict[str, list[str] | None]) -> None:
    for names in filter(None, options.values()):
        assert names == sorted(set(names))
        assert all(name == name.lower() for name in names)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("server", "kcoidc_initialize_timeout"),
        ("server", "disabled_features"),
        ("server", "sslkeys_path"),
        ("ldap", "ldap_user_search_filter"),
        ("dagent", "lmtp_listen"),
        ("gateway", "imaps_listen"),
        ("ical", "ical_listen"),
        ("monitor", "sslkey_file"),
        ("search", "index_path"),
        ("spooler", "smtp_server"),
        ("spamd", "spam_dir"),
        ("admin", "default_store_locale"),
        ("autorespond", "senddb"),
    ],
)
def test_an_option_of_each_file_is_listed(options: dict[str, list[str] | None], file: str, name: str) -> None:
    assert name in (options[file] or [])


def test_files_whose_options_are_no_closed_list_have_none(options: dict[str, list[str] | None]) -> None:
    assert {file for file, names in options.items() if names is None} == {"grapi", "kapid", "webapp"}
