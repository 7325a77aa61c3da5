"""How a container becomes the spooler."""

from __future__ import annotations

from collections.abc import Mapping

from kopano_lab import service, waits

PROGRAM = "/usr/sbin/kopano-spooler"
_MAIL_PATIENCE = 1080


def prepare(environ: Mapping[str, str], checks: bool) -> None:
    """Drop to kopano, wait for the server, then for the mail server, which may take long to start."""
    service.prepare("spooler", environ, checks)
    if checks:
        host, port = environ.get("KCCONF_SPOOLER_SMTP_SERVER", "localhost"), environ.get("KCCONF_SPOOLER_SMTP_PORT", "25")
        waits.for_tcp(host, port, _MAIL_PATIENCE, "the mail server (KCCONF_SPOOLER_SMTP_SERVER)")
