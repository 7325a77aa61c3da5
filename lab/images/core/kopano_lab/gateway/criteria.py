"""SEARCH: which of the selected messages meet the criteria."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from twisted.mail.imap4 import IllegalClientResponse, MessageSet, parseIdList

from kopano_lab import header
from kopano_lab.gateway.account import Account
from kopano_lab.gateway.selected import Selected

Ids = set[int]
Words = list[Any]

_FLAGS = {"ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN"}
_TEXTS = {"TEXT", "BODY", "SUBJECT", "FROM", "TO", "CC", "BCC"}


class Search:
    """Reads the words of a search from the left, each time as many as a criterion takes."""

    def __init__(self, account: Account, selected: Selected, charset: str = "utf-8") -> None:
        self._account = account
        self._selected = selected
        self._charset = charset
        self._rows = list(selected.rows)
        self._all: Ids = {row["id"] for row in self._rows}

    def found(self, words: Words) -> list[tuple[int, int]]:
        """Number and uid of the messages that meet all criteria."""
        ids = self._every(list(words))
        return [(number, row["uid"]) for number, row in enumerate(self._selected.rows, 1) if row["id"] in ids]

    def _every(self, words: Words) -> Ids:
        ids = self._all
        while words:
            ids = ids & self._next(words)
        return ids

    def _next(self, words: Words) -> Ids:
        word = _taken(words)
        if isinstance(word, list):
            return self._every(list(word))
        key = word.decode("ascii", "replace").upper()
        if key[:1].isdigit() or key[:1] == "*":
            return self._numbered(word, uid=False)
        if key in _FLAGS:
            return self._flagged("\\" + key)
        if key[:2] == "UN" and key[2:] in _FLAGS:
            return self._all - self._flagged("\\" + key[2:])
        if key in _TEXTS:
            return self._containing(key.lower(), self._text(words))
        method: Callable[[Words], Ids] | None = getattr(self, f"_of_{key.lower()}", None)
        if not method:
            raise IllegalClientResponse(f"unknown search key {key}")
        return method(words)

    def _of_all(self, words: Words) -> Ids:
        return self._all

    def _of_old(self, words: Words) -> Ids:
        return self._all  # No message is ever called recent.

    def _of_new(self, words: Words) -> Ids:
        return set()

    _of_recent = _of_new

    def _of_not(self, words: Words) -> Ids:
        return self._all - self._next(words)

    def _of_or(self, words: Words) -> Ids:
        return self._next(words) | self._next(words)

    def _of_uid(self, words: Words) -> Ids:
        return self._numbered(_taken(words), uid=True)

    def _of_keyword(self, words: Words) -> Ids:
        return self._flagged(self._text(words))

    def _of_unkeyword(self, words: Words) -> Ids:
        return self._all - self._flagged(self._text(words))

    def _of_larger(self, words: Words) -> Ids:
        size = _number(words)
        return {row["id"] for row in self._rows if row["size"] > size}

    def _of_smaller(self, words: Words) -> Ids:
        size = _number(words)
        return {row["id"] for row in self._rows if row["size"] < size}

    def _of_before(self, words: Words) -> Ids:
        day = _day(words)
        return {row["id"] for row in self._rows if _received(row) < day}

    def _of_on(self, words: Words) -> Ids:
        day = _day(words)
        return {row["id"] for row in self._rows if _received(row) == day}

    def _of_since(self, words: Words) -> Ids:
        day = _day(words)
        return {row["id"] for row in self._rows if _received(row) >= day}

    def _of_sentbefore(self, words: Words) -> Ids:
        day = _day(words)
        return {message for message in self._all if (sent := self._sent(message)) and sent < day}

    def _of_senton(self, words: Words) -> Ids:
        day = _day(words)
        return {message for message in self._all if self._sent(message) == day}

    def _of_sentsince(self, words: Words) -> Ids:
        day = _day(words)
        return {message for message in self._all if (sent := self._sent(message)) and sent >= day}

    def _of_header(self, words: Words) -> Ids:
        name, wanted = self._text(words), self._text(words).casefold()
        found = set()
        for message in self._all:
            fields = self._header(message)
            if name in fields and wanted in header.text(fields, name).casefold():
                found.add(message)
        return found

    def _numbered(self, word: bytes, uid: bool) -> Ids:
        try:
            messages: MessageSet = parseIdList(word)
        except Exception as problem:
            raise IllegalClientResponse(f"bad set of messages {word!r}") from problem
        return {row["id"] for _, row in self._selected.pick(messages, uid)}

    def _flagged(self, flag: str) -> Ids:
        return {row["id"] for row in self._rows if flag.lower() in row["flags"].lower().split()}

    def _containing(self, field: str, wanted: str) -> Ids:
        found, _ = self._account.call("message.search", folder=self._selected.folder["id"], field=field, text=wanted)
        return self._all & set(found)

    def _header(self, message: int) -> Any:
        return header.parse(self._account.call("message.read", message=message, header=True)[1])

    def _sent(self, message: int) -> date | None:
        try:
            return parsedate_to_datetime(self._header(message).get("Date", "")).date()
        except (ValueError, TypeError):
            return None

    def _text(self, words: Words) -> str:
        word = _taken(words)
        if not isinstance(word, bytes):
            raise IllegalClientResponse("a text is expected")
        try:
            return word.decode(self._charset)
        except UnicodeDecodeError as problem:
            raise IllegalClientResponse(f"the text is not in {self._charset}") from problem


def _taken(words: Words) -> Any:
    if not words:
        raise IllegalClientResponse("the search ends early")
    return words.pop(0)


def _number(words: Words) -> int:
    word = _taken(words)
    if not isinstance(word, bytes) or not word.isdigit():
        raise IllegalClientResponse("a number is expected")
    return int(word)


def _day(words: Words) -> date:
    word = _taken(words)
    try:
        parsed = time.strptime(word.decode(), "%d-%b-%Y")
    except (ValueError, AttributeError) as problem:
        raise IllegalClientResponse("a date is expected, such as 1-Feb-2024") from problem
    return date(*parsed[:3])


def _received(row: dict[str, Any]) -> date:
    return datetime.fromtimestamp(row["received"], UTC).date()
