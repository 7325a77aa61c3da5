"""Names of the lab's images, and the reference under which each one is built.

A folder beside this file that has a Dockerfile is an image, and so are the folder `image` of each example and the folders
of `tests/environments/images`. The tag of an image is
a digest of everything it is made of, so an image that exists under its reference is up to date and a change makes a new one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
EXAMPLES = FOLDER.parents[1] / "examples"
TESTS = FOLDER.parents[1] / "tests" / "environments" / "images"
REPOSITORY = "kopano-lab"
ROOTFS = "ROOTFS"
"""Build argument of `base` alone: the Debian root file system, which is no image of this catalogue."""

_FROM = re.compile(r"^FROM\s+\$\{?([A-Z_]+)\}?", re.MULTILINE)


def names() -> list[str]:
    """All images, by name."""
    return sorted(path.parent.name for path in FOLDER.glob("*/Dockerfile"))


def examples() -> list[str]:
    """The examples' images, by the examples' names. They are no part of the lab and are built when they are asked for."""
    return sorted(path.parents[1].name for path in EXAMPLES.glob("*/image/Dockerfile"))


def tests() -> list[str]:
    """Images that only tests need, by name: what is outside of a stack. They are built when they are asked for."""
    return sorted(path.parent.name for path in TESTS.glob("*/Dockerfile"))


def parents(image: str) -> list[str]:
    """The images that this one is built on: `FROM ${LDAP}` in its Dockerfile means `ldap`."""
    arguments = _FROM.findall((folder_of(image) / "Dockerfile").read_text("utf-8"))
    return sorted({argument.lower() for argument in arguments if argument != ROOTFS})


def files(image: str) -> list[Path]:
    """Everything that the image is made of, in a fixed order."""
    folder = folder_of(image)
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(_is_left_over(part) for part in path.relative_to(folder).parts))


def _is_left_over(part: str) -> bool:
    """Caches that tools leave in a checkout; no image has a file with such a name."""
    return part == "__pycache__" or part.startswith(".")


def executable(path: Path) -> bool:
    """Whether the file is a program; no other part of its mode matters, as git keeps no other."""
    return bool(path.stat().st_mode & 0o100)


def reference(image: str) -> str:
    """The full reference of an image as it is in this checkout, such as `kopano-lab/ldap:0123456789ab`."""
    return f"{REPOSITORY}/{image}:{_digest(image)[:12]}"


def folder_of(image: str) -> Path:
    """The folder that is an image's build context. Raises LookupError where there is no such image."""
    if image in names():
        return FOLDER / image
    if image in examples():
        return EXAMPLES / image / "image"
    if image in tests():
        return TESTS / image
    raise LookupError(f"The lab has no image '{image}': it has {', '.join(names())}.")


def _digest(image: str) -> str:
    folder = folder_of(image)
    total = hashlib.sha256()
    for path in files(image):
        content = path.read_bytes()
        head = f"{path.relative_to(folder).as_posix()}\0{executable(path):d}\0{len(content)}\0"
        total.update(head.encode())
        total.update(content)
    for parent in parents(image):
        total.update(f"{parent}\0{_digest(parent)}\0".encode())
    return total.hexdigest()
