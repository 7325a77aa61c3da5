"""The container's variables, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kopano_lab.errors import Refusal

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50, "panic": 50}
_KAPI = ("INSECURE", "LISTEN", "LOG_LEVEL", "OIDC_ISSUER_IDENTIFIER", "PLUGIN_GRAPI_SOCKET_PATH", "PLUGIN_KVS_DB_DATASOURCE")
_WRONG = 64


@dataclass(frozen=True)
class Kapi:
    """What kapi needs to know."""

    issuer: str
    insecure: bool
    host: str
    port: int
    level: int
    grapi: Path
    database: Path
    pubs_key: Path | None


@dataclass(frozen=True)
class Grapi:
    """What grapi needs to know."""

    persistence: Path


def kapi(environ: Mapping[str, str]) -> Kapi:
    """The settings of kapi."""
    issuer = environ.get("KCCONF_KAPID_OIDC_ISSUER_IDENTIFIER", "")
    parts = urlsplit(issuer)
    if parts.scheme != "https" or not parts.hostname:
        raise Refusal(f"KCCONF_KAPID_OIDC_ISSUER_IDENTIFIER is '{issuer}': give the provider's https://HOST address.", _WRONG)
    listen = environ.get("KCCONF_KAPID_LISTEN") or "127.0.0.1:8039"
    match = re.fullmatch(r"([0-9.]+):([0-9]{1,5})", listen)
    if not match or not 0 < int(match[2]) < 65536:
        raise Refusal(f"KCCONF_KAPID_LISTEN is '{listen}': give ADDRESS:PORT, such as 0.0.0.0:8039.", _WRONG)
    level = environ.get("KCCONF_KAPID_LOG_LEVEL") or "info"
    if level not in LEVELS:
        raise Refusal(f"KCCONF_KAPID_LOG_LEVEL is '{level}': allowed are {', '.join(LEVELS)}.", _WRONG)
    _tell_ignored(environ, "KCCONF_KAPID_", _KAPI)
    return Kapi(
        issuer=issuer,
        insecure=_flag(environ, "KCCONF_KAPID_INSECURE"),
        host=match[1],
        port=int(match[2]),
        level=LEVELS[level],
        grapi=_path(environ, "KCCONF_KAPID_PLUGIN_GRAPI_SOCKET_PATH", "/var/run/kopano/grapi"),
        database=_path(environ, "KCCONF_KAPID_PLUGIN_KVS_DB_DATASOURCE", "/kopano/data/kapi-kvs/kvs.db"),
        pubs_key=_path(environ, "DEFAULT_PLUGIN_PUBS_SECRET_KEY_FILE", "")
        if environ.get("DEFAULT_PLUGIN_PUBS_SECRET_KEY_FILE")
        else None,
    )


def grapi(environ: Mapping[str, str]) -> Grapi:
    """The settings of grapi."""
    backend = environ.get("GRAPI_BACKEND", "kopano")
    if backend != "kopano":
        raise Refusal(f"GRAPI_BACKEND is '{backend}': the lab has kopano only: leave it unset.", _WRONG)
    if _flag(environ, "KCCONF_GRAPI_ENABLE_EXPERIMENTAL_ENDPOINTS"):
        raise Refusal("KCCONF_GRAPI_ENABLE_EXPERIMENTAL_ENDPOINTS is 'yes': the lab has none: set it to no.", _WRONG)
    _tell_ignored(environ, "KCCONF_GRAPI_", ("ENABLE_EXPERIMENTAL_ENDPOINTS", "INSECURE", "PERSISTENCY_PATH"))
    return Grapi(_path(environ, "KCCONF_GRAPI_PERSISTENCY_PATH", "/var/lib/kopano-grapi"))


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name) or "no"
    if value not in ("yes", "no", "true", "false"):
        raise Refusal(f"{name} is '{value}': allowed are yes and no.", _WRONG)
    return value in ("yes", "true")


def _path(environ: Mapping[str, str], name: str, default: str) -> Path:
    value = environ.get(name) or default
    if not value.startswith("/"):
        raise Refusal(f"{name} is '{value}': give an absolute path in this container.", _WRONG)
    return Path(value)


def _tell_ignored(environ: Mapping[str, str], prefix: str, known: tuple[str, ...]) -> None:
    ignored = sorted(name for name in environ if name.startswith(prefix) and name[len(prefix) :] not in known)
    if ignored:
        print(f"Accepted, but without effect in the lab: {', '.join(ignored)}", flush=True)
