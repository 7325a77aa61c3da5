"""Write an archive of a running stack: `python -m tools.backup STACK [FILE]`.

The copying is that of the scheduled job (`components/resources/backup.sh`), in throw-away containers. The archive comes
through their output, so the Docker Engine may be on another machine.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from components import backup, images
from components.settings import Settings
from components.workload import container_name, resource
from tools import archive, docker_engine, pulumi, stack
from tools.places import stack_file
from tools.throwaway import Throwaway
from tools.words import FailureError, main, say

STATE, STACK_FILE = "state.json", "stack.yaml"
"""Members with Pulumi's state (its secrets encrypted, as it stores them) and the stack's settings."""


def _arguments() -> tuple[str, Path]:
    if not 2 <= len(sys.argv) <= 3 or not sys.argv[1]:
        raise FailureError("name a stack, and a file if you like, for example: scripts/backup dev dev.tar")
    name = sys.argv[1]
    default = f"kopano-{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    file = Path(sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] else default)
    if file.exists():
        raise FailureError(f"{file} is there already: name another file, or remove it")
    if not os.access(file.absolute().parent, os.W_OK):
        raise FailureError(f"{file.absolute().parent} is no folder that can be written: name a file in another one")
    return name, file


def _inspect(container: str) -> dict[str, Any]:
    return dict(json.loads("\n".join(stack.docker("inspect", container)))[0])


def _needed(config: Settings) -> dict[str, dict[str, Any]]:
    """The containers whose programs make the archive: block -> what the engine knows of it. Raises FailureError where one does
    not run."""
    there = {container.block: container for container in stack.containers(config.stack)}
    blocks = {
        images.sibling(config, block) for block in ("backup", "backup-ldap") if block == "backup" or "ldap" in config.enabled
    }
    for block in sorted(blocks):
        if block not in there or not there[block].state.startswith("Up"):
            raise FailureError(
                f"block {block} of stack {config.stack} does not run, and a backup needs it: make up STACK={config.stack}"
            )
    return {block: _inspect(there[block].name) for block in blocks}


@contextmanager
def _room(name: str) -> Iterator[str]:
    """A volume in which the archive is made, and which is there once: for one backup of a stack at a time."""
    volume = f"kopano-{name}-backup-room"
    if volume in stack.docker("volume", "ls", "--quiet"):
        # Of a run that was killed; one that still runs holds it.
        if stack.docker("ps", "--quiet", "--filter", f"volume={volume}"):
            raise FailureError(f"another backup of stack {name} is running: wait for its end")
        stack.docker("volume", "rm", volume)
    stack.docker("volume", "create", "--label", f"kopano.room={name}", volume)
    try:
        yield volume
    finally:
        stack.docker("volume", "rm", "--force", volume)


def _more(name: str) -> bytes:
    """What only this checkout knows of the stack, as a tar: its state and its settings."""
    packed = io.BytesIO()
    state = pulumi.run("stack", "export", "--stack", name, quiet=True).stdout.encode()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for member, content in ((STATE, state), (STACK_FILE, stack_file(name).read_bytes())):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def write(name: str, target: IO[bytes]) -> None:
    """Write the archive of a stack to `target`. Raises FailureError where a part of it cannot be copied."""
    config, outputs = stack.load_settings(name), stack.outputs(name)
    running = _needed(config)
    on_host = set(stack.docker("volume", "ls", "--quiet"))
    if gone := sorted(set(outputs["volumes"].values()) - on_host):
        raise FailureError(f"volume {gone[0]} of stack {name} is not on the Docker host: see make doctor")
    more = _more(name)
    maker = running[images.sibling(config, "backup")]
    variables = {**backup.environment(config), "BACKUP_ABOUT": backup.about(config, outputs["images"], state=True)}
    network = "none"
    if "db" in config.enabled:
        there = dict(line.split("=", 1) for line in maker["Config"]["Env"])
        variables |= {key: there[key] for key in ("MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD")}
        variables["MYSQL_HOST"], network = "db", outputs["networks"]["kopano"]
    with _room(name) as room:

        def step(step: str, image: str, mounts: dict[str, str], network: str = "none") -> Throwaway:
            return Throwaway(
                name=container_name(config, "backup-run"),
                image=image,
                script=resource(backup.SCRIPT),
                arguments=[backup.SCRIPT, step],
                mounts={room: backup.ARCHIVES_PATH, **mounts},
                capabilities=backup.CAPABILITIES,
                network=network,
                variables=variables,
            )

        copied = backup.copied(outputs["volumes"])
        failed = f"stack {name} was not backed up"
        say(f"copying the database, and {len(copied)} volumes")
        volumes = {str(volume): f"{backup.VOLUMES_PATH}/{each}:ro" for each, volume in copied.items()}
        step("collect", maker["Image"], volumes, network).run(failed)
        if "ldap" in config.enabled:
            say("copying the directory")
            paths = {outputs["volumes"][each]: path for each, path in backup.DIRECTORY_PATHS.items()}
            step("directory", running["ldap"]["Image"], paths).run(failed)
        say("writing the archive")
        step("stream", maker["Image"], {}).run(failed, feed=lambda pipe: _write(pipe, more), output=target)


def _write(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(content)


def _command() -> int:
    name, file = _arguments()
    docker_engine.of_stack(name)
    docker_engine.ensure()
    if not stack.exists(name):
        raise FailureError(f"this checkout has no stack {name}: run this where it was deployed from")
    part = file.with_name(f".{file.name}.part")
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise FailureError(
            f"{part} is there already, of a backup that runs or was killed: remove it in the second case"
        ) from None
    try:
        with open(descriptor, "wb") as target:
            write(name, target)
            target.flush()
            os.fsync(target.fileno())
        written = archive.verify(part)
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)
    say(f"{file} has all of stack {name} as of {written.manifest['time']} ({file.stat().st_size // 1024} KB)")
    for what, why in written.manifest["leftOut"].items():
        say(f"without the {what}: {why}")
    say("keep .local/passphrase with it: without that passphrase its passwords and certificates cannot be read")
    return 0


if __name__ == "__main__":
    main(_command)
