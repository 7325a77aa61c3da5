"""Signs tokens, and seals what only the provider itself may read."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from authlib.jose import JsonWebEncryption, JsonWebKey, JsonWebToken, KeySet
from authlib.jose.errors import JoseError
from kopano_lab.errors import Refusal

from konnect_lab.settings import ALGORITHMS, Settings

Claims = dict[str, Any]


class Keys:
    """The signing key, and the public keys of earlier ones."""

    def __init__(self, settings: Settings) -> None:
        self.algorithm = settings.algorithm
        self.issuer = settings.issuer
        self._jwt = JsonWebToken(list(ALGORITHMS))
        self.signing = _signing_key(settings)
        self._public = KeySet([self.signing, *_earlier_keys(settings)])

    def public(self) -> Claims:
        """The document at jwks_uri."""
        listed = [{**key.as_dict(is_private=False), "use": "sig"} for key in self._public.keys]
        return {"keys": listed}

    def sign(self, claims: Claims) -> str:
        """A signed token."""
        return str(self._jwt.encode({"alg": self.algorithm}, claims, self.signing), "ascii")

    def verified(self, token: str, *, expired: bool = False) -> Claims | None:
        """The claims of a token of ours that is still good; with `expired` also of one that was."""
        try:
            claims = self._jwt.decode(token, self._key)
            if not expired:
                claims.validate()
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        return dict(claims) if claims.get("iss") == self.issuer else None

    def _key(self, header: Claims, payload: object) -> Any:
        return self._public.find_by_kid(header.get("kid"))


class Seal:
    """Encrypts small records with the encryption key. They are good across restarts, each for one purpose."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._jwe = JsonWebEncryption(["dir", "A256GCM"])

    def close(self, purpose: str, content: Claims, seconds: int) -> str:
        """The sealed record, good for so many seconds."""
        record = json.dumps({"for": purpose, "until": int(time.time()) + seconds, "content": content}).encode()
        return str(self._jwe.serialize_compact({"alg": "dir", "enc": "A256GCM"}, record, self._key), "ascii")

    def open(self, purpose: str, sealed: str) -> Claims | None:
        """What was sealed, if it was us, for this purpose, and not too long ago."""
        try:
            record = json.loads(self._jwe.deserialize_compact(sealed, self._key)["payload"])
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        if record["for"] != purpose or record["until"] < time.time():
            return None
        content: Claims = record["content"]
        return content


def _signing_key(settings: Settings) -> Any:
    try:
        key = JsonWebKey.import_key(settings.signing_key.read_bytes(), {"kty": "RSA", "kid": settings.kid})
        key.get_private_key()
        # A public key has no private part to sign with.
        if not key.as_dict(is_private=True).get("d"):
            raise ValueError("no private key")
    except OSError as problem:
        raise Refusal(
            f"signing_private_key names {settings.signing_key}, which cannot be read: {problem.strerror}: let user 65534 own it.",
            64,
        ) from problem
    except Exception as problem:
        raise Refusal(
            f"signing_private_key names {settings.signing_key}, which is no unencrypted RSA private key in PEM.", 64
        ) from problem
    return key


def _earlier_keys(settings: Settings) -> list[Any]:
    if not settings.validation_keys:
        return []
    found = []
    for path in sorted(settings.validation_keys.glob("*.pem")):
        if path.stem == settings.kid:
            continue
        try:
            found.append(JsonWebKey.import_key(path.read_bytes(), {"kty": "RSA", "kid": path.stem}))
            found[-1].as_dict(is_private=False)
        except Exception:
            logging.warning("validation_keys_path: %s is no RSA key in PEM", path)
    return found
