"""The tls plug-in: private keys, certificate requests and certificates."""

from __future__ import annotations

from lab.plugins.resource import Plugin
from lab.plugins.tls_certificates import CertRequest, LocallySignedCert, SelfSignedCert
from lab.plugins.tls_keys import PrivateKey


class TlsPlugin(Plugin):
    """Stands in for the genuine tls plug-in."""

    name = "tls"

    def __init__(self) -> None:
        types = (PrivateKey(), CertRequest(), SelfSignedCert(), LocallySignedCert())
        self.resources = {resource.schema.token: resource for resource in types}


PLUGIN = TlsPlugin()
