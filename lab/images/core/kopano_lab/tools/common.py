"""What the tools share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from kopano_lab.client import Client
from kopano_lab.config import Config, known_options
from kopano_lab.errors import Refusal, told
from kopano_lab.wire import RpcError

_CONFIG = Path("/tmp/kopano/admin.cfg")
_DEFAULTS = {"server_socket": "default:", "sslkey_file": ""}
_TAB = 8


class Parser(argparse.ArgumentParser):
    """Refuses in one sentence."""

    def one_action(self) -> argparse._MutuallyExclusiveGroup:
        """The options of which a call has exactly one."""
        # Required ones would be missed before an unknown option is named.
        self.actions = self.add_mutually_exclusive_group()
        return self.actions

    def parsed(self, arguments: list[str]) -> argparse.Namespace:
        """Parse; a call that asks for nothing is refused."""
        options = self.parse_args(arguments)
        # By identity: 0 is a number of days, and equal to False.
        chosen = (getattr(options, action.dest, None) for action in self.actions._group_actions)
        if all(value is None or value is False for value in chosen):
            self.error("say what to do")
        return options

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what there is."""
        raise Refusal(f"{message}: {self.prog} --help lists what the lab has.")


def run(program: str, action: Callable[[], int]) -> int:
    """Run a tool; errors of the server are told like refusals."""

    def guarded() -> int:
        try:
            return action()
        except RpcError as problem:
            raise Refusal(f"{problem}.") from problem
        except BrokenPipeError:
            return 1

    return told(program, guarded)


def client(host: str | None) -> Client:
    """A connection to the server that -h names, or that admin.cfg has."""
    config = Config("admin.cfg", {}, _DEFAULTS)
    if os.access(_CONFIG, os.R_OK):
        config = Config.load(_CONFIG, _DEFAULTS, known_options("admin"))
    return Client(host or config.text("server_socket"), config.text("sslkey_file"))


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns that line up by tabs, below a header and a line."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    line = "-" * (sum(widths) + _TAB * (len(widths) - 1))
    return "".join(f"\t{text}\n" for text in [_row(header, widths), line, *(_row(row, widths) for row in rows)])


def _row(cells: list[str], widths: list[int]) -> str:
    padded = [cell + "\t" * (1 + width // _TAB - len(cell) // _TAB) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return "".join(padded) + cells[-1] + "\t"
