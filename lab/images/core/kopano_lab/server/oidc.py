"""Waits for the OpenID provider."""

from __future__ import annotations

import json
import logging
import ssl
import time
import urllib.request
from urllib.parse import urlsplit

from kopano_lab.errors import Refusal
from kopano_lab.log import notice


def wait(issuer: str, seconds: int, insecure: bool) -> None:
    """Wait until the provider is there; without it in time the server ends. 0 seconds: do not wait at all."""
    if urlsplit(issuer).scheme != "https":
        raise Refusal(f"kcoidc_issuer_identifier = '{issuer}' must be an https:// address.", 255)
    if seconds == 0:
        logging.warning("OpenID provider %s: not waited for", issuer)
        return
    context = ssl.create_default_context()
    if insecure:
        logging.warning("OpenID provider %s: its certificate is not verified (kcoidc_insecure_skip_verify)", issuer)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    deadline = time.monotonic() + seconds
    last = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            _discover(issuer, context, min(left, 10))
        except (OSError, ValueError, KeyError) as problem:
            reason = str(getattr(problem, "reason", problem)) or type(problem).__name__
            if reason != last:
                logging.warning("OpenID provider %s is not ready: %s", issuer, reason)
            last = reason
            time.sleep(min(1, max(left, 0)))
        else:
            notice("OpenID provider %s is ready", issuer)
            return
    raise Refusal(
        f"OpenID provider {issuer} (KCCONF_SERVER_KCOIDC_ISSUER_IDENTIFIER) was not ready within {seconds} seconds: {last}.", 255
    )


def _discover(issuer: str, context: ssl.SSLContext, timeout: float) -> None:
    found = _json(issuer.rstrip("/") + "/.well-known/openid-configuration", context, timeout)
    if found["issuer"] != issuer:
        raise ValueError(f"it calls itself '{found['issuer']}'")
    _json(found["jwks_uri"], context, timeout)


def _json(url: str, context: ssl.SSLContext, timeout: float) -> dict[str, str]:
    if urlsplit(url).scheme != "https":
        raise ValueError(f"{url} is no https:// address")
    with urllib.request.urlopen(url, timeout=timeout, context=context) as answer:  # noqa: S310 - https alone
        document = json.load(answer)
    if not isinstance(document, dict):
        raise ValueError(f"{url} is not a JSON object")
    return document
