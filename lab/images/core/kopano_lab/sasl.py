"""Log-on by an access token, as clients send it: SASL's OAUTHBEARER (RFC 7628), and XOAUTH2, which came before it."""

from __future__ import annotations

OAUTHBEARER, XOAUTH2 = "OAUTHBEARER", "XOAUTH2"
REFUSED = b'{"status":"invalid_token","scope":"kopano/gc"}'
"""What a client is told of a token that is no good, before the log-on is refused."""
_SEPARATOR = "\x01"


def bearer(mechanism: str, response: bytes) -> tuple[str, str]:
    """The user, who may be empty with OAUTHBEARER, and the token; raises ValueError for what cannot be read."""
    head, *fields = response.decode().split(_SEPARATOR)
    if fields[-2:] != ["", ""]:
        raise ValueError("the response must end with two separators")
    if mechanism == XOAUTH2:
        key, _, user = head.partition("=")
        if key != "user" or not user:
            raise ValueError("the response must begin with user=")
    else:
        user = _authorized(head)
    pairs = dict(field.partition("=")[::2] for field in fields[:-2])
    kind, _, token = pairs.get("auth", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise ValueError("the response must have auth=Bearer and a token")
    return user, token.strip()


def _authorized(head: str) -> str:
    """The user in the head that OAUTHBEARER has in common with other mechanisms (RFC 5801), such as `n,a=user1,`."""
    parts = head.split(",")
    if len(parts) != 3 or parts[0] not in ("n", "y") or parts[2]:
        raise ValueError("the response must begin with n,a=USER, and cannot be bound to the connection")
    key, _, user = parts[1].partition("=")
    if parts[1] and key != "a":
        raise ValueError("the user must be written as a=USER")
    return user.replace("=2C", ",").replace("=3D", "=")
