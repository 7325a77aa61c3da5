"""A certificate that clients would refuse is found before it is deployed."""

from __future__ import annotations

import pytest
from pki import pair

from components.certificates import trouble

HOST = "mail.example.org"


@pytest.mark.parametrize("authority", ["", pair(HOST).authority], ids=["of a public authority", "of an own one"])
def test_a_certificate_with_its_key_for_the_host_is_taken(authority: str) -> None:
    own = pair(HOST)
    assert trouble(own.certificate, own.key, HOST, authority) == ""
    assert trouble(own.certificate + own.authority, own.key, HOST, authority) == ""


def test_what_clients_would_refuse_is_named() -> None:
    own, other, expired = pair(HOST), pair("www.example.org"), pair(HOST, days=0)
    assert trouble(own.certificate, other.key, HOST) == "the key does not belong to it"
    assert "not valid for 'mail.example.org'" in trouble(other.certificate, other.key, HOST)
    assert "expired" in trouble(expired.certificate, expired.key, HOST)
    assert "issuer" in trouble(own.certificate, own.key, HOST, other.authority)
    assert "without a passphrase" in trouble(own.certificate, "nothing", HOST)
    assert "authority must be PEM" in trouble(own.certificate, own.key, HOST, "nothing")
