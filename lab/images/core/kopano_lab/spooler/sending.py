"""Sends one mail: to the mail server, then into the Sent Items; what is refused for good comes back to the sender."""

from __future__ import annotations

import logging
import re
import smtplib
import socket
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Any

from kopano_lab import header
from kopano_lab.client import Client
from kopano_lab.log import notice

_TIMEOUT = 60
_FIRST_RETRY = 15
_LAST_RETRY = 900
_GIVE_UP = 5 * 24 * 3600

Refused = dict[str, tuple[int, str]]
"""Recipients that were refused, with the code and the words."""


class Away(Exception):
    """The mail server does not answer: nobody's mail can go."""


@dataclass(frozen=True)
class Relay:
    """The mail server."""

    host: str
    port: int

    def send(self, sender: str, recipients: list[str], content: bytes) -> Refused:
        """Hand the mail over; gives who was refused."""
        try:
            smtp = smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT, local_hostname=socket.gethostname())
        except (OSError, smtplib.SMTPException) as problem:
            raise Away(f"the mail server {self.host}:{self.port} does not answer: {problem}") from problem
        try:
            with smtp:
                smtp.ehlo_or_helo_if_needed()
                options = ["BODY=8BITMIME"] if smtp.has_extn("8bitmime") else []
                refused = smtp.sendmail(sender, recipients, content, options)
        except smtplib.SMTPRecipientsRefused as problem:
            refused = problem.recipients
        except smtplib.SMTPResponseException as problem:
            refused = {address: (problem.smtp_code, _encoded(problem.smtp_error)) for address in recipients}
        except (OSError, smtplib.SMTPException) as problem:
            raise Away(f"the mail server {self.host}:{self.port} broke off: {problem}") from problem
        return {address: (code, _words(text)) for address, (code, text) in refused.items()}


class Work:
    """The way of each mail."""

    def __init__(self, server: Client, relay: Relay) -> None:
        self._server = server
        self._relay = relay

    def send(self, message: dict[str, Any]) -> None:
        """Send a message of an Outbox."""
        _, content = self._server.read(message["id"])
        fields = header.parse(content)
        recipients = message["recipients"] or header.addresses(fields, "To", "Cc", "Bcc")
        own = {address.lower() for address in message["addresses"] if address}
        accepted: list[str] = []
        if not message["email"]:
            refused: Refused = {"(sender)": (550, "the directory knows no e-mail address of the sender")}
        elif foreign := [one for one in header.addresses(fields, "From") if one.lower() not in own]:
            refused = {one: (550, "the sender may not send in this name") for one in foreign}
        elif not recipients:
            refused = {"(nobody)": (550, "the mail has no recipient")}
        else:
            refused = self._relay.send(message["email"], recipients, ready(content))
            accepted = [address for address in recipients if address not in refused]
        later = [address for address, (code, _) in refused.items() if code < 500]
        if message["age"] > _GIVE_UP:
            later = []
        failed = {address: answer for address, answer in refused.items() if address not in later}
        if failed:
            self._return(message, content, failed)
        if later:
            seconds = min(_FIRST_RETRY * 2 ** message["attempts"], _LAST_RETRY)
            self._server.call("outgoing.defer", message=message["id"], seconds=seconds, recipients=later)
            logging.error(
                "Mail %d of %s: deferred by %d s for %d recipients: %s",
                message["id"],
                message["user"],
                seconds,
                len(later),
                refused[later[0]][1],
            )
            return
        self._server.call("outgoing.done", message=message["id"])
        notice("Mail %d of %s: sent to %d recipients, refused for %d", message["id"], message["user"], len(accepted), len(failed))

    def _return(self, message: dict[str, Any], content: bytes, failed: Refused) -> None:
        self._server.call("message.add", bounce(message, content, failed), user=message["user"], kind="inbox", over_quota=True)
        for address, (code, words) in failed.items():
            logging.error("Mail %d of %s: refused for %s: %d %s", message["id"], message["user"], address, code, words)


def ready(content: bytes) -> bytes:
    """The mail as it is sent: without the hidden recipients, with a date and an id, and with the lines' ends of SMTP."""
    head = header.cut(content)
    body, fields = content[len(head) :], header.parse(head)
    lines = re.sub(rb"(?im)^bcc:.*\r?\n(?:[ \t].*\r?\n)*", b"", head)
    missing = {"Date": formatdate(localtime=False), "Message-ID": make_msgid(domain=socket.gethostname())}
    for name, value in missing.items():
        if name not in fields:
            lines = f"{name}: {value}\r\n".encode() + lines
    return re.sub(rb"\r?\n", b"\r\n", lines + body)


def bounce(message: dict[str, Any], content: bytes, failed: Refused) -> bytes:
    """What the sender is told, with the header of the mail that was refused."""
    domain = message["email"].rpartition("@")[2] or socket.gethostname()
    mail = EmailMessage(policy=SMTP)
    mail["From"] = f"Mail Delivery System <postmaster@{domain}>"
    mail["To"] = message["email"] or message["user"]
    mail["Subject"] = f"Undelivered mail: {header.text(header.parse(content), 'Subject')}"[:200]
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = make_msgid(domain=socket.gethostname())
    mail["Auto-Submitted"] = "auto-replied"
    answers = "\n".join(f"  {address}: {code} {words}" for address, (code, words) in failed.items())
    mail.set_content(
        "Your mail could not be delivered to these recipients:\n\n"
        f"{answers}\n\nIt is in your Sent Items; its header follows. This is the spooler of the Kopano lab.\n"
    )
    mail.add_attachment(header.cut(content), maintype="text", subtype="rfc822-headers", filename="header.txt")
    return mail.as_bytes()


def _encoded(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _words(text: bytes) -> str:
    return " ".join(text.decode("utf-8", "replace").split())
