"""Looks at the size of every mailbox from time to time."""

from __future__ import annotations

import socket
import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Any

from kopano_lab import service
from kopano_lab.client import Client
from kopano_lab.errors import Refusal, told
from kopano_lab.log import notice
from kopano_lab.service import Ending

OPTIONS = service.KEY | {"mailquota_resend_interval": "1", "quota_check_interval": "15"}
_PAUSE = 10
_DAY = 24 * 3600
_MEANING = {
    "warn": "You can still send and receive mail.",
    "soft": "You cannot send mail until you have deleted some.",
    "hard": "You can neither send nor receive mail until you have deleted some.",
}


def main(arguments: list[str]) -> int:
    """Entry point of kopano-monitor."""
    return told("kopano-monitor", _run)


def _run() -> int:
    ending = Ending()
    config = service.load("monitor", OPTIONS)
    minutes = config.number("quota_check_interval")
    if not minutes:
        raise Refusal("monitor.cfg: quota_check_interval = '0' must be a number of minutes from 1 on.")
    server = service.client(config)
    notice("Looking at the mailboxes every %d minutes", minutes)

    def look() -> None:
        check(server, config.number("mailquota_resend_interval"))
        ending.sleep(60 * minutes)

    ending.repeat(look, _PAUSE)


def check(server: Client, days: int) -> None:
    """Tell every user whose mailbox has reached a limit, at most once in so many days."""
    for row in server.call("quota.list")[0]:
        if not row["reached"] or time.time() - row["told"] < days * _DAY:
            continue
        server.call("message.add", warning(row), user=row["user"], kind="inbox", over_quota=True)
        server.call("quota.told", user=row["user"])
        notice("Mailbox of %s has reached its %s limit: the user is told", row["user"], row["reached"])


def warning(row: dict[str, Any]) -> bytes:
    """The mail that tells a user of a full mailbox."""
    level, limits = row["reached"], row["quota"]
    mail = EmailMessage(policy=SMTP)
    mail["From"] = f"Kopano lab monitor <postmaster@{row['email'].rpartition('@')[2] or socket.gethostname()}>"
    mail["To"] = row["email"] or row["user"]
    mail["Subject"] = f"Your mailbox has reached its {level} limit"
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = make_msgid(domain=socket.gethostname())
    mail["Auto-Submitted"] = "auto-generated"
    table = "\n".join(f"  {name} limit: {mebibytes(limits[name]) if limits[name] else 'none'}" for name in limits)
    mail.set_content(
        f"Your mailbox holds {mebibytes(row['size'])} and has reached its {level} limit.\n{_MEANING[level]}\n\n{table}\n\n"
        "This is the monitor of the Kopano lab.\n"
    )
    return mail.as_bytes()


def mebibytes(size: int) -> str:
    """A size as a person reads it."""
    return f"{size / 1024**2:.2f} MB"
