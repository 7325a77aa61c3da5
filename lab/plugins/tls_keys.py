"""Keys: tls.PrivateKey, and the ways in which a key is written."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from lab.plugins.resource import ResourceError, ResourceType
from lab.plugins.schema import Field, Properties, ResourceSchema, Value, one_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes as PrivateKeyType


def made(*, sensitive: bool = False) -> Field:
    """A text that only the plug-in sets."""
    return Field("text", output_only=True, sensitive=sensitive)


def _enough(bits: Value) -> str | None:
    return None if bits >= 1024 else f"must be 1024 or more, got {bits}"


SCHEMA = ResourceSchema(
    token="tls:index/privateKey:PrivateKey",
    bookkeeping=False,
    fields={
        "algorithm": Field("text", required=True, force_new=True, check=one_of("RSA", "ECDSA", "ED25519")),
        "ecdsaCurve": Field("text", default="P224", force_new=True, check=one_of("P224", "P256", "P384", "P521")),
        "rsaBits": Field("int", default=2048, force_new=True, check=_enough),
        "privateKeyOpenssh": made(sensitive=True),
        "privateKeyPem": made(sensitive=True),
        "privateKeyPemPkcs8": made(sensitive=True),
        "publicKeyFingerprintMd5": made(),
        "publicKeyFingerprintSha256": made(),
        "publicKeyOpenssh": made(),
        "publicKeyPem": made(),
    },
)


class PrivateKey(ResourceType):
    """A private key and its public half."""

    schema = SCHEMA

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Generate the key."""
        from cryptography.hazmat.primitives import serialization as form

        key = _generated(planned)
        plain = form.NoEncryption()
        own = form.PrivateFormat.PKCS8 if planned["algorithm"] == "ED25519" else form.PrivateFormat.TraditionalOpenSSL
        der = key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
        # OpenSSH has no keys on this curve.
        no_ssh = planned["algorithm"] == "ECDSA" and planned["ecdsaCurve"] == "P224"
        openssh = b"" if no_ssh else key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, plain)
        pem = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha1(der.strip(), usedforsecurity=False).hexdigest(), {
            **planned,
            "privateKeyOpenssh": openssh.decode(),
            "privateKeyPem": key.private_bytes(form.Encoding.PEM, own, plain).decode(),
            "privateKeyPemPkcs8": key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain).decode(),
            "publicKeyPem": pem.decode(),
            **_ssh_texts(None if no_ssh else key),
        }


def _generated(planned: Properties) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if planned["algorithm"] == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=planned["rsaBits"])
    if planned["algorithm"] == "ED25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, Any] = {"P224": ec.SECP224R1, "P256": ec.SECP256R1, "P384": ec.SECP384R1, "P521": ec.SECP521R1}
    return ec.generate_private_key(curves[planned["ecdsaCurve"]]())


def _ssh_texts(key: Any) -> Properties:
    if key is None:
        return dict.fromkeys(("publicKeyOpenssh", "publicKeyFingerprintMd5", "publicKeyFingerprintSha256"), "")
    from cryptography.hazmat.primitives import serialization as form

    line = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    blob = base64.b64decode(line.split()[1])
    return {
        "publicKeyOpenssh": line.decode() + "\n",
        "publicKeyFingerprintMd5": hashlib.md5(blob, usedforsecurity=False).digest().hex(":"),
        "publicKeyFingerprintSha256": "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("="),
    }


def parsed(pem: str, what: str) -> PrivateKeyType:
    """The private key in a PEM text; what is wrong with it never shows the text."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = form.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise ResourceError(f"Failed to parse {what}: no private key in PEM without a passphrase") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        raise ResourceError(f"Failed to parse {what}: unsupported private key type, use RSA, ECDSA or ED25519")
    return key


def algorithm(key: PrivateKeyType) -> str:
    """The algorithm of a key, as the resources name it."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    return "ECDSA" if isinstance(key, ec.EllipticCurvePrivateKey) else "ED25519"


def signature_hash(key: PrivateKeyType) -> Any:
    """The hash that a signature by this key takes."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if algorithm(key) == "ED25519":
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.key_size == 384:
            return hashes.SHA384()
        if key.curve.key_size == 521:
            return hashes.SHA512()
    return hashes.SHA256()
