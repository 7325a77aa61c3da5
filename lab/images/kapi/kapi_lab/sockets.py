"""The folder and the socket by which kapi reaches grapi. They belong to the user kapi, as those of the published image do."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kopano_lab.errors import Refusal

FOLDER = Path("/run/kopano/grapi")
NAME = "rest0.sock"


def prepared(persistence: Path) -> socket.socket:
    """Make the folders as root, and listen."""
    kapi = pwd.getpwnam("kapi")
    try:
        for folder in (FOLDER, persistence):
            _owned(folder, kapi)
        with _as(kapi.pw_uid):
            # What a predecessor has left in the volume must not keep this one from starting.
            for old in FOLDER.iterdir():
                if old.is_socket() or old.name == "grapi.pid":
                    old.unlink()
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(FOLDER / NAME))
            (FOLDER / NAME).chmod(0o660)
        os.chown(FOLDER / NAME, kapi.pw_uid, kapi.pw_gid)
        listening.listen(64)
    except OSError as problem:
        raise Refusal(
            f"{problem.filename or FOLDER} cannot be prepared ({problem.strerror}): start the container as root with the "
            "capabilities CHOWN, SETGID and SETUID, and mount writable volumes on /run/kopano and /var/lib/kopano-grapi.",
            64,
        ) from problem
    return listening


def _owned(folder: Path, user: pwd.struct_passwd) -> None:
    if not folder.exists():
        # Root has no right to write in the folders of others here, so it acts as their owner.
        with _as(folder.parent.stat().st_uid):
            folder.mkdir()
    found = folder.stat()
    if (found.st_uid, found.st_gid) != (user.pw_uid, user.pw_gid):
        os.chown(folder, user.pw_uid, user.pw_gid)
    if found.st_mode & 0o777 != 0o755:
        with _as(user.pw_uid):
            folder.chmod(0o755)


@contextmanager
def _as(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
