"""Starts the provider."""

from __future__ import annotations

import logging
import os
import signal
import sys

from kopano_lab.errors import Refusal, told
from waitress import create_server

from konnect_lab import BANNER, settings, web

PORT = 8777


def main() -> int:
    """Entry point of the container."""
    if len(sys.argv) > 1:
        os.execvp(sys.argv[1], sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return told("konnect", _serve)


def _serve() -> int:
    print(f"konnect: {BANNER}", flush=True)
    found = settings.load(os.environ)
    logging.basicConfig(stream=sys.stdout, level=found.level, format="konnect: [%(levelname)s] %(message)s")
    # Authlib writes whole tokens into its own log lines.
    logging.getLogger("authlib").setLevel(logging.WARNING)
    app = web.application(found)
    try:
        # TLS ends in front of this server; what it makes of addresses must be right outside.
        server = create_server(app, host="0.0.0.0", port=PORT, threads=8, url_scheme="https", ident="kopano-lab konnect")
    except OSError as problem:
        raise Refusal(f"port {PORT} cannot be listened on: {problem.strerror}.") from problem
    logging.info(
        "Issuer %s; guests: %s; dynamic client registration: %s",
        found.issuer,
        "yes" if found.guests else "no",
        "yes" if found.registering else "no",
    )
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
