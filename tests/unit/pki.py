"""Certificates as an administrator has them: of an authority of their own."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate, with those of its issuers, with its key and the authority in whose name it is trusted (PEM)."""

    certificate: str
    key: str
    authority: str

    def setting(self, **more: str) -> dict[str, str]:
        """As the stack file has it."""
        return {"certificate": self.certificate, "key": self.key, **more}


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@cache
def pair(host: str, days: int = 30, *, issuer: bool = False) -> Pair:
    """A certificate for a host or an address, valid for so many days from yesterday on; signed by the authority, or with
    `issuer` by one that the authority has signed."""
    begin = datetime.now(UTC) - timedelta(days=1)
    owners = [f"authority for {host}", *([f"issuer for {host}"] if issuer else []), host]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in owners]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    made = []
    for number, (name, key) in enumerate(zip(names, keys, strict=True)):
        above, is_authority = max(number - 1, 0), number < len(names) - 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[above])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=3650 if is_authority else days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
        made.append(builder.sign(keys[above], hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())
    private = keys[-1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair("".join(reversed(made[1:])), private.decode(), made[0])
