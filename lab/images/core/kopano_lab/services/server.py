"""How a container becomes the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kopano_lab import privileges, waits
from kopano_lab.errors import Refusal

PROGRAM = "/usr/sbin/kopano-server"
ATTACHMENTS = Path("/kopano/data/attachments")
PATIENCE = 360


def prepare(environ: Mapping[str, str], checks: bool) -> None:
    """Own the volumes, drop to kopano, wait for certificate, key and database."""
    privileges.own(ATTACHMENTS.parent, ATTACHMENTS, Path("/run/kopano"))
    privileges.drop()
    try:
        ATTACHMENTS.mkdir(exist_ok=True)
        ATTACHMENTS.chmod(0o755)
    except OSError as problem:
        raise Refusal(f"{ATTACHMENTS} cannot be made ({problem.strerror}): mount a volume on /kopano/data.") from problem
    if checks:
        _wait(environ)


def _wait(environ: Mapping[str, str]) -> None:
    mysql_socket = environ.get("KCCONF_SERVER_MYSQL_SOCKET", "")
    host = port = ""
    if not mysql_socket:
        host, port = _needed(environ, "KCCONF_SERVER_MYSQL_HOST"), _needed(environ, "KCCONF_SERVER_MYSQL_PORT")
    waits.for_files(
        [_needed(environ, "KCCONF_SERVER_SERVER_SSL_CA_FILE"), _needed(environ, "KCCONF_SERVER_SERVER_SSL_KEY_FILE")], PATIENCE
    )
    if mysql_socket:
        waits.for_sockets([mysql_socket], PATIENCE)
    else:
        waits.for_tcp(host, port, PATIENCE, "the database (KCCONF_SERVER_MYSQL_HOST)")


def _needed(environ: Mapping[str, str], name: str) -> str:
    if name not in environ:
        raise Refusal(f"{name}: unbound variable: the server cannot start without it.")
    return environ[name]
