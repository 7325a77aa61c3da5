"""The container's variables: what is allowed, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class Refusal(Exception):
    """A reason not to start, in one sentence."""


CONFIG = Path("/tmp/docker-mailserver")
"""Where the published image looks for files of its user."""

# Each with the value that the published image takes when it is unset. Another value asks for what the lab has not.
_ONLY = {
    "ENABLE_AMAVIS": ("1", "1"),
    "ENABLE_DNSBL": ("0", "0"),
    "ENABLE_FETCHMAIL": ("0", "0"),
    "ENABLE_LDAP": ("0", "1"),
    "ENABLE_MANAGESIEVE": ("0", "0"),
    "ENABLE_POP3": ("0", "0"),
    "ENABLE_POSTFIX_VIRTUAL_TRANSPORT": ("0", "1"),
    "ENABLE_SASLAUTHD": ("0", "1"),
    "ENABLE_SPAMASSASSIN_KAM": ("0", "0"),
    "ENABLE_SRS": ("0", "0"),
    "ONE_DIR": ("1", "1"),
    "SASLAUTHD_MECHANISMS": ("pam", "rimap"),
    "SMTP_ONLY": ("0", "1"),
    "SPOOF_PROTECTION": ("0", "0"),
    "TLS_LEVEL": ("modern", "modern"),
}
_CHOICES = {
    "ENABLE_CLAMAV": ("0", "1"),
    "ENABLE_FAIL2BAN": ("0", "1"),
    "ENABLE_POSTGREY": ("0", "1"),
    "ENABLE_SPAMASSASSIN": ("0", "1"),
    "FAIL2BAN_BLOCKTYPE": ("drop", "reject"),
    "PERMIT_DOCKER": ("none", "connected-networks"),
    "POSTFIX_INET_PROTOCOLS": ("all", "ipv4", "ipv6"),
    "SPAMASSASSIN_SPAM_TO_INBOX": ("1", "0"),
    "SSL_TYPE": ("", "self-signed", "manual"),
}
_NEEDED = (
    "LDAP_BIND_DN",
    "LDAP_BIND_PW",
    "LDAP_QUERY_FILTER_ALIAS",
    "LDAP_QUERY_FILTER_DOMAIN",
    "LDAP_QUERY_FILTER_GROUP",
    "LDAP_QUERY_FILTER_USER",
    "LDAP_SEARCH_BASE",
    "LDAP_SERVER_HOST",
    "POSTFIX_DAGENT",
    "SASLAUTHD_MECH_OPTIONS",
)
_PATTERNS = {
    "DEFAULT_RELAY_HOST": (r"(\[[\w.-]+\]|[\w.-]+)(:\d+)?", "[relay.example.com]:587"),
    "POSTFIX_DAGENT": (r"lmtp:(inet:)?[\w.-]+:\d+", "lmtp:kopano_dagent:2003"),
    "POSTMASTER_ADDRESS": (r"[\w.+-]+@[\w.-]+", "postmaster@example.com"),
    "RELAY_HOST": (r"[\w.-]+", "relay.example.com"),
    "RELAY_PORT": (r"\d+", "587"),
    "SASLAUTHD_MECH_OPTIONS": (r"[\w.-]+(/\d+)?", "kopano_gateway"),
    "SSL_CERT_PATH": (r"/[\w./@+-]+", "/certificates/mail.pem"),
    "SSL_KEY_PATH": (r"/[\w./@+-]+", "/certificates/mail-key.pem"),
    **{
        name: (r"\d+", "a whole number")
        for name in ("POSTFIX_MESSAGE_SIZE_LIMIT", "POSTGREY_AUTO_WHITELIST_CLIENTS", "POSTGREY_DELAY", "POSTGREY_MAX_AGE")
    },
    **{name: (r"-?\d+(\.\d+)?", "a number") for name in ("SA_TAG", "SA_TAG2")},
}


@dataclass(frozen=True)
class Settings:
    """What the container was told, checked. `variables` are those of the environment, for names that are built at run time."""

    hostname: str
    domain: str
    variables: Mapping[str, str]

    def get(self, name: str, default: str = "") -> str:
        """A variable's value; empty counts as unset, as it does in the published image."""
        return self.variables.get(name) or default

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.get(name, _CHOICES[name][0]) == "1"

    @property
    def trusts_networks(self) -> bool:
        """Whether the containers beside this one may send without logging in."""
        return self.get("PERMIT_DOCKER", "none") == "connected-networks"

    @property
    def postmaster(self) -> str:
        """Who gets what the server has to tell."""
        return self.get("POSTMASTER_ADDRESS", f"postmaster@{self.domain}")


def read(variables: Mapping[str, str], hostname: str) -> Settings:
    """Check the variables. `hostname` is the container's own full name."""
    settings = Settings(*_names(variables.get("OVERRIDE_HOSTNAME") or hostname), variables)
    for name, (default, allowed) in _ONLY.items():
        if (value := settings.get(name, default)) != allowed:
            raise Refusal(f"{name} is '{value}': the lab's mail server has nothing but '{allowed}', set it to that.")
    for name, choices in _CHOICES.items():
        if (value := settings.get(name, choices[0])) not in choices:
            raise Refusal(f"{name} is '{value}': the lab's mail server allows {' or '.join(filter(None, choices))}.")
    for name in _NEEDED:
        if not settings.get(name):
            raise Refusal(f"{name} is missing or empty: set it in the container's environment.")
    for name, (pattern, example) in _PATTERNS.items():
        if (value := settings.get(name)) and not re.fullmatch(pattern, value, re.ASCII):
            raise Refusal(f"{name} is '{value}': give {example if ' ' in example else f'something like {example}'}.")
    for name, value in variables.items():
        if name.startswith(("LDAP_", "RELAY_", "SA_", "POSTGREY_")) and ("\n" in value or "\r" in value):
            raise Refusal(f"{name} holds a line break: remove it.")
    _relay(settings)
    if settings.get("SSL_TYPE") == "manual":
        for name in ("SSL_CERT_PATH", "SSL_KEY_PATH"):
            if not settings.get(name):
                raise Refusal(f"{name} is missing or empty: SSL_TYPE is 'manual', which needs it.")
    return settings


def _names(hostname: str) -> tuple[str, str]:
    if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", hostname):
        raise Refusal(
            f"The host name is '{hostname}', which has no domain: give the container a domain name, or set OVERRIDE_HOSTNAME "
            "to one such as mail.example.com."
        )
    return hostname, hostname.partition(".")[2]


def _relay(settings: Settings) -> None:
    if settings.get("RELAY_HOST") and not settings.get("DEFAULT_RELAY_HOST"):
        raise Refusal(
            "RELAY_HOST is set and DEFAULT_RELAY_HOST is not: with users from LDAP the published image would relay nothing, "
            "so set DEFAULT_RELAY_HOST to [host]:port as well."
        )
    if bool(settings.get("RELAY_USER")) != bool(settings.get("RELAY_PASSWORD")):
        raise Refusal("RELAY_USER and RELAY_PASSWORD belong together: set both or neither.")
    if settings.get("RELAY_USER") and not settings.get("RELAY_HOST"):
        raise Refusal("RELAY_USER is set and RELAY_HOST is not: set it to the host that the password is for.")
