"""Certificates: tls.CertRequest, tls.SelfSignedCert and tls.LocallySignedCert."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lab.plugins.difference import Difference, finish
from lab.plugins.resource import ResourceError, ResourceType
from lab.plugins.schema import Field, Properties, ResourceSchema, at_least, one_of
from lab.plugins.tls_keys import algorithm, made, parsed, signature_hash

if TYPE_CHECKING:
    from cryptography import x509

_USAGES = {
    "digital_signature": "digital_signature",
    "content_commitment": "content_commitment",
    "key_encipherment": "key_encipherment",
    "data_encipherment": "data_encipherment",
    "key_agreement": "key_agreement",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
    "encipher_only": "encipher_only",
    "decipher_only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any_extended": "2.5.29.37.0",
    "server_auth": "1.3.6.1.5.5.7.3.1",
    "client_auth": "1.3.6.1.5.5.7.3.2",
    "code_signing": "1.3.6.1.5.5.7.3.3",
    "email_protection": "1.3.6.1.5.5.7.3.4",
    "ipsec_end_system": "1.3.6.1.5.5.7.3.5",
    "ipsec_tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec_user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp_signing": "1.3.6.1.5.5.7.3.9",
    "microsoft_server_gated_crypto": "1.3.6.1.4.1.311.10.3.3",
    "netscape_server_gated_crypto": "2.16.840.1.113730.4.1",
    "microsoft_commercial_code_signing": "1.3.6.1.4.1.311.2.1.22",
    "microsoft_kernel_code_signing": "1.3.6.1.4.1.311.61.1.1",
}
# In the order in which a name is written into a certificate.
_SUBJECT_OIDS = {
    "country": "2.5.4.6",
    "organization": "2.5.4.10",
    "organizationalUnit": "2.5.4.11",
    "locality": "2.5.4.7",
    "province": "2.5.4.8",
    "streetAddresses": "2.5.4.9",
    "postalCode": "2.5.4.17",
    "commonName": "2.5.4.3",
    "serialNumber": "2.5.4.5",
    "emailAddress": "1.2.840.113549.1.9.1",
}

_PEM_TEXT = Field("text", required=True, force_new=True)
_SECRET_PEM_TEXT = Field("text", required=True, force_new=True, sensitive=True)
_NAMES = Field("list", force_new=True)
_SUBJECT = Field(
    "one",
    force_new=True,
    fields={name: Field("list" if name == "streetAddresses" else "text") for name in _SUBJECT_OIDS},
)
_WHO = {"dnsNames": _NAMES, "ipAddresses": _NAMES, "subject": _SUBJECT, "uris": _NAMES}
_CERTIFICATE = {
    "allowedUses": Field("list", required=True, force_new=True, check=one_of(*sorted({*_USAGES, *_EXTENDED_USAGES}))),
    "certPem": made(),
    "earlyRenewalHours": Field("int", default=0, check=at_least(0)),
    "isCaCertificate": Field("bool", default=False, force_new=True),
    "maxPathLength": Field("int", computed=True, force_new=True, check=at_least(-1)),
    "readyForRenewal": Field("bool", output_only=True),
    "setSubjectKeyId": Field("bool", default=False, force_new=True),
    "validityEndTime": made(),
    "validityPeriodHours": Field("int", required=True, force_new=True, check=at_least(0)),
    "validityStartTime": made(),
}


class CertRequest(ResourceType):
    """A request for a certificate."""

    schema = ResourceSchema(
        token="tls:index/certRequest:CertRequest",
        bookkeeping=False,
        fields={**_WHO, "privateKeyPem": _SECRET_PEM_TEXT, "certRequestPem": made(), "keyAlgorithm": made()},
    )

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Write the request and sign it with its own key."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        key = parsed(planned["privateKeyPem"], "private key PEM")
        builder = x509.CertificateSigningRequestBuilder(subject_name=_subject(planned["subject"]))
        names = _alternative_names(planned)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not planned["subject"])
        request = builder.sign(key, signature_hash(key))
        return hashlib.sha1(request.public_bytes(Encoding.DER).strip(), usedforsecurity=False).hexdigest(), {
            **planned,
            "certRequestPem": request.public_bytes(Encoding.PEM).decode(),
            "keyAlgorithm": algorithm(key),
        }


class _Certificate(ResourceType):
    """What both kinds of certificate do as time goes by."""

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        """A certificate does not change, but it becomes due for renewal."""
        return {**state, "readyForRenewal": True} if _due(state) else state

    def complete_plan(self, planned: Properties, inputs: Properties) -> None:
        """A certificate that would be due from the start is ready for renewal at once."""
        early, whole = planned["earlyRenewalHours"], planned["validityPeriodHours"]
        known = isinstance(early, int) and isinstance(whole, int)
        planned["readyForRenewal"] = known and (whole == 0 or early >= whole)

    def complete_difference(self, planned: Properties, difference: Difference) -> None:
        """A certificate that is due is replaced."""
        if _due(planned):
            difference.detailed["readyForRenewal"] = "UPDATE_REPLACE"
            finish(self.schema, {}, difference)


def _due(state: Properties) -> bool:
    end, early = state.get("validityEndTime"), state.get("earlyRenewalHours") or 0
    if not isinstance(end, str) or not isinstance(early, int):
        return False
    try:
        return datetime.fromisoformat(end) - timedelta(hours=early) <= datetime.now(UTC)
    except ValueError:
        raise ResourceError(f"Failed to parse data from string: {end}") from None


class SelfSignedCert(_Certificate):
    """A certificate signed with its own key."""

    schema = ResourceSchema(
        token="tls:index/selfSignedCert:SelfSignedCert",
        bookkeeping=False,
        fields={
            **_WHO,
            **_CERTIFICATE,
            "keyAlgorithm": made(),
            "privateKeyPem": _SECRET_PEM_TEXT,
            "setAuthorityKeyId": Field("bool", default=False, force_new=True),
        },
    )

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Write and sign the certificate."""
        key = parsed(planned["privateKeyPem"], "private key PEM")
        subject = _subject(planned["subject"])
        own_id = None
        if planned["setAuthorityKeyId"]:
            if not (planned["isCaCertificate"] or planned["setSubjectKeyId"]):
                raise ResourceError("Invalid Certificate Authority: Could not determine Authority Key Identifier")
            own_id = _key_identifier(key.public_key())
        names = _alternative_names(planned)
        serial, made_here = _issue(planned, subject, names, key.public_key(), subject, key, own_id)
        return serial, {**planned, **made_here, "keyAlgorithm": algorithm(key)}


