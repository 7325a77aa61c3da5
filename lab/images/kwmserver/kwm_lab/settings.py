"""The container's variables, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kapi_lab.settings import LEVELS
from kopano_lab.errors import Refusal

from kwm_lab.guests import Guests
from kwm_lab.turn import Turn

_WRONG = 64
_FLAGS = ("INSECURE", "enable_guest_api", "enable_rtm_api", "enable_mcu_api", "allow_guest_only_channels")


@dataclass(frozen=True)
class Settings:
    """What the meeting server needs to know."""

    issuer: str
    insecure: bool
    level: int
    guests: Guests | None
    guest_only_channels: bool
    turn: Turn | None


def load(environ: Mapping[str, str]) -> Settings:
    """Check the variables."""
    flags = {name: _flag(environ, name) for name in _FLAGS}
    if environ.get("enable_rtm_api") and not flags["enable_rtm_api"]:
        raise Refusal("enable_rtm_api is 'no': without it this server would do nothing: leave it unset.", _WRONG)
    issuer = environ.get("oidc_issuer_identifier", "")
    parts = urlsplit(issuer)
    if parts.scheme != "https" or not parts.hostname:
        raise Refusal(f"oidc_issuer_identifier is '{issuer}': give the provider's https://HOST address.", _WRONG)
    level = environ.get("log_level") or "info"
    if level not in LEVELS:
        raise Refusal(f"log_level is '{level}': allowed are {', '.join(LEVELS)}.", _WRONG)
    if flags["enable_mcu_api"]:
        print("kwmserver: enable_mcu_api: the lab has no media bridge; its address answers, and says so.", flush=True)
    return Settings(
        issuer=issuer,
        insecure=flags["INSECURE"],
        level=LEVELS[level],
        guests=_guests(environ) if flags["enable_guest_api"] else None,
        guest_only_channels=flags["allow_guest_only_channels"],
        turn=_turn(environ),
    )


def _guests(environ: Mapping[str, str]) -> Guests:
    pattern = environ.get("public_guest_access_regexp", "")
    try:
        compiled = re.compile(pattern) if pattern else None
    except re.error as problem:
        raise Refusal(
            f"public_guest_access_regexp is '{pattern}', which is no regular expression: {problem}.", _WRONG
        ) from problem
    path = environ.get("registration_conf") or "/etc/kopano/kwmserverd-registration.yaml"
    return Guests(Path(path), compiled)


def _turn(environ: Mapping[str, str]) -> Turn | None:
    uris = environ.get("turn_uris", "").split()
    for uri in uris:
        if not uri.startswith(("turn:", "turns:", "stun:", "stuns:")):
            raise Refusal(f"turn_uris has '{uri}': give addresses such as turn:turn.example.com:3478.", _WRONG)
    secret = environ.get("turn_server_shared_secret", "")
    if secret.startswith("/"):
        try:
            secret = Path(secret).read_text("utf-8").strip()
        except OSError as problem:
            raise Refusal(
                f"turn_server_shared_secret names {secret}, which cannot be read: {problem.strerror}.", _WRONG
            ) from problem
    if secret:
        if not uris:
            raise Refusal("turn_server_shared_secret is set, but turn_uris is not: name the TURN server there.", _WRONG)
        return Turn(uris=uris, secret=secret.encode())
    user, password = environ.get("turn_service_credentials_user", ""), environ.get("turn_service_credentials_password", "")
    service = environ.get("turn_service_url", "")
    if user and password and service:
        if not service.startswith("https://"):
            raise Refusal(f"turn_service_url is '{service}': give an https:// address.", _WRONG)
        return Turn(service=service, user=user, password=password)
    if user and password:
        # The published image asks a service on the internet by default, which a closed network does not have.
        print("kwmserver: turn_service_credentials_* without turn_service_url: clients are told of no TURN server.", flush=True)
    return None


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name) or "no"
    if value not in ("yes", "no"):
        raise Refusal(f"{name} is '{value}': allowed are yes and no.", _WRONG)
    return value == "yes"
