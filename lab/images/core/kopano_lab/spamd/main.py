"""Follows the server's changes, and keeps copies of what users take for spam, or no longer do."""

from __future__ import annotations

import grp
import hashlib
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from kopano_lab import header, service
from kopano_lab.client import Client
from kopano_lab.config import Config
from kopano_lab.errors import Refusal, told
from kopano_lab.log import notice
from kopano_lab.service import Ending
from kopano_lab.wire import RpcError

_FOLDER = "/var/lib/kopano/spamd"
OPTIONS = service.KEY | {
    "ham_dir": f"{_FOLDER}/ham",
    "header_tag": "X-Spam-Flag",
    "learn_ham": "yes",
    "sa_group": "amavis",
    "spam_db": f"{_FOLDER}/spam.db",
    "spam_dir": f"{_FOLDER}/spam",
}
_PAUSE = 5
_LONGEST_WAIT = 25


def main(arguments: list[str]) -> int:
    """Entry point of kopano-spamd."""
    return told("kopano-spamd", _run)


def _run() -> int:
    ending = Ending()
    config = service.load("spamd", OPTIONS)
    group = config.text("sa_group")
    try:
        watcher = Watcher(service.client(config), config, grp.getgrnam(group).gr_gid)
        if config.flag("learn_ham"):
            Path(config.text("ham_dir")).mkdir(parents=True, exist_ok=True)
    except KeyError:
        raise Refusal(
            f"spamd.cfg: sa_group = '{group}' is no group of this image: set KCCONF_SPAMD_SA_GROUP to kopano."
        ) from None
    except (OSError, sqlite3.Error) as problem:
        raise Refusal(f"{_FOLDER} cannot be written ({problem}): mount a volume there.") from problem
    notice("Spamd: ready")
    ending.repeat(lambda: watcher.follow(ending), _PAUSE)


class Watcher:
    """Looks at each change in a mailbox from now on."""

    def __init__(self, server: Client, config: Config, group: int) -> None:
        self._server = server
        self._folders = {kind: Path(config.text(f"{kind}_dir")) for kind in ("spam", "ham")}
        self._learns_ham = config.flag("learn_ham")
        self._tag = config.text("header_tag")
        self._group = group
        self._upto: int | None = None
        # What has been spam, by a hash of the mail, which moves and copies leave as it is.
        self._known = sqlite3.connect(config.text("spam_db"), isolation_level=None)
        self._known.execute("CREATE TABLE IF NOT EXISTS spam (hash TEXT PRIMARY KEY)")

    def follow(self, ending: Ending) -> None:
        """Look at all changes, and wait for more, until the server does not answer."""
        if self._upto is None:
            self._upto = self._server.call("changes.wait", after=0, seconds=0)[0]
        while True:
            changes = self._server.call("changes.list", after=self._upto)[0]
            for change in changes:
                ending.check()
                self._look(change)
            if changes:
                # Not after each: one number may be about many messages, and to look twice does no harm.
                self._upto = changes[-1]["number"]
            else:
                with ending.waiting():
                    self._server.call("changes.wait", after=self._upto, seconds=_LONGEST_WAIT)

    def _look(self, change: dict[str, Any]) -> None:
        kind = change["kind"]
        if change["gone"] or kind not in ("junk", "inbox"):
            return
        try:
            content = self._server.read(change["id"])[1]
        except RpcError as problem:
            if problem.code != "not_found":
                raise
            return  # Deleted since.
        name = hashlib.sha256(content).hexdigest()
        if kind == "junk" and header.text(header.parse(content), self._tag).upper() != "YES":
            self._keep("spam", name, content)
        elif kind == "inbox" and self._learns_ham and self._was_spam(name):
            self._keep("ham", name, content)

    def _keep(self, kind: str, name: str, content: bytes) -> None:
        """Keep a copy as spam or as ham, and not as the other; one that cannot be written is told and missed."""
        other, file = self._folders["ham" if kind == "spam" else "spam"], self._folders[kind] / f"{name}.eml"
        part = file.with_suffix(".part")
        try:
            (other / file.name).unlink(missing_ok=True)
            part.write_bytes(content)
            os.chown(part, -1, self._group)
            part.chmod(0o660)
            part.rename(file)
        except OSError as problem:
            logging.error("%s cannot be written: %s", file, problem.strerror)
            return
        notice("Kept as %s: %s", kind, file.name)
        if kind == "spam":
            self._known.execute("INSERT OR IGNORE INTO spam VALUES (?)", (name,))

    def _was_spam(self, name: str) -> bool:
        with closing(self._known.execute("SELECT 1 FROM spam WHERE hash = ?", (name,))) as found:
            return found.fetchone() is not None