class LocallySignedCert(_Certificate):
    """A certificate for a request, signed by a certificate authority."""

    schema = ResourceSchema(
        token="tls:index/locallySignedCert:LocallySignedCert",
        bookkeeping=False,
        fields={
            **_CERTIFICATE,
            "caCertPem": _PEM_TEXT,
            "caKeyAlgorithm": made(),
            "caPrivateKeyPem": _SECRET_PEM_TEXT,
            "certRequestPem": _PEM_TEXT,
        },
    )

    def create(self, planned: Properties) -> tuple[str, Properties]:
        """Write the certificate and sign it with the authority's key."""
        from cryptography import x509

        try:
            request = x509.load_pem_x509_csr(planned["certRequestPem"].encode())
        except ValueError:
            raise ResourceError("Failed to parse certificate request PEM") from None
        key = parsed(planned["caPrivateKeyPem"], "CA private key PEM")
        try:
            authority = x509.load_pem_x509_certificate(planned["caCertPem"].encode())
        except ValueError:
            raise ResourceError("Failed to parse CA certificate PEM") from None
        if authority.public_key() != key.public_key():
            raise ResourceError("Failed to create certificate: x509: provided PrivateKey doesn't match parent's PublicKey")
        names: list[x509.GeneralName] = []
        with suppress(x509.ExtensionNotFound):
            names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        serial, made_here = _issue(
            planned, request.subject, names, request.public_key(), authority.subject, key, _own_identifier(authority)
        )
        return serial, {**planned, **made_here, "caKeyAlgorithm": algorithm(key)}


