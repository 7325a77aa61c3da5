"""List what the live tests prove about the arrows between blocks: `python -m tools.arrows` writes docs/arrows.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tools.places import ROOT

PAGE = ROOT / "docs" / "arrows.md"
HEAD = """# Arrows

Each arrow between two blocks, and the test on a running stack that shows it. Made from the tests by `make arrows`.

| arrow | what is shown | test |
| --- | --- | --- |
"""


FOLDERS = tuple(ROOT / "tests" / folder for folder in ("live", "recovery", "environments"))


def arrows() -> Iterator[tuple[str, str, str]]:
    """Arrow, what is shown, and the test, for each live test whose docstring begins with "A -> B: ..."."""
    for path in sorted(path for folder in FOLDERS for path in folder.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            arrow, colon, shown = (ast.get_docstring(node) or "").partition("\n")[0].partition(": ")
            if colon and " -> " in arrow:
                yield arrow, shown.rstrip("."), f"{path.stem}::{node.name}"


def page() -> str:
    """The content of docs/arrows.md."""
    return HEAD + "".join(f"| {arrow} | {shown} | `{test}` |\n" for arrow, shown, test in sorted(arrows()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
