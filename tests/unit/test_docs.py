"""The documents say what is true."""

from __future__ import annotations

import re

from tools import arrows
from tools.graph import ROOT


def test_the_list_of_arrows_is_that_of_the_tests() -> None:
    assert len(list(arrows.arrows())) >= 20
    assert arrows.PAGE.read_text(encoding="utf-8") == arrows.page(), "run: make arrows"


def test_every_make_target_has_one_line_of_help_and_the_readme_names_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split())
    described = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert phony == described
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"make ([a-z-]+)", readme)) <= described


def test_every_measured_fact_is_answered_by_tests_that_exist() -> None:
    rows = [line.split("|")[1:-1] for line in (ROOT / "docs" / "facts.md").read_text(encoding="utf-8").splitlines()[6:]]
    assert len(rows) >= 25
    for fact, answer, tests in rows:
        if answer.strip() and tests.strip() != "-":
            named = re.findall(r"`(\w+)::(test_\w+)`", tests)
            assert named, fact
            for module, test in named:
                files = list((ROOT / "tests").glob(f"*/{module}.py"))
                assert any(f"def {test}(" in file.read_text(encoding="utf-8") for file in files), f"{fact}: {test}"


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
