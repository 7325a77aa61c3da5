"""From root to the user that the services run as."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from kopano_lab.errors import Refusal

USER = "kopano"


def own(*paths: Path) -> None:
    """Give the paths that exist to kopano; the volumes may have been made by someone else."""
    user = pwd.getpwnam(USER)
    for path in paths:
        if not path.exists() or (path.stat().st_uid, path.stat().st_gid) == (user.pw_uid, user.pw_gid):
            continue
        try:
            os.chown(path, user.pw_uid, user.pw_gid)
        except OSError as problem:
            raise Refusal(
                f"{path} cannot be given to user {USER} ({problem.strerror}): start the container as root "
                f"with the capability CHOWN, or give the folder to uid {user.pw_uid}."
            ) from problem


def drop() -> None:
    """Go on as kopano, for good."""
    user = pwd.getpwnam(USER)
    if os.getuid() == user.pw_uid:
        return
    try:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except OSError as problem:
        raise Refusal(
            f"cannot become user {USER} ({problem.strerror}): the container needs the capabilities SETUID and SETGID."
        ) from problem
