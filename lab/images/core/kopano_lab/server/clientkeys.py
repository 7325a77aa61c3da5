"""Client certificates of the other services: the server knows their public keys."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key


def name_of(certificate: bytes, folder: Path) -> str | None:
    """The name of the file in the folder that holds the certificate's public key."""
    shown = x509.load_der_x509_certificate(certificate).public_key()
    wanted = shown.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # Read at each connection, so that a key put there later is accepted without a restart.
    for path in sorted(folder.glob("*.pem")):
        try:
            known = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError) as problem:
            logging.warning("%s is no readable public key: %s", path, problem)
            continue
        if known.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == wanted:
            return path.name
    return None
