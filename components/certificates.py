"""Whether a certificate of the stack file does what it is there for, found out before anything is deployed."""

from __future__ import annotations

import re
import ssl
import tempfile

BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\n.+?\n-----END CERTIFICATE-----\n?", re.DOTALL)
KEY = re.compile(r"-----BEGIN ((RSA |EC )?PRIVATE KEY)-----\n.+?\n-----END \1-----", re.DOTALL)


def trouble(certificate: str, key: str, host: str, authority: str = "") -> str:
    """What keeps clients from trusting `certificate` (PEM: the host's own first, then its issuers') with its `key` for `host`;
    empty where nothing does. `authority` (PEM) is who they trust; without it they trust the certificate itself."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python loads a pair from files only. This one is the user's alone and gone at once.
    with tempfile.NamedTemporaryFile("w", encoding="ascii", errors="replace") as file:
        file.write(f"{key.rstrip()}\n{certificate}")
        file.flush()
        try:
            server.load_cert_chain(file.name, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            mismatch = "KEY_VALUES_MISMATCH" in str(error)
            return "the key does not belong to it" if mismatch else "it and the key, without a passphrase, must be PEM"
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(cadata=authority or BLOCK.findall(certificate)[0])
    except (ssl.SSLError, IndexError):
        return "the authority must be PEM"
    return _refusal(server, client, host)


def _refusal(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str:
    """Why the client refuses what the server shows; empty where it does not. No network has a part in it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[ssl.SSLObject] = set()
    while len(done) < len(ends):
        for end in ends:
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return str(error.verify_message).rstrip(".")
            except ssl.SSLError as error:
                return str(error.reason or error)
    return ""
