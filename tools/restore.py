"""Bring a stack back from an archive: `python -m tools.restore STACK FILE`.

Only into a stack of which nothing is on the Docker host. The volumes are filled before anything runs, so that no mail can come
between; then `make up` starts the stack on them, with the passwords and certificates that the archive has.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components import backup, images
from components.db import ACCOUNT
from components.settings import Settings
from components.workload import container_name, resource
from tools import docker_engine, pulumi, setup, stack
from tools.archive import Archive, verify
from tools.backup import STACK_FILE, STATE
from tools.places import ROOT, environment, stack_file
from tools.throwaway import Throwaway
from tools.words import FailureError, main, say

SCRIPT = "restore.sh"
# What it takes to write files of any owner and mode.
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID")
SERVER_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")
VOLUME = re.compile(r"volume-([a-z0-9]+)\.tar\.gz")


def _arguments() -> tuple[str, Path]:
    if len(sys.argv) != 3 or not sys.argv[1] or not sys.argv[2]:
        raise FailureError("name a stack and an archive, for example: scripts/restore dev dev.tar")
    return sys.argv[1], Path(sys.argv[2])


def check_empty(name: str, volumes: set[str]) -> None:
    """Raise FailureError where the Docker host has anything of the stack: containers, or volumes with its label or of the names
    that it would have."""
    there = [container.name for container in stack.containers(name)]
    there += sorted(set(stack.volumes(name)) | volumes & set(stack.docker("volume", "ls", "--quiet")))
    if there:
        raise FailureError(
            f"the Docker host has {', '.join(there[:3])}{', ...' if there[3:] else ''} of stack {name}, and an archive is"
            f" restored only where there is nothing: make purge STACK={name} removes it with its data, or name another stack"
        )


def portable(exported: dict[str, Any], name: str) -> dict[str, Any]:
    """What of a state holds on another Docker host and under another name: passwords, keys and certificates, with what they
    belong to. Nothing that is on the Docker host, which is made anew."""
    resources = (exported.get("deployment") or {}).get("resources") or []
    known = {entry["urn"]: entry for entry in resources}
    kept: set[str] = set()

    def keep(urn: str) -> None:
        if urn in known and urn not in kept:
            kept.add(urn)
            keep(known[urn].get("parent", ""))
            keep(known[urn].get("provider", "").rpartition("::")[0])

    for entry in resources:
        if entry["type"].startswith(("random:", "tls:", "pulumi:pulumi:Stack")):
            keep(entry["urn"])
    deployment = {key: value for key, value in (exported.get("deployment") or {}).items() if key != "pending_operations"}
    deployment["resources"] = [_without_others(entry, kept) for entry in resources if entry["urn"] in kept]
    # The name is part of each resource's.
    text = json.dumps({**exported, "deployment": deployment})
    return dict(json.loads(re.sub(r'"urn:pulumi:[^:"]+::', f'"urn:pulumi:{name}::', text)))


def _without_others(entry: dict[str, Any], kept: set[str]) -> dict[str, Any]:
    """The resource without its dependencies on what is not kept."""
    trimmed = dict(entry)
    if "dependencies" in entry:
        trimmed["dependencies"] = [urn for urn in entry["dependencies"] or [] if urn in kept]
    if "propertyDependencies" in entry:
        of_properties = entry["propertyDependencies"] or {}
        trimmed["propertyDependencies"] = {key: [urn for urn in urns or [] if urn in kept] for key, urns in of_properties.items()}
    return trimmed


@contextmanager
def _stack(name: str, archive: Archive) -> Iterator[Settings]:
    """The stack's settings, of a stack that is there; if what follows fails, what was made for it is removed again.

    Neither its file nor its passphrase may be a new one where the archive needs the old one.
    """
    file = stack_file(name)
    taken = not file.exists() and STACK_FILE in archive.members and archive.manifest["stack"] == name
    variables = environment()
    if STATE in archive.members and not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(variables):
        raise FailureError(
            "the passwords and certificates in the archive are encrypted with a passphrase that this checkout does not have:"
            " write that of the checkout that made it into .local/passphrase, or set PULUMI_CONFIG_PASSPHRASE; nothing was"
            " touched"
        )
    made = not stack.exists(name)
    if taken:
        file.write_bytes(archive.read(STACK_FILE))
        say(f"{file.name}: taken from the archive")
    try:
        try:
            stack.ensure(name)
            config = stack.load_settings(name)
        except subprocess.CalledProcessError as error:
            _explain(error.stderr)
            raise
        yield config
    except BaseException:
        if made:
            pulumi.run("stack", "rm", name, "--yes", "--force", "--preserve-config", quiet=True, check=False)
        if taken:
            file.unlink()
        raise


@contextmanager
def _secrets(name: str, archive: Archive) -> Iterator[None]:
    """The stack with the secrets of the archive; as it was before, if what follows fails."""
    before = dict(json.loads(pulumi.run("stack", "export", "--stack", name, quiet=True).stdout))
    # Where the archive has no state, that of a stack whose Docker host was lost has the passwords too.
    state = json.loads(archive.read(STATE)) if STATE in archive.members else before
    try:
        _import(name, portable(state, name))
        yield
    except BaseException:
        _import(name, before)
        raise


def _import(name: str, state: dict[str, Any]) -> None:
    if not state["deployment"].get("resources"):
        return
    command = [pulumi.executable(), "stack", "import", "--stack", name]
    done = subprocess.run(
        command, input=json.dumps(state), cwd=ROOT, env=environment(), text=True, capture_output=True, check=False
    )
    if done.returncode:
        _explain(done.stderr)
    done.check_returncode()


def _explain(said: str) -> None:
    """Raise FailureError where the CLI failed for want of the right passphrase."""
    if "incorrect passphrase" in said:
        raise FailureError(
            "the passphrase of this checkout does not open the archive: write that of the checkout that made the archive into"
            " .local/passphrase, or set PULUMI_CONFIG_PASSPHRASE; nothing was touched"
        ) from None


def _database_variables(config: Settings) -> dict[str, str]:
    """The variables with which the database makes its accounts. Those of the state, or ones that `up` changes to its own."""
    shown = pulumi.run(
        "stack", "output", "database", "--json", "--show-secrets", "--stack", config.stack, quiet=True, check=False
    )
    known = json.loads(shown.stdout).get("password") if shown.returncode == 0 else None
    return {
        "MYSQL_DATABASE": config.database_name,
        "MYSQL_USER": ACCOUNT,
        "MYSQL_PASSWORD": known or secrets.token_urlsafe(24),
        "MYSQL_ROOT_PASSWORD": secrets.token_urlsafe(24),
    }


class Filling:
    """Makes the volumes of a stack and fills them from an archive, in containers that are gone when a volume is full."""

    def __init__(self, config: Settings, archive: Archive) -> None:
        self._config, self._archive = config, archive
        self._made: list[str] = []

    def volumes(self) -> set[str]:
        """The names of the volumes that the archive fills, on the Docker host."""
        names = [match[1] for member in self._archive.members if (match := VOLUME.fullmatch(member))]
        names += ["mysql"] if "database.sql.gz" in self._archive.members else []
        names += ["ldap", "slapd"] if "directory.ldif.gz" in self._archive.members else []
        return {self._name(name) for name in names}

    def run(self) -> None:
        """Fill all of them. What was made is removed if one cannot be filled."""
        try:
            for volume in sorted(self.volumes()):
                # By this label `up` knows that its data has been brought here on purpose.
                labels = [f"kopano.stack={self._config.stack}", f"kopano.restored={self._archive.manifest['time']}"]
                stack.docker("volume", "create", *[word for label in labels for word in ("--label", label)], volume)
                self._made.append(volume)
            self._files()
            if "directory.ldif.gz" in self._archive.members:
                self._directory()
            if "database.sql.gz" in self._archive.members:
                self._database()
        except BaseException:
            for volume in self._made:
                subprocess.run(["docker", "volume", "rm", volume], check=False, capture_output=True)
            raise

    def _name(self, volume: str) -> str:
        return self._config.data_volume(volume)

    def _step(self, member: str, block: str, mounts: dict[str, str], *arguments: str, **more: Any) -> None:
        more.setdefault("capabilities", CAPABILITIES)
        Throwaway(
            name=container_name(self._config, "restore-run"),
            image=images.reference(self._config, block),
            script=resource(SCRIPT),
            arguments=[SCRIPT, *arguments],
            mounts={self._name(volume): path for volume, path in mounts.items()},
            **more,
        ).run(
            f"stack {self._config.stack} was not restored, and its volumes are removed again: {member}",
            feed=lambda pipe: self._archive.copy(member, pipe),
        )

    def _files(self) -> None:
        for member in sorted(self._archive.members):
            if match := VOLUME.fullmatch(member):
                say(f"volume {match[1]}")
                if match[1] == "mailstate" and "mail-queue.tar.gz" in self._archive.members:
                    # As it was before the database was copied; then what came later.
                    self._step("mail-queue.tar.gz", "backup", {"mailstate": "/volume"}, "volume")
                self._step(member, "backup", {match[1]: "/volume"}, "volume")

    def _directory(self) -> None:
        say("the directory")
        self._step("directory-config.ldif.gz", "backup-ldap", backup.DIRECTORY_PATHS, "directory", "0")
        self._step("directory.ldif.gz", "backup-ldap", backup.DIRECTORY_PATHS, "directory", "1")
        self._step("directory-files.tar.gz", "backup-ldap", {"slapd": "/volume"}, "volume")

    def _database(self) -> None:
        say("the database")
        image = images.reference(self._config, "db")
        subprocess.run(["docker", "pull", "--quiet", image], check=False, capture_output=True)
        inspected = json.loads("\n".join(stack.docker("image", "inspect", image)))[0]["Config"]
        self._step(
            "database.sql.gz",
            "db",
            {"mysql": "/var/lib/mysql"},
            "database",
            *(inspected["Entrypoint"] or []),
            *(inspected["Cmd"] or []),
            variables=_database_variables(self._config),
            capabilities=SERVER_CAPABILITIES,
            tmpfs=("/tmp", "/run/mysqld"),
        )


def _check_settings(config: Settings, archive: Archive) -> None:
    """Raise FailureError where the stack's settings do not go with the archive."""
    for member, block, setting in (("database.sql.gz", "db", "database"), ("directory.ldif.gz", "ldap", "directory")):
        if member in archive.members and block not in config.enabled:
            raise FailureError(
                f"the archive has a {setting}, and Pulumi.{config.stack}.yaml says that the block {block} is off: restore it with"
                f" the block on, and move the {setting} afterwards"
            )
    base = archive.manifest["ldapBaseDn"]
    if "directory.ldif.gz" in archive.members and base != config.ldap_base_dn:
        raise FailureError(
            f"the directory in the archive has the base {base}, and Pulumi.{config.stack}.yaml makes it {config.ldap_base_dn}:"
            f" set kopano:ldapBaseDn to {base}"
        )


def _command() -> int:
    name, file = _arguments()
    say(f"verifying {file}")
    archive = verify(file)
    docker_engine.of_stack(name)
    setup.setup()
    check_empty(name, set())
    with _stack(name, archive) as config:
        # The stack file may be the archive's.
        docker_engine.of_stack(name)
        _check_settings(config, archive)
        filling = Filling(config, archive)
        check_empty(name, filling.volumes())
        if config.image_source == "lab":
            setup.images()
        with _secrets(name, archive):
            filling.run()
    say(f"stack {name} has the data of {archive.manifest['time']}; start it: make up STACK={name}")
    for what, why in archive.manifest["leftOut"].items():
        say(f"the archive has no {what}: {why}")
    return 0


if __name__ == "__main__":
    main(_command)
