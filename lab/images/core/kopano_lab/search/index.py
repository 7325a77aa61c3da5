"""The index: SQLite's full text search, with trigrams, so that parts of words are found as IMAP wants it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from kopano_lab import texts
from kopano_lab.errors import Refusal

_TRIGRAM = 3
_COLUMNS = [f"in_{name}" for name in texts.FIELDS]


class Index:
    """One writer; each reader opens the file anew."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "index.db"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._writer = self._opened()
        except (OSError, sqlite3.OperationalError) as problem:
            raise Refusal(f"index_path {folder} cannot be used ({problem}): mount a volume on {folder.parent}.") from problem

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            columns = ", ".join(["store UNINDEXED", *_COLUMNS])
            connection.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5 ({columns}, tokenize = 'trigram')")
            return connection
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as problem:
            # All that is in it can be read from the server again.
            logging.error("The index is damaged and is made anew: %s", problem)
            connection.close()
            for path in self._path.parent.glob("index.db*"):
                path.unlink()
            return self._opened()

    def begin(self, instance: str, last: int) -> int:
        """The number of the last change that is in the index of this server; another one's, or a later one, begins anew."""
        upto = int(self._state("upto") or 0)
        if self._state("instance") != instance or upto > last:
            with self._writer:
                self._writer.execute("DELETE FROM texts")
                self._keep("instance", instance)
                self._keep("upto", "0")
            return 0
        return upto

    def put(self, entries: Iterable[tuple[int, str, dict[str, str] | None]], upto: int) -> None:
        """Take messages in (id, store, texts), or out (no texts); the index then has everything up to a change."""
        with self._writer:
            for message, store, found in entries:
                self._writer.execute("DELETE FROM texts WHERE rowid = ?", (message,))
                if found is not None:
                    self._writer.execute(
                        f"INSERT INTO texts (rowid, store, {', '.join(_COLUMNS)}) VALUES (?, ?{', ?' * len(_COLUMNS)})",  # noqa: S608 - constants
                        (message, store, *(found[name] for name in texts.FIELDS)),
                    )
            self._keep("upto", str(upto))

    def has(self, message: int) -> bool:
        """Whether a message is in the index: what is in a message never changes."""
        return self._writer.execute("SELECT 1 FROM texts WHERE rowid = ?", (message,)).fetchone() is not None

    def find(self, store: str, field: str, wanted: str) -> tuple[list[int], int]:
        """Messages of a store that have the text in the field, and up to which change the index has everything."""
        columns = _COLUMNS if field == "text" else [f"in_{field}"]
        reader = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            upto = reader.execute("SELECT value FROM state WHERE name = 'upto'").fetchone()
            if len(wanted) < _TRIGRAM:
                pattern = "%" + wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
                like = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
                rows = reader.execute(
                    f"SELECT rowid FROM texts WHERE store = ? AND ({like})",  # noqa: S608 - constants
                    (store, *[pattern] * len(columns)),
                )
            else:
                quoted = wanted.replace('"', '""')
                rows = reader.execute(
                    "SELECT rowid FROM texts WHERE texts MATCH ? AND store = ?", (f'{{{" ".join(columns)}}} : "{quoted}"', store)
                )
            return [row[0] for row in rows], int(upto[0]) if upto else 0
        finally:
            reader.close()

    def _state(self, name: str) -> str:
        row = self._writer.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def _keep(self, name: str, value: str) -> None:
        self._writer.execute("INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)", (name, value))
