"""What a search looks at in a mail."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from html.parser import HTMLParser

from kopano_lab import header

FIELDS = ("subject", "from", "to", "cc", "bcc", "header", "body")
"""The texts of a mail; `text` in a search means all of them."""


def fields(content: bytes, attachments: bool = False) -> dict[str, str]:
    """The texts of a mail as a person reads them, by FIELDS; `attachments` adds those attached files that are texts."""
    mail = message_from_bytes(content)
    texts = {name: header.text(mail, name) for name in FIELDS[:5]}
    texts["header"] = "\n".join(f"{name}: {header.text(mail, name)}" for name in dict.fromkeys(mail.keys()))
    texts["body"] = "\n".join(_text(part) for part in mail.walk() if _counts(part, attachments))
    return texts


def found(texts: dict[str, str], field: str, wanted: str) -> bool:
    """Whether the text is in a field, or with the field `text` in any of them, in whatever case."""
    searched = texts.values() if field == "text" else [texts[field]]
    return any(wanted.casefold() in text.casefold() for text in searched)


def _counts(part: Message, attachments: bool) -> bool:
    return part.get_content_maintype() == "text" and (attachments or part.get_content_disposition() != "attachment")


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    try:
        text = content.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = content.decode("latin-1")
    if part.get_content_subtype() != "html":
        return text
    stripper = _Stripper()
    stripper.feed(text)
    stripper.close()
    return " ".join(stripper.texts)


class _Stripper(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)
