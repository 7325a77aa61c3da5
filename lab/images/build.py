"""Builds the lab's images that the Docker Engine does not have yet: `python -m lab.images.build [IMAGE ...]`."""

from __future__ import annotations

import argparse
import graphlib
import os
import re
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from lab.images import catalog

SUITE = "bookworm"
PUBLISHED_ROOTFS = f"debian:{SUITE}-slim"
OWN_ROOTFS = f"{catalog.REPOSITORY}/rootfs:{SUITE}"
REGISTRY_PATIENCE = 8.0
LABEL = "kopano.lab=true"
UNNEEDED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
"""Folders that no image needs; left out by dpkg from the root file system on."""


class BuildError(Exception):
    """Something that stops the build, told in one sentence."""


def say(text: str) -> None:
    """Progress, at once also where the output is a pipe."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: 0 when every asked image is there."""
    parser = argparse.ArgumentParser(prog="python -m lab.images.build", description=__doc__)
    parser.add_argument(
        "image", nargs="*", help="an image of the lab, of an example or of a test; all of the lab if none is named"
    )
    parser.add_argument("--prune", action="store_true", help="remove older builds that nothing uses, build nothing")
    options = parser.parse_args(arguments)
    try:
        if options.prune:
            prune()
        else:
            build(options.image or catalog.names())
    except (BuildError, LookupError) as problem:
        print(f"lab images: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab images: interrupted; the next run goes on where this one stopped.", file=sys.stderr)
        return 130
    return 0


def missing(images: Sequence[str], present: set[str]) -> dict[str, list[str]]:
    """Images to build, each with those among them that come before it."""
    found: dict[str, list[str]] = {}
    queue = list(images)
    while queue:
        image = queue.pop()
        if image in found or catalog.reference(image) in present:
            continue
        found[image] = catalog.parents(image)
        queue += found[image]
    return {image: [parent for parent in before if parent in found] for image, before in found.items()}


def build(images: Sequence[str]) -> None:
    """Build what is missing of these images and of those they stand on, two at a time."""
    todo = missing(images, present())
    if not todo:
        say("lab images: nothing to do, all are built.")
        return
    say(f"lab images: to build: {', '.join(sorted(todo))}.")
    order = graphlib.TopologicalSorter(todo)
    order.prepare()
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(max_workers=2) as pool:
        try:
            while order.is_active():
                running |= {pool.submit(_build, image): image for image in sorted(order.get_ready())}
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    image = running.pop(future)
                    future.result()
                    order.done(image)
        except BaseException:
            for future in running:
                future.cancel()
            raise


def prune() -> None:
    """Remove builds of the lab whose reference is not of this checkout and that no container uses."""
    wanted = {catalog.reference(image) for image in [*catalog.names(), *catalog.examples(), *catalog.tests()]} | {OWN_ROOTFS}
    used = set(_docker("container", "ls", "--all", "--format", "{{.Image}}"))
    old = sorted(present() - wanted - used)
    for reference in old:
        # The engine itself refuses to remove an image that a container uses by id.
        done = subprocess.run(["docker", "image", "rm", reference], capture_output=True, text=True)
        say(f"lab images: removed {reference}." if done.returncode == 0 else f"lab images: kept {reference}: in use.")
    if not old:
        say("lab images: nothing to remove.")


def pack(image: str, stream: IO[bytes]) -> None:
    """Write the build context: exactly the files that the reference is a digest of, nothing of this machine."""
    folder = catalog.folder_of(image)
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in catalog.files(image):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = 0o755 if catalog.executable(path) else 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)
    stream.seek(0)


def _build(image: str) -> None:
    started = time.monotonic()
    bases = {parent.upper(): catalog.reference(parent) for parent in catalog.parents(image)}
    if image == "base":
        bases[catalog.ROOTFS] = _rootfs()
    environment = _proxied()
    arguments = [f"{name}={value}" for name, value in bases.items()]
    # Named without a value the client takes it from the environment: a proxy's password stays off the command line.
    arguments += [name for name in ("http_proxy", "https_proxy", "no_proxy") if environment.get(name)]
    command = ["docker", "build", "--force-rm", "--label", LABEL, "--tag", catalog.reference(image)]
    for argument in arguments:
        command += ["--build-arg", argument]
    if urlsplit(environment.get("http_proxy", "")).hostname in ("localhost", "127.0.0.1", "::1"):
        command += ["--network", "host"]
    with tempfile.TemporaryFile() as stream:
        pack(image, stream)
        _logged(image, [*command, "-"], stdin=stream, environment=environment)
    say(f"{image}: built in {time.monotonic() - started:.0f} s")


def _rootfs() -> str:
    """A Debian root file system on the engine: what is there, else the registry's, else one made here."""
    for reference in (PUBLISHED_ROOTFS, OWN_ROOTFS):
        if subprocess.run(["docker", "image", "inspect", reference], capture_output=True).returncode == 0:
            say(f"base: on {reference}, which the engine has")
            return reference
    say(f"base: asking the registry for {PUBLISHED_ROOTFS} ...")
    if _pulled():
        return PUBLISHED_ROOTFS
    say("base: no registry answers")
    _debootstrap()
    return OWN_ROOTFS


