"""Certificates as an administrator has them: of an authority of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate with its key and the authority that signed it (PEM)."""

    certificate: str
    key: str
    authority: str

    def setting(self, **more: str) -> dict[str, str]:
        """As the stack file has it."""
        return {"certificate": self.certificate, "key": self.key, **more}


@cache
def pair(host: str, days: int = 30) -> Pair:
    """A certificate for a host, valid for so many days from yesterday on."""
    begin = datetime.now(UTC) - timedelta(days=1)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (f"authority for {host}", host)]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    made = []
    for name, key, is_authority in zip(names, keys, (True, False), strict=True):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=3650 if is_authority else days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())
    private = keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(made[1], private.decode(), made[0])