def _own_identifier(authority: x509.Certificate) -> bytes | None:
    from cryptography import x509

    try:
        return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def _issue(
    planned: Properties,
    subject: x509.Name,
    names: list[x509.GeneralName],
    public_key: Any,
    issuer: x509.Name,
    issuer_key: Any,
    authority_id: bytes | None,
) -> tuple[str, Properties]:
    """The serial number of a new certificate, and what it adds to the state."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    authority = planned["isCaCertificate"]
    if authority and not list(subject):
        raise ResourceError(
            "Invalid Certificate Subject: Must contain at least one Distinguished Name when creating Certificate Authority (CA)"
        )
    start = datetime.now(UTC).replace(microsecond=0)
    end = start + timedelta(hours=planned["validityPeriodHours"])
    serial = secrets.randbits(128) or 1
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=_path_length(planned)), critical=True)
    )
    for extension, critical in _usage_extensions(planned["allowedUses"]):
        builder = builder.add_extension(extension, critical=critical)
    if authority or planned["setSubjectKeyId"]:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(_key_identifier(public_key)), critical=False)
    if authority_id is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(authority_id, None, None), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
    certificate = builder.sign(issuer_key, signature_hash(issuer_key))
    return str(serial), {
        "certPem": certificate.public_bytes(Encoding.PEM).decode(),
        "maxPathLength": planned["maxPathLength"] if isinstance(planned["maxPathLength"], int) else None,
        "validityEndTime": end.isoformat().replace("+00:00", "Z"),
        "validityStartTime": start.isoformat().replace("+00:00", "Z"),
    }


def _path_length(planned: Properties) -> int | None:
    length = planned["maxPathLength"]
    # The genuine plug-in cannot write a limit of zero either: it takes it for none.
    if not isinstance(length, int) or length <= 0:
        return None
    if not planned["isCaCertificate"]:
        raise ResourceError("Failed to create certificate: x509: only CAs are allowed to specify MaxPathLen")
    return length


def _usage_extensions(uses: list[str]) -> list[tuple[Any, bool]]:
    from cryptography import x509

    extensions: list[tuple[Any, bool]] = []
    usages = {name: False for name in _USAGES.values()}
    usages.update({_USAGES[use]: True for use in uses if use in _USAGES})
    if any(usages.values()):
        try:
            extensions.append((x509.KeyUsage(**usages), True))
        except ValueError:
            raise ResourceError(
                "Failed to create certificate: encipher_only and decipher_only are allowed only with key_agreement"
            ) from None
    extended = [x509.ObjectIdentifier(_EXTENDED_USAGES[use]) for use in uses if use in _EXTENDED_USAGES]
    if extended:
        extensions.append((x509.ExtendedKeyUsage(extended), False))
    return extensions


def _key_identifier(public_key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(public_key, rsa.RSAPublicKey):
        data = public_key.public_bytes(form.Encoding.DER, form.PublicFormat.PKCS1)
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        data = public_key.public_bytes(form.Encoding.X962, form.PublicFormat.UncompressedPoint)
    else:
        raw = public_key.public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
        # The genuine plug-in hashes these keys as an ASN.1 octet string.
        data = bytes([4, len(raw)]) + raw
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _subject(subject: Properties | None) -> x509.Name:
    from cryptography import x509

    attributes = []
    for name, oid in _SUBJECT_OIDS.items():
        given = (subject or {}).get(name)
        for value in given if isinstance(given, list) else [given] if given else []:
            try:
                attributes.append(x509.NameAttribute(x509.ObjectIdentifier(oid), value))
            except ValueError as error:
                raise ResourceError(f"Invalid Certificate Subject: {name}: {error}") from None
    return x509.Name(attributes)


def _alternative_names(planned: Properties) -> list[x509.GeneralName]:
    from cryptography import x509

    names: list[x509.GeneralName] = [x509.DNSName(name) for name in planned["dnsNames"] or []]
    for address in planned["ipAddresses"] or []:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            raise ResourceError(f'Invalid IP address: Failed to parse "{address}"') from None
    names += [x509.UniformResourceIdentifier(uri) for uri in planned["uris"] or []]
    return names