def _pulled() -> bool:
    command = ["docker", "pull", PUBLISHED_ROOTFS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        # The first line of output means that a registry has answered; the download itself may take its time.
        if process.stdout and not select.select([process.stdout], [], [], REGISTRY_PATIENCE)[0]:
            process.kill()
        process.communicate()
    return process.returncode == 0


def _debootstrap() -> None:
    if os.geteuid() != 0:
        raise BuildError(
            f"making a Debian root file system needs root: run this once as root, or load {PUBLISHED_ROOTFS} into the engine."
        )
    if not shutil.which("debootstrap"):
        raise BuildError(
            f"debootstrap is missing: run 'apt-get install debootstrap' (on Ubuntu also "
            f"debian-archive-keyring), or load {PUBLISHED_ROOTFS} into the engine."
        )
    say("base: Debian root file system by debootstrap ...")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kopano-lab-rootfs-", dir="/var/tmp") as folder:
        # A mount name space of its own: whatever debootstrap mounts below the folder is gone when it ends, however
        # it ends, and removing the folder cannot reach it.
        command = ["unshare", "--mount", "debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, folder]
        mirror = _mirror("Debian")
        _logged("base", command + ([mirror] if mirror else []), environment=_proxied())
        root = Path(folder)
        _slim(root)
        sources = root / "etc/apt/sources.list"
        sources.write_text(with_security(sources.read_text(), _mirror("Debian-Security")))
        excluded = [
            f"--exclude=./{path}/*"
            for path in ("dev", "proc", "sys", "tmp", "var/cache/apt/archives", "var/lib/apt/lists", "var/log", *UNNEEDED)
        ]
        _import(["tar", "-C", folder, "--numeric-owner", *excluded, "-c", "."])
    say(f"base: root file system made in {time.monotonic() - started:.0f} s")


def _import(archiver: list[str]) -> None:
    with tempfile.TemporaryFile() as log, subprocess.Popen(archiver, stdout=subprocess.PIPE, stderr=log) as tar:
        imported = subprocess.run(
            ["docker", "import", "--change", f"LABEL {LABEL}", "-", OWN_ROOTFS], stdin=tar.stdout, capture_output=True, text=True
        )
        if imported.returncode:
            tar.kill()
        if tar.wait() or imported.returncode:
            log.seek(0)
            raise BuildError(f"the root file system could not be imported: {(imported.stderr or log.read().decode()).strip()}")


def with_security(sources: str, mirror: str | None) -> str:
    """The apt sources that debootstrap wrote, with the lines for updates of the release and of its security."""
    kind, address, suite, *components = sources.split()
    security = mirror or re.sub(r"/debian/?$", "/debian-security", address)
    lines = [(address, suite), (address, f"{suite}-updates")]
    if security != address:
        lines.append((security, f"{suite}-security"))
    return "".join(f"{kind} {uri} {name} {' '.join(components)}\n" for uri, name in lines)


def _slim(root: Path) -> None:
    lines = [f"path-exclude=/{path}/*\n" for path in UNNEEDED] + ["path-include=/usr/share/doc/*/copyright\n"]
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text("".join(lines))


def _mirror(label: str) -> str | None:
    """Where this machine's apt gets that archive from: in a closed network nothing else may answer."""
    if not shutil.which("apt-get"):
        return None
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"], capture_output=True, text=True
    ).stdout
    for line in listed.splitlines():
        name, _, address = line.partition(" ")
        if name == label and address.startswith(("http://", "https://")):
            return address
    return None


def _proxied() -> dict[str, str]:
    """The environment, with the proxy of this machine's apt if it has one."""
    environment = dict(os.environ) | {"DOCKER_BUILDKIT": "0", "LC_ALL": "C.UTF-8"}
    if shutil.which("apt-config"):
        told = subprocess.run(
            ["apt-config", "--format", "%v%n", "dump", "Acquire::http::Proxy"], capture_output=True, text=True
        ).stdout.split()
        if told and told[0] != "DIRECT":
            environment["http_proxy"] = told[0]
    return environment


def _logged(image: str, command: list[str], *, environment: dict[str, str], stdin: IO[bytes] | None = None) -> None:
    """Run a long command: its stages as progress, its output only if it fails."""
    handle, name = tempfile.mkstemp(prefix=f"kopano-lab-{image}-", suffix=".log")
    with (
        open(handle, "w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            if stage := progress(line):
                say(f"{image}: {stage}")
    path = Path(name)
    if process.returncode:
        last = "".join(path.read_text("utf-8").splitlines(keepends=True)[-15:])
        raise BuildError(f"{image} could not be built; the whole log is in {path}, its last lines are:\n{last}")
    path.unlink()


def progress(line: str) -> str | None:
    """What a line of `docker build` or debootstrap says about how far it is, if it is worth showing."""
    if step := re.match(r"Step (\d+)/(\d+) : (RUN .*)", line):
        number, total, command = step.groups()
        return f"step {number} of {total}: {' '.join(command.split())[:70]} ..."
    if stage := re.match(r"I: (Checking Release .*|(?:Unpacking|Configuring) (?:the base|required) .*)", line):
        return stage.group(1)
    return None


def present() -> set[str]:
    """The references of the lab's images that the Docker Engine has."""
    return set(_docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{catalog.REPOSITORY}/*"))


def _docker(*arguments: str) -> list[str]:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError("the docker command is missing: install the package docker.io, or run 'make up'.") from None
    if done.returncode:
        raise BuildError(f"the Docker Engine did not answer: {done.stderr.strip()}")
    return done.stdout.split()


if __name__ == "__main__":
    sys.exit(main())
