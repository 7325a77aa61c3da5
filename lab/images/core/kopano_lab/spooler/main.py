"""Follows the Outboxes, and sends what it finds there."""

from __future__ import annotations

import logging

from kopano_lab import service
from kopano_lab.client import Client
from kopano_lab.errors import told
from kopano_lab.log import notice
from kopano_lab.service import Ending
from kopano_lab.spooler.sending import Away, Relay, Work

OPTIONS = service.KEY | {"smtp_port": "25", "smtp_server": "localhost"}
_PAUSE = 5
_LONGEST_WAIT = 25


def main(arguments: list[str]) -> int:
    """Entry point of kopano-spooler."""
    return told("kopano-spooler", _run)


def _run() -> int:
    ending = Ending()
    config = service.load("spooler", OPTIONS)
    spooler = _Spooler(service.client(config), Relay(config.text("smtp_server"), config.number("smtp_port")), ending)
    notice("Sending by %s:%d", config.text("smtp_server"), config.number("smtp_port"))
    ending.repeat(spooler.round, _PAUSE)


class _Spooler:
    def __init__(self, server: Client, relay: Relay, ending: Ending) -> None:
        self._server = server
        self._work = Work(server, relay)
        self._ending = ending
        self._seen = 0
        self._away = ""

    def round(self) -> None:
        """Send what is due, then wait for more."""
        wait: float = 0
        while True:
            with self._ending.waiting():
                self._seen = self._server.call("changes.wait", after=self._seen, seconds=int(wait))[0]
            try:
                self._send()
            except Away as problem:
                if str(problem) != self._away:
                    logging.error("%s - trying again every %d s", problem, _PAUSE)
                self._away = str(problem)
                self._ending.sleep(_PAUSE)
                wait = 0
                continue
            following = self._server.call("outgoing.next")[0]
            wait = _LONGEST_WAIT if following is None else min(max(following, 1), _LONGEST_WAIT)

    def _send(self) -> None:
        for message in self._server.call("outgoing.list")[0]:
            self._ending.check()
            self._work.send(message)
            if self._away:
                notice("The mail server answers again")
                self._away = ""
