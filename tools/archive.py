"""Archives of a stack: what is in one, and whether all of it is as it was when it was made."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tools.words import FailureError

FORMAT = 1
BLOCK = 512
RECORD = 20 * BLOCK
"""Tar files are padded to this."""
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9]+){1,3}")
"""Names of members: no folders, nothing hidden, nothing that leads elsewhere."""
CHECKSUM = re.compile(rb"[0-7]{6}\0 ")
"""The form of a header's checksum, the only bytes that it does not cover."""
CHUNK = 1 << 20


class _DamageError(Exception):
    """What is wrong with an archive."""


@dataclass(frozen=True)
class Member:
    """A file in the archive: where its content begins, and its size, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Archive:
    """An archive that has been verified."""

    path: Path
    manifest: dict[str, Any]
    members: dict[str, Member]

    def copy(self, member: str, target: IO[bytes]) -> None:
        """Write a member's content to `target`."""
        found = self.members[member]
        with self.path.open("rb") as source:
            for chunk in _chunks(source, found):
                target.write(chunk)

    def read(self, member: str) -> bytes:
        """A small member's content."""
        found = self.members[member]
        with self.path.open("rb") as source:
            return b"".join(_chunks(source, found))


def verify(path: Path) -> Archive:
    """Read all of an archive and compare it with its manifest. Raises FailureError where anything is missing, too much or not as
    it was."""
    try:
        with path.open("rb") as source:
            return _verified(path, source)
    except OSError as error:
        raise FailureError(f"the archive {path} cannot be read: {error.strerror}") from None
    except _DamageError as damage:
        raise FailureError(
            f"{path} is damaged or no archive of a stack: {damage}; nothing was touched, use another archive"
        ) from None


def _verified(path: Path, source: IO[bytes]) -> Archive:
    members = {}
    for member in _members(source):
        if member.name in members:
            raise _DamageError(f"{member.name} is in it twice")
        members[member.name] = member
    if list(members)[:2] != [MANIFEST, SEAL]:
        raise _DamageError("it does not begin with a manifest")
    seal = f"{_digest(source, members[MANIFEST])}  {MANIFEST}\n".encode()
    if members[SEAL].size != len(seal) or b"".join(_chunks(source, members[SEAL])) != seal:
        raise _DamageError("its manifest is not as it was when it was made")
    manifest = json.loads(b"".join(_chunks(source, members[MANIFEST])))
    if manifest["format"] != FORMAT:
        raise FailureError(
            f"{path} has format {manifest['format']} and this release restores format {FORMAT}: use the release that made it"
        )
    listed, there = manifest["members"], {name: member for name, member in members.items() if name not in (MANIFEST, SEAL)}
    if missing := sorted(set(listed) - set(there)):
        raise _DamageError(f"{missing[0]} is missing")
    if extra := sorted(set(there) - set(listed)):
        raise _DamageError(f"{extra[0]} is not in its manifest")
    for name, member in there.items():
        if member.size != listed[name]["size"] or _digest(source, member) != listed[name]["sha256"]:
            raise _DamageError(f"{name} is not as it was when it was made")
    return Archive(path, manifest, there)


def _members(source: IO[bytes]) -> Iterator[Member]:
    """The members of a tar file, read strictly: Python's own reader overlooks what is between and after them."""
    size = source.seek(0, 2)
    position = 0
    while True:
        source.seek(position)
        header = source.read(BLOCK)
        if len(header) < BLOCK:
            raise _DamageError("it ends too early")
        if not any(header):
            break
        try:
            entry = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError, ValueError):
            raise _DamageError(f"what is at byte {position} makes no sense") from None
        if (
            not CHECKSUM.fullmatch(header[148:156])
            or entry.type != tarfile.REGTYPE
            or not NAME.fullmatch(entry.name)
            or entry.size < 0
        ):
            raise _DamageError(f"what is at byte {position} makes no sense")
        begin, end = position + BLOCK, position + BLOCK + entry.size
        position = begin + -(-entry.size // BLOCK) * BLOCK
        if position > size:
            raise _DamageError(f"it ends within {entry.name}")
        source.seek(end)
        if any(source.read(position - end)):
            raise _DamageError(f"there is something between {entry.name} and what follows")
        yield Member(entry.name, begin, entry.size)
    source.seek(position)
    rest = source.read(2 * RECORD)
    if size % RECORD or not 2 * BLOCK <= len(rest) == size - position < 2 * BLOCK + RECORD or any(rest):
        raise _DamageError("its end is missing or is none")


def _chunks(source: IO[bytes], member: Member) -> Iterator[bytes]:
    source.seek(member.offset)
    left = member.size
    while left:
        chunk = source.read(min(left, CHUNK))
        if not chunk:
            raise FailureError(f"{member.name} became shorter while it was read: somebody changes the archive")
        left -= len(chunk)
        yield chunk


def _digest(source: IO[bytes], member: Member) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(source, member):
        digest.update(chunk)
    return digest.hexdigest()
