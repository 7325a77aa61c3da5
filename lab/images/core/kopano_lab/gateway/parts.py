"""The parts of a mail as IMAP counts and describes them: bytes as they were received, never written anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from functools import cached_property
from urllib.parse import quote

_FIELD = re.compile(rb"[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*\r?\n?")
_PARSER = BytesHeaderParser()

Item = bytes | int | None | list["Item"]


class Part:
    """A mail, or a part of one."""

    def __init__(self, content: bytes, kind: str = "text/plain") -> None:
        ends = [match.end() for match in (re.search(rb"\r?\n\r?\n|\A\r?\n", content),) if match]
        self.header = content[: ends[0]] if ends else content
        self.body = content[ends[0] :] if ends else b""
        self.fields: Message = _PARSER.parsebytes(self.header)
        self.fields.set_default_type(kind)

    @cached_property
    def children(self) -> list[Part]:
        """The parts of a multipart."""
        boundary = self.fields.get_boundary()
        if self.fields.get_content_maintype() != "multipart" or not boundary:
            return []
        mark = re.escape(boundary.encode("utf-8", "surrogateescape"))
        pieces = re.split(rb"(?:\A|\r?\n)--" + mark + rb"(--)?[ \t]*(?:\r?\n|\Z)", self.body)
        # What is before the first mark and after the last one is for nobody; every second piece tells the last mark.
        kind = "message/rfc822" if self.fields.get_content_subtype() == "digest" else "text/plain"
        inner = []
        for ended, piece in zip(pieces[1::2], pieces[2::2], strict=True):
            if ended:
                break
            inner.append(Part(piece, kind))
        return inner

    @cached_property
    def inner(self) -> Part | None:
        """The mail that a part holds, if it holds one."""
        return Part(self.body) if self.fields.get_content_type() == "message/rfc822" else None

    def at(self, numbers: Iterable[int]) -> Part | None:
        """The part with these numbers, from 0 on; none if there is no such part."""
        part: Part = self
        for depth, number in enumerate(numbers):
            if depth and part.inner:
                part = part.inner
            elif depth and not part.children:
                return None
            if part.children:
                if number >= len(part.children):
                    return None
                part = part.children[number]
            elif number:
                return None
        return part

    def chosen(self, names: Iterable[bytes], others: bool) -> bytes:
        """The fields of the header with these names, or all others, and the empty line."""
        wanted = {name.lower() for name in names}
        found = [field for field in _FIELD.findall(self.header) if field.strip()]
        chosen = [field for field in found if (field.partition(b":")[0].strip().lower() in wanted) != others]
        return b"".join(chosen) + b"\r\n"

    def structure(self, extended: bool) -> list[Item]:
        """BODY, or extended BODYSTRUCTURE."""
        fields = self.fields
        tail = [_value(fields, "Content-Language"), _value(fields, "Content-Location")]
        if self.children:
            parts: list[Item] = [child.structure(extended) for child in self.children]
            parts.append(fields.get_content_subtype().encode())
            return [*parts, _parameters(fields), _disposition(fields), *tail] if extended else parts
        kind = fields.get_content_type().encode("ascii", "replace")
        if kind.startswith(b"multipart/"):
            kind = b"text/plain"  # A multipart without parts is shown as what it then is.
        lines = self.body.count(b"\n") + bool(self.body and not self.body.endswith(b"\n"))
        result: list[Item] = [
            *kind.split(b"/", 1),
            _parameters(fields),
            _value(fields, "Content-ID"),
            _value(fields, "Content-Description"),
            _value(fields, "Content-Transfer-Encoding") or b"7bit",
            len(self.body),
        ]
        if self.inner:
            result += [self.inner.envelope(), self.inner.structure(extended), lines]
        elif kind.startswith(b"text/"):
            result.append(lines)
        return [*result, _value(fields, "Content-MD5"), _disposition(fields), *tail] if extended else result

    def envelope(self) -> list[Item]:
        """ENVELOPE."""
        fields = self.fields
        sender = _people(fields, "From")
        return [
            _value(fields, "Date"),
            _value(fields, "Subject"),
            sender,
            _people(fields, "Sender") or sender,
            _people(fields, "Reply-To") or sender,
            _people(fields, "To"),
            _people(fields, "Cc"),
            _people(fields, "Bcc"),
            _value(fields, "In-Reply-To"),
            _value(fields, "Message-ID"),
        ]


def written(item: Item) -> bytes:
    """An item as IMAP writes it; lists in a list stand close together at its beginning."""
    if item is None:
        return b"NIL"
    if isinstance(item, int):
        return b"%d" % item
    if isinstance(item, list):
        text = b""
        for one, before in zip(item, [None, *item], strict=False):
            close = not text or (isinstance(one, list) and isinstance(before, list) and isinstance(item[0], list))
            text += (b"" if close else b" ") + written(one)
        return b"(" + text + b")"
    if re.fullmatch(rb"[\x20-\x7e]*", item):
        return b'"' + re.sub(rb'(["\\])', rb"\\\1", item) + b'"'
    return b"{%d}\r\n%b" % (len(item), item)


def _bytes(text: str) -> bytes:
    return re.sub(rb"\r?\n", b"", text.encode("utf-8", "surrogateescape"))


def _raw(fields: Message, name: str) -> list[str]:
    # A field with bytes beyond ASCII would else be given with question marks.
    return [str(value) for known, value in fields.raw_items() if known.lower() == name.lower()]


def _value(fields: Message, name: str) -> bytes | None:
    return next((_bytes(value).strip() for value in _raw(fields, name)), None)


def _people(fields: Message, name: str) -> list[Item] | None:
    found: list[Item] = []
    for person, address in getaddresses(_raw(fields, name)):
        box, _, host = address.rpartition("@") if "@" in address else (address, "", "")
        if box or person:
            found.append([_bytes(person) or None, None, _bytes(box), _bytes(host)])
    return found or None


def _pairs(parameters: Sequence[tuple[str, object]]) -> list[Item] | None:
    result: list[Item] = []
    for name, value in parameters:
        if isinstance(value, tuple):  # Written with its own character set.
            charset, language, text = (part or "" for part in value)
            encoded = quote(text, encoding=charset or "utf-8", errors="replace")
            result += [_bytes(f"{name}*"), _bytes(f"{charset}'{language}'{encoded}")]
        else:
            result += [_bytes(name), _bytes(str(value))]
    return result or None


def _parameters(fields: Message) -> list[Item] | None:
    return _pairs(list(fields.get_params(failobj=[]) or [])[1:])


def _disposition(fields: Message) -> list[Item] | None:
    parameters = list(fields.get_params(failobj=[], header="content-disposition") or [])
    if not parameters or not parameters[0][0]:
        return None
    return [_bytes(parameters[0][0]).lower(), _pairs(parameters[1:])]
