"""Follows the server's changes, and keeps the index as they say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kopano_lab import service, texts
from kopano_lab.client import Client
from kopano_lab.config import Config
from kopano_lab.errors import Refusal, told
from kopano_lab.log import notice
from kopano_lab.search.answers import Answers
from kopano_lab.search.index import Index
from kopano_lab.service import Ending
from kopano_lab.wire import RpcError

OPTIONS = service.KEY | {
    "index_attachments": "no",
    "index_drafts": "yes",
    "index_junk": "yes",
    "index_path": "/var/lib/kopano/search/",
    "server_bind_name": "file:///var/run/kopano/search.sock",
}
_PAUSE = 5
_LONGEST_WAIT = 25
_BATCH = 50


def main(arguments: list[str]) -> int:
    """Entry point of kopano-search."""
    return told("kopano-search", _run)


def _run() -> int:
    ending = Ending()
    config = service.load("search", OPTIONS)
    index = Index(Path(config.text("index_path")))
    socket = urlsplit(config.text("server_bind_name"))
    if socket.scheme != "file":
        raise Refusal("search.cfg: server_bind_name must be a socket file, such as file:///var/run/kopano/search.sock.")
    answers = Answers(Path(socket.path), index)
    try:
        threading.Thread(target=answers.serve_forever, daemon=True).start()
        follower = Follower(service.client(config), index, config)
        notice("Search: ready on %s", socket.path)
        ending.repeat(lambda: follower.follow(ending), _PAUSE)
    finally:
        Path(socket.path).unlink(missing_ok=True)


class Follower:
    """Reads what is new."""

    def __init__(self, server: Client, index: Index, config: Config) -> None:
        self._server = server
        self._index = index
        self._attachments = config.flag("index_attachments")
        self._without = {kind for kind, flag in (("drafts", "index_drafts"), ("junk", "index_junk")) if not config.flag(flag)}

    def follow(self, ending: Ending) -> None:
        """Take in all changes, and wait for more, until the server does not answer."""
        instance = self._server.call("server.status")[0]["instance"]
        upto = self._index.begin(instance, self._server.call("changes.wait", after=0, seconds=0)[0])
        while True:
            changes = self._server.call("changes.list", after=upto)[0]
            for start in range(0, len(changes), _BATCH):
                ending.check()
                batch = changes[start : start + _BATCH]
                # A change may be about more messages than a batch: until the last of them the one before it counts.
                rest = changes[start + _BATCH :]
                upto = batch[-1]["number"] - bool(rest and rest[0]["number"] == batch[-1]["number"])
                self._index.put(self._entries(batch), upto)
            if not changes:
                with ending.waiting():
                    self._server.call("changes.wait", after=upto, seconds=_LONGEST_WAIT)

    def _entries(self, changes: list[dict[str, Any]]) -> Iterator[tuple[int, str, dict[str, str] | None]]:
        for change in changes:
            if change["gone"] or change["kind"] in self._without:
                yield change["id"], change["store"], None
            elif not self._index.has(change["id"]):
                try:
                    content = self._server.read(change["id"])[1]
                except RpcError as problem:
                    if problem.code != "not_found":
                        raise
                    continue  # Deleted since: a later change says so.
                yield change["id"], change["store"], texts.fields(content, self._attachments)
