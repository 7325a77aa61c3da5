"""Docker Compose v2 for the comparison: Debian trixie's, beside the system and not part of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.places import LOCAL
from tools.words import FailureError, say

PACKAGE = "docker-compose"
VERSION = "2.26.1-4"
SHA256 = "c0ef2e286ba1c45bf1868b70a1c71d30a802bb3996888f2f986c3166f9e45f57"
"""Of the executable in the package for amd64."""

EXECUTABLE = LOCAL / "bench-tools" / "docker-compose"

SOURCE = """Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def ensure() -> Path:
    """The path of Docker Compose, downloaded if it is not there. Raises FailureError where it cannot be had or is another one."""
    if not EXECUTABLE.exists():
        if shutil.which("apt-get") is None:
            raise FailureError("the comparison takes Docker Compose from Debian: run it on Debian 12 or later, with apt-get")
        say(f"Docker Compose: downloading {PACKAGE} {VERSION} of Debian trixie")
        _download()
    if hashlib.sha256(EXECUTABLE.read_bytes()).hexdigest() != SHA256:
        raise FailureError(
            f"{EXECUTABLE.relative_to(LOCAL.parent)} is not the executable of {PACKAGE} {VERSION} for amd64: remove it and run"
            " this again"
        )
    return EXECUTABLE


def _download() -> None:
    """Lists, cache and sources are apt's own for this once: it checks the signatures, and the system learns nothing of trixie."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # apt gives up root for the download.
        folder.chmod(0o755)
        (folder / "trixie.sources").write_text(SOURCE, encoding="utf-8")
        (folder / "status").touch()
        options = {
            "Dir::Etc::sourcelist": folder / "trixie.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",
        }
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        words = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
        for command in (["update"], ["download", f"{PACKAGE}={VERSION}"]):
            subprocess.run([*words, *command], cwd=folder, check=True, capture_output=True, text=True)
        package = next(folder.glob(f"{PACKAGE}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "content")], check=True, capture_output=True, text=True)
        EXECUTABLE.parent.mkdir(parents=True, exist_ok=True)
        beside = EXECUTABLE.with_suffix(".new")
        shutil.copy(folder / "content" / "usr" / "bin" / "docker-compose", beside)
        beside.chmod(0o755)
        os.replace(beside, EXECUTABLE)
