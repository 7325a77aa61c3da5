"""The container's variables, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from kopano_lab import waits
from kopano_lab.errors import Refusal

MACHINE_ID = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
ALGORITHMS = ("PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50, "panic": 50}
_WRONG = 64
LOCAL = ("localhost", "127.0.0.1", "::1")
"""Hosts of a native application's redirect address."""


@dataclass(frozen=True)
class Settings:
    """What the provider needs to know."""

    issuer: str
    base_path: str
    server: str
    algorithm: str
    kid: str
    signing_key: Path
    validation_keys: Path | None
    encryption_key: bytes
    registration: Path
    scopes: Mapping[str, str]
    guests: bool
    registering: bool
    signed_out: str
    level: int


def load(environ: Mapping[str, str]) -> Settings:
    """Check the variables and wait for the files that they name."""
    _refuse_unknown(environ)
    issuer = environ.get("oidc_issuer_identifier") or f"https://{environ.get('FQDN', '')}"
    parts = urlsplit(issuer)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise Refusal(
            f"the issuer is '{issuer}': set oidc_issuer_identifier to https://HOST or https://HOST:PORT, or FQDN to HOST.", _WRONG
        )
    algorithm = environ.get("signing_method") or "PS256"
    if algorithm not in ALGORITHMS:
        raise Refusal(f"signing_method is '{algorithm}': allowed are {', '.join(ALGORITHMS)}.", _WRONG)
    level = environ.get("log_level") or "info"
    if level not in LEVELS:
        raise Refusal(f"log_level is '{level}': allowed are {', '.join(LEVELS)}.", _WRONG)
    signing_key, encryption_key = _path(environ, "signing_private_key"), _path(environ, "encryption_secret_key")
    registration = _path(environ, "identifier_registration_conf")
    patience = _seconds(environ.get("DOCKERIZE_TIMEOUT") or "360s")
    waits.for_files([str(signing_key), str(encryption_key), str(registration), *MACHINE_ID], patience)
    return Settings(
        issuer=issuer,
        base_path=_base_path(environ.get("uri_base_path", "")),
        server=environ.get("KOPANO_SERVER_DEFAULT_URI") or "file:///run/kopano/server.sock",
        algorithm=algorithm,
        # The name of the key's file is its id, as with Konnect.
        kid=environ.get("signing_kid") or signing_key.resolve().stem,
        signing_key=signing_key,
        validation_keys=Path(environ["validation_keys_path"]) if environ.get("validation_keys_path") else None,
        encryption_key=_encryption_key(encryption_key),
        registration=registration,
        scopes=_scopes(_path(environ, "identifier_scopes_conf")),
        guests=_flag(environ, "allow_client_guests"),
        registering=_flag(environ, "allow_dynamic_client_registration"),
        signed_out=environ.get("signed_out_uri", ""),
        level=LEVELS[level],
    )


def read_yaml(path: Path, variable: str) -> dict[str, object]:
    """A YAML file that is a mapping; empty counts as one."""
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as problem:
        raise Refusal(f"{variable} names {path}, which cannot be read: {problem.strerror}.", _WRONG) from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        place = getattr(problem, "problem_mark", None)
        where = f" line {place.line + 1}" if place else ""
        raise Refusal(f"{variable} names {path}, which is no YAML{where}.", _WRONG) from problem
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refusal(f"{variable} names {path}, which must be a mapping.", _WRONG)
    return found


def unusable(entry: Mapping[str, Any]) -> str:
    """Why Konnect would leave out this client. It only logs that, and refuses the client's users later."""
    kind, insecure = entry.get("application_type") or "web", bool(entry.get("insecure"))
    redirects = [urlsplit(str(one)) for one in entry.get("redirect_uris") or []]
    if kind not in ("web", "native"):
        return f"'application_type' is '{kind}', which must be web or native"
    if not redirects and not insecure:
        return "'redirect_uris' must name an address"
    for parts in redirects:
        local = parts.scheme == "http" and parts.hostname in LOCAL
        if not parts.hostname:
            return f"'{parts.geturl()}' in 'redirect_uris' has no host"
        if kind == "web" and (local or (parts.scheme != "https" and not insecure)):
            return f"'{parts.geturl()}' in 'redirect_uris' must begin with https:// where 'application_type' is web"
        if kind == "native" and (parts.scheme == "https" or (parts.scheme == "http" and not local)):
            return f"'{parts.geturl()}' in 'redirect_uris' must begin with http://localhost where 'application_type' is native"
    return ""


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    backend = environ.get("KONNECT_BACKEND", "kc")
    if backend != "kc":
        raise Refusal(f"KONNECT_BACKEND is '{backend}': the lab asks the Kopano server alone: set it to kc.", _WRONG)
    if environ.get("external_oidc_provider") == "yes":
        raise Refusal("external_oidc_provider is 'yes': the lab has no other provider behind it: leave it unset.", _WRONG)
    if environ.get("ARGS"):
        raise Refusal("ARGS is set: the lab has no command line options: use the image's variables.", _WRONG)
    if environ.get("AUTOCONFIGURE", "true") != "true":
        raise Refusal("AUTOCONFIGURE is not 'true': the lab does not have this: leave it unset.", _WRONG)


def _path(environ: Mapping[str, str], name: str) -> Path:
    value = environ.get(name, "")
    if not value.startswith("/"):
        raise Refusal(f"{name} is '{value}': give the absolute path of a file in this container.", _WRONG)
    return Path(value)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name) or "no"
    if value not in ("yes", "no"):
        raise Refusal(f"{name} is '{value}': allowed are yes and no.", _WRONG)
    return value == "yes"


def _seconds(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}s", value):
        raise Refusal(f"DOCKERIZE_TIMEOUT is '{value}': give whole seconds, such as 360s.", _WRONG)
    return int(value[:-1])


def _base_path(value: str) -> str:
    path = value.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise Refusal(f"uri_base_path is '{value}': give a path such as /kopanoid, of letters, digits and ._~-.", _WRONG)
    return path


def _encryption_key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except OSError as problem:
        raise Refusal(f"encryption_secret_key names {path}, which cannot be read: {problem.strerror}.", _WRONG) from problem
    if len(key) != 32:
        raise Refusal(f"encryption_secret_key names {path}, which has {len(key)} bytes: it must have 32 random ones.", _WRONG)
    return key


def _scopes(path: Path) -> dict[str, str]:
    listed = read_yaml(path, "identifier_scopes_conf").get("scopes") or {}
    if not isinstance(listed, dict) or not all(isinstance(entry, dict) for entry in listed.values()):
        raise Refusal(f"identifier_scopes_conf names {path}: 'scopes' must map names to mappings with 'description'.", _WRONG)
    return {str(name): str(entry.get("description", "")) for name, entry in listed.items()}
