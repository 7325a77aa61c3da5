"""What the header of a mail says."""

from __future__ import annotations

from contextlib import suppress
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses

_PARSER = BytesHeaderParser()


def cut(content: bytes) -> bytes:
    """The header of a mail, with the empty line that ends it where there is one."""
    ends = [found + len(end) for end in (b"\r\n\r\n", b"\n\n") if (found := content.find(end)) >= 0]
    return content[: min(ends)] if ends else content


def parse(content: bytes) -> Message:
    """The fields of a mail's header."""
    return _PARSER.parsebytes(cut(content))


def text(fields: Message, name: str) -> str:
    """A field as a person reads it, on one line; empty if there is none."""
    value = next(iter(_raw(fields, name)), "")
    with suppress(MessageError, LookupError, ValueError):  # What cannot be read is shown as it is written.
        value = str(make_header(decode_header(value)))
    return " ".join(value.encode("utf-8", "replace").decode("utf-8").split())


def addresses(fields: Message, *names: str) -> list[str]:
    """The addresses in these fields, each once."""
    values = [value for name in names for value in _raw(fields, name)]
    return list(dict.fromkeys(address for _, address in getaddresses(values) if "@" in address))


def _raw(fields: Message, name: str) -> list[str]:
    values = [str(value) for known, value in fields.raw_items() if known.lower() == name.lower()]
    return [value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for value in values]
