"""Build the Pulumi CLI where no download site answers: `python -m lab.engine.build FOLDER`.

The CLI is the command of the Go module `github.com/pulumi/pulumi/pkg/v3`. The Python language host left that family of modules
after `sdk/v3` 3.68.0; that release still works with today's CLI as long as the virtual environment's `python` is first on PATH.
Its helper `pulumi-language-python-exec` is a script in today's `sdk/v3`. Each has a module of its own here, since their
dependencies contradict each other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CLI = "github.com/pulumi/pulumi/pkg/v3"
SDK = "github.com/pulumi/pulumi/sdk/v3"


def version(module: str, name: str) -> str:
    """The version, such as v3.274.1, that the module in folder `module` requires of the Go module `name`."""
    for line in (HERE / module / "go.mod").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if name in words:
            found = words[words.index(name) + 1]
            if found.startswith("v"):
                return found
    raise LookupError(f"lab/engine/{module}/go.mod requires no {name}.")


def _go(go: str, module: str, *arguments: str) -> str:
    """Run a Go command in one of the modules and return what it prints. A toolchain of another version is never downloaded."""
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run([go, *arguments], cwd=HERE / module, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"go {arguments[0]} failed in lab/engine/{module}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def build(go: str, target: Path) -> None:
    """Build the three executables into `target` with the Go command `go`. Raises RuntimeError with what Go said."""
    target.mkdir(parents=True, exist_ok=True)
    for module, package, name, required in (
        ("language", f"{SDK}/python/cmd/pulumi-language-python", "pulumi-language-python", SDK),
        ("cli", f"{CLI}/cmd/pulumi", "pulumi", CLI),
    ):
        release = version(module, required)
        flags = f"-s -w -X {SDK}/go/common/version.Version={release}"
        # Built beside its place and renamed, so that an interrupted build leaves no half of a program.
        part = target / f".{name}"
        _go(go, module, "build", "-trimpath", "-ldflags", flags, "-o", str(part), package)
        part.rename(target / name)
    sources = Path(_go(go, "cli", "list", "-m", "-f", "{{.Dir}}", SDK))
    script = target / "pulumi-language-python-exec"
    shutil.copyfile(sources / "python" / "cmd" / script.name, script.with_suffix(".sdk"))
    shutil.copyfile(HERE / "exec.py", script)
    script.chmod(0o755)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lab.engine.build FOLDER")
    try:
        build(shutil.which("go") or "go", Path(sys.argv[1]).resolve())
    except (RuntimeError, LookupError) as error:
        sys.exit(f"error: {error}")
