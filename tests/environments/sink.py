"""A mail server that takes mail by TLS from who logs in, and writes a line of JSON for each: `python3 sink.py`, in a container.

The variables SINK_USER and SINK_PASSWORD say who may; the certificate and its key are in /sink/tls.pem.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

PORT = 2525


class Sink:
    """Takes every mail."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "login": session.auth_data,
            "tls": server.transport.get_extra_info("ssl_object").version(),
            "content": envelope.content.decode(errors="replace"),
        }
        print(json.dumps(mail), flush=True)
        return "250 taken"


def logged_in(_server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
    """Who knows the password. Its name is what the mail was sent under."""
    right = (os.environ["SINK_USER"].encode(), os.environ["SINK_PASSWORD"].encode())
    return AuthResult(success=(data.login, data.password) == right, auth_data=f"{data.login.decode()} by {mechanism}")


if __name__ == "__main__":
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain("/sink/tls.pem")
    words = {"require_starttls": True, "auth_required": True, "auth_require_tls": True, "authenticator": logged_in}
    Controller(Sink(), "0.0.0.0", PORT, tls_context=tls, **words).start()
    threading.Event().wait()
