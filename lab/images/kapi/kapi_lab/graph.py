"""Users, folders and messages in the form of the groupware API."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from email.utils import getaddresses, parseaddr, parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any

PREVIEW = 255
_NAMES = {"wastebasket": "deleteditems", "sentmail": "sentitems", "junk": "junkemail"}


def user(found: dict[str, Any]) -> dict[str, Any]:
    """A user, from what the server knows."""
    given, _, family = str(found["fullname"] or found["name"]).rpartition(" ")
    return {
        "id": found["externid"],
        "displayName": found["fullname"] or found["name"],
        "givenName": given,
        "surname": family,
        "mail": found["email"],
        "userPrincipalName": found["name"],
    }


def well_known(found: dict[str, Any]) -> str:
    """The name by which the API knows a folder that every store has."""
    kind = found["kind"] or ""
    return _NAMES.get(kind, kind)


def folder(found: dict[str, Any]) -> dict[str, Any]:
    """A folder."""
    return {
        "id": str(found["id"]),
        "displayName": found["name"],
        "parentFolderId": str(found["parent"] or ""),
        "totalItemCount": int(found["messages"]),
    }


def message(known: dict[str, Any], content: bytes, listed: dict[str, Any], folder_id: int, *, whole: bool) -> dict[str, Any]:
    """A message; with `whole` also its text."""
    parsed = BytesParser(EmailMessage, policy=default).parsebytes(content)
    kind, text = _text(parsed)
    shown = {
        "id": str(known["id"]),
        "parentFolderId": str(folder_id),
        "subject": _header(parsed, "Subject"),
        "from": _first(parsed, "From"),
        "sender": _first(parsed, "Sender") or _first(parsed, "From"),
        "toRecipients": _all(parsed, "To"),
        "ccRecipients": _all(parsed, "Cc"),
        "receivedDateTime": _moment(listed.get("received")) or _sent(parsed),
        "sentDateTime": _sent(parsed),
        "internetMessageId": _header(parsed, "Message-ID"),
        "isRead": "\\seen" in str(known["flags"]).lower().split(),
        "importance": "normal",
        "hasAttachments": any(True for _ in parsed.iter_attachments()) if parsed.is_multipart() else False,
        "bodyPreview": " ".join((_plain(text) if kind == "html" else text).split())[:PREVIEW],
    }
    if whole:
        shown["body"] = {"contentType": kind, "content": text}
    return shown


def _text(parsed: EmailMessage) -> tuple[str, str]:
    part = parsed.get_body(("plain", "html"))
    if part is None:
        return "text", ""
    try:
        text = part.get_content()
    except (LookupError, UnicodeError, AttributeError, KeyError):
        # An unknown character set: what can be read of it is better than nothing.
        payload = part.get_payload(decode=True)
        text = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    return ("html" if part.get_content_subtype() == "html" else "text"), str(text)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("style", "script", "title")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script", "title") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)


def _plain(html: str) -> str:
    words = _Words()
    words.feed(html)
    words.close()
    return " ".join(words.words)


def _header(parsed: EmailMessage, name: str) -> str:
    try:
        return str(parsed.get(name, ""))
    except (ValueError, IndexError, AttributeError):
        # The library stumbles over some malformed headers, and nobody can keep those from coming by mail.
        return ""


def _first(parsed: EmailMessage, name: str) -> dict[str, Any] | None:
    title, address = parseaddr(_header(parsed, name))
    return _address(title, address) if address else None


def _all(parsed: EmailMessage, name: str) -> list[dict[str, Any]]:
    return [_address(title, address) for title, address in getaddresses([_header(parsed, name)]) if address]


def _address(title: str, address: str) -> dict[str, Any]:
    return {"emailAddress": {"name": title or address, "address": address}}


def _sent(parsed: EmailMessage) -> str | None:
    try:
        return _moment(parsedate_to_datetime(_header(parsed, "Date")).timestamp())
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
