"""The server's certificate and key: those of the user, or a pair of our own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mail_lab.settings import Refusal, Settings

_MONTH = 30 * 24 * 3600


def install(settings: Settings, folder: Path) -> None:
    """Put key and certificates into `server.pem`, in the order that Postfix wants."""
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / "server.pem"
    if settings.get("SSL_TYPE") == "manual":
        key, certificate = _given(settings)
        _write(target, key + certificate)
    elif _openssl("x509", "-in", str(target), "-noout", "-checkhost", settings.hostname).find("does match") < 0 or _expires(
        target
    ):
        key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
        _openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "397",
            "-subj",
            "/O=Kopano lab, self-signed",
            "-addext",
            f"subjectAltName=DNS:{settings.hostname}",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            str(key_file),
            "-out",
            str(certificate_file),
        )
        _write(target, key_file.read_text() + certificate_file.read_text())


def _given(settings: Settings) -> tuple[str, str]:
    texts = {}
    for name in ("SSL_CERT_PATH", "SSL_KEY_PATH"):
        path = settings.get(name)
        try:
            texts[name] = Path(path).read_text("ascii").rstrip() + "\n"
        except (OSError, ValueError):
            raise Refusal(f"{name} names {path}, which is no readable PEM file in this container: mount it there.") from None
    public = _openssl("x509", "-noout", "-pubkey", stdin=texts["SSL_CERT_PATH"])
    if not public:
        raise Refusal(
            "SSL_CERT_PATH names a file that does not begin with a PEM certificate: give the host's own, then its issuers'."
        )
    private = _openssl("pkey", "-passin", "pass:", "-pubout", stdin=texts["SSL_KEY_PATH"])
    if not private:
        raise Refusal("SSL_KEY_PATH names a file without an unencrypted private key in PEM: give one.")
    if public != private:
        raise Refusal("SSL_KEY_PATH does not belong to the certificate in SSL_CERT_PATH: give a pair.")
    return texts["SSL_KEY_PATH"], texts["SSL_CERT_PATH"]


def _expires(path: Path) -> bool:
    return "will not expire" not in _openssl("x509", "-in", str(path), "-noout", "-checkend", str(_MONTH))


def _openssl(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def _write(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text, "ascii")
    os.chmod(path, 0o600)
