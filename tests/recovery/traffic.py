"""Mail that keeps coming while a deployment is broken and mended: what was accepted must be readable afterwards."""

from __future__ import annotations

import imaplib
import re
import secrets
import smtplib
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType

from deployments import Deployment

SHORT_GREYLISTING = {"mail": {"POSTGREY_DELAY": "1"}}
NUMBER = re.compile(rb"^Subject: number ([0-9a-f]+)\r?$", re.MULTILINE)


class Traffic:
    """Sends a mail to user1 again and again, as another mail server does, while the block lasts. `enter` brings the sending
    thread to where the ports are."""

    def __init__(self, deployment: Deployment, pause: float = 0.3, enter: Callable[[], None] = lambda: None) -> None:
        self._deployment, self._pause, self._enter = deployment, pause, enter
        self._domain = deployment.outputs["fqdn"]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: set[str] = set()
        self.refused: list[int] = []

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        self._enter()
        while not self._ended.is_set():
            number = secrets.token_hex(8)
            code = send(self._deployment, self._domain, number)
            if code == 250:
                self.accepted.add(number)
            elif code >= 500:
                self.refused.append(code)
            self._ended.wait(self._pause)

    def wait_for(self, more: int, seconds: float = 60) -> None:
        """Wait until so many more mails were accepted."""
        enough, end = len(self.accepted) + more, time.monotonic() + seconds
        while len(self.accepted) < enough:
            assert time.monotonic() < end, f"only {len(self.accepted)} mails were accepted"
            time.sleep(0.2)


def send(deployment: Deployment, domain: str, number: str) -> int:
    """With which code the mail server answers to this mail: 250 when it takes the responsibility, 0 when it is not there."""
    sender, recipient = "world@outside.example", f"user1@{domain}"
    lines = [f"From: {sender}", f"To: {recipient}", f"Subject: number {number}", f"Message-ID: <{number}@outside>", "", "-", ""]
    try:
        with smtplib.SMTP("127.0.0.1", deployment.ports["smtp"], local_hostname="mx.outside.example", timeout=30) as smtp:
            smtp.sendmail(sender, [recipient], "\r\n".join(lines))
    except smtplib.SMTPRecipientsRefused as refused:
        return max(code for code, _ in refused.recipients.values())
    except smtplib.SMTPResponseException as refused:
        return int(refused.smtp_code)
    except (OSError, smtplib.SMTPException):
        return 0
    return 250


def numbers(deployment: Deployment) -> set[str]:
    """The numbers of all mails in user1's mailbox and its junk folder."""
    context = ssl.create_default_context(cadata=deployment.outputs["caCertificate"])
    context.check_hostname = False  # it is asked for by its address
    found: set[str] = set()
    with imaplib.IMAP4_SSL("127.0.0.1", deployment.ports["imaps"], ssl_context=context, timeout=60) as imap:
        imap.login("user1", "user1")
        for folder in ("INBOX", '"Junk E-mail"'):
            if imap.select(folder, readonly=True)[0] != "OK":
                continue
            _, answer = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            for part in answer:
                if isinstance(part, tuple):
                    found |= {match.decode() for match in NUMBER.findall(part[1])}
    return found


def all_arrive(deployment: Deployment, traffic: Traffic, seconds: float = 180) -> None:
    """Wait until every mail that was accepted is in the mailbox; what waits in the queue is tried at once. None was refused for
    good."""
    assert traffic.refused == []
    end = time.monotonic() + seconds
    while missing := traffic.accepted - numbers(deployment):
        assert time.monotonic() < end, f"{len(missing)} of {len(traffic.accepted)} accepted mails are missing"
        deployment.execute("mail", "postqueue", "-f", check=False)
        time.sleep(2)
