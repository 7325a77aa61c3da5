"""Postfix' own files: tables that ask the directory, parameters, and the user's overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mail_lab.settings import Settings

TABLES = {"users": "USER", "groups": "GROUP", "aliases": "ALIAS", "domains": "DOMAIN"}
"""Table -> the end of the name of the variable with its filter."""

_TABLE = """\
server_host =
version = 3
start_tls = no
bind = yes
bind_dn =
bind_pw =
search_base =
query_filter =
result_attribute = mail
timeout = 5
"""


def table(name: str, settings: Settings, own: str | None = None) -> str:
    """An LDAP table: the user's own file or the usual one, each of its lines replaced where there is a variable for it."""
    values = {key: value for key, value in settings.variables.items() if key.startswith("LDAP_") and value}
    values["LDAP_QUERY_FILTER"] = settings.get(f"LDAP_QUERY_FILTER_{TABLES[name]}")
    lines = []
    for line in (own or _TABLE).splitlines():
        key = line.partition("=")[0].strip()
        value = values.get(f"LDAP_{key.upper()}") if re.match(r"[a-z_]+\s*=", line) else None
        lines.append(f"{key} = {value}" if value is not None else line)
    return "\n".join(lines) + "\n"


def parameters(settings: Settings, trusted: str, milters: str, signer: str) -> dict[str, str]:
    """What follows from the variables, for main.cf."""
    recipients = ["permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination", "reject_unlisted_recipient"]
    if settings.on("ENABLE_POSTGREY"):
        recipients.append("check_policy_service inet:127.0.0.1:10023")
    found = {
        "myhostname": settings.hostname,
        "mydomain": settings.domain,
        "mynetworks": trusted,
        "inet_protocols": settings.get("POSTFIX_INET_PROTOCOLS", "all"),
        "message_size_limit": settings.get("POSTFIX_MESSAGE_SIZE_LIMIT", "10240000"),
        "alias_maps": f"inline:{{root={settings.postmaster}, postmaster={settings.postmaster}}}",
        "virtual_transport": settings.get("POSTFIX_DAGENT"),
        "smtpd_recipient_restrictions": ", ".join(recipients),
        "smtpd_milters": milters,
        "non_smtpd_milters": signer,
        "relayhost": settings.get("DEFAULT_RELAY_HOST"),
    }
    if settings.get("RELAY_HOST"):
        found["smtp_tls_security_level"] = "encrypt"
    if settings.get("RELAY_USER"):
        found |= {
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_security_options": "noanonymous",
            "smtp_sasl_password_maps": "texthash:/etc/postfix/sasl_passwd",
        }
    return found


def relay_password(settings: Settings) -> str:
    """The table with the password for the relay."""
    address = f"[{settings.get('RELAY_HOST')}]:{settings.get('RELAY_PORT', '25')}"
    return f"{address} {settings.get('RELAY_USER')}:{settings.get('RELAY_PASSWORD')}\n"


def rendered(values: Mapping[str, str]) -> str:
    """Parameters as lines of main.cf."""
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def overrides(text: str, first: str) -> list[str]:
    """The lines of the user's file that the published image takes: `first` is the class of characters they begin with."""
    # Like the shell's `read`: blanks around a line go, and so does a last line without an end.
    complete = text[: text.rfind("\n") + 1]
    return [line for line in (line.strip() for line in complete.splitlines()) if re.match(f"[{first}]", line)]
