"""Mail into a mailbox and out of it, for deployments that are too small for a mail server."""

from __future__ import annotations

import contextlib
import imaplib
import socket
import ssl
from typing import Any

from deployments import Deployment, docker

LMTP = """
import smtplib, sys
recipient, mail = sys.argv[1], sys.stdin.read()
with smtplib.LMTP("127.0.0.1", 2003) as dagent:
    dagent.sendmail("outside@outside.example", [recipient], mail)
"""


class PinnedImap(imaplib.IMAP4_SSL):
    """IMAPS to a deployment's host name on this machine, whatever the resolver says."""

    def _create_socket(self, timeout: Any = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.ssl_context.wrap_socket(plain, server_hostname=self.host)


def deliver(container: str, recipient: str, subject: str) -> None:
    """Hand a mail to the dagent in this container, as a mail server does. It is in the mailbox when this returns."""
    mail = f"From: outside@outside.example\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\nGood morning.\r\n"
    docker("exec", "--interactive", container, "python3", "-c", LMTP, recipient, stdin=mail)


def subjects(deployment: Deployment, login: str, password: str) -> list[str]:
    """The subjects in a user's inbox, read over IMAPS with the stack's authority trusted and no other."""
    with PinnedImap(deployment.outputs["fqdn"], deployment.ports["imaps"], ssl_context=deployment.authority) as imap:
        imap.login(login, password)
        imap.select("INBOX", readonly=True)
        found = []
        for number in imap.search(None, "ALL")[1][0].split():
            (_, header), *_ = imap.fetch(number, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
            found.append(header.decode().partition(":")[2].strip())
        with contextlib.suppress(imaplib.IMAP4.error):
            imap.close()
    return found
