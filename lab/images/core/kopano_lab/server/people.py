"""Users as the directory tells them, and what a synchronisation changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kopano_lab.config import Config

FEATURES = {"PR_EC_ENABLED_FEATURES": "0x67B3101E", "PR_EC_DISABLED_FEATURES": "0x67B4101E"}


@dataclass(frozen=True)
class Person:
    """A user; `externid` is the identity, so whoever has it has the mailbox."""

    externid: bytes
    name: str
    fullname: str
    email: str
    kind: str = "user"
    admin: int = 0
    hidden: bool = False
    properties: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_entry(cls, config: Config, attributes: Mapping[str, list[bytes]]) -> Person | None:
        """A user from a directory entry; none if it has no identity or no log-in name."""
        entry = {name.lower(): values for name, values in attributes.items()}

        def values(option: str) -> list[str]:
            return [value.decode("utf-8", "replace") for value in entry.get(config.text(option).lower(), [])]

        def first(option: str) -> str:
            return next(iter(values(option)), "")

        identity = entry.get(config.text("ldap_user_unique_attribute").lower(), [])
        name = first("ldap_loginname_attribute")
        if not identity or not name:
            return None
        properties: dict[str, Any] = {
            tag: [value.decode("utf-8", "replace") for value in entry[attribute.lower()]]
            for tag, number in FEATURES.items()
            if (attribute := config.propmap.get(number)) and attribute.lower() in entry
        }
        properties["aliases"] = values("ldap_emailaliases_attribute")
        if _true(first("ldap_quotaoverride_attribute")):
            unit = config.number("ldap_quota_multiplier")
            properties["quota"] = {
                level: unit * _number(first(f"ldap_{level}quota_attribute")) for level in ("warn", "soft", "hard")
            }
        kind = "user"
        if _true(first("ldap_nonactive_attribute")):
            resource = first("ldap_resource_type_attribute").lower()
            kind = resource if resource in ("room", "equipment") else "shared"
        return cls(
            identity[0],
            name,
            first("ldap_fullname_attribute"),
            first("ldap_emailaddress_attribute"),
            kind,
            min(_number(first("ldap_isadmin_attribute")) or int(_true(first("ldap_isadmin_attribute"))), 2),
            _true(first("ldap_addressbook_hide_attribute")),
            properties,
        )


@dataclass(frozen=True)
class Plan:
    """What to do so that the known users are those of the directory."""

    create: list[Person]
    update: list[Person]
    vanished: list[bytes]
    doubtful: list[str]


def plan(known: Mapping[bytes, Person], found: Iterable[Person]) -> Plan:
    """Compare by identity; of two entries with one identity or one name the first counts."""
    seen: dict[bytes, Person] = {}
    names: set[str] = set()
    doubtful = []
    for person in found:
        if person.externid in seen or person.name.lower() in names:
            doubtful.append(person.name)
            continue
        seen[person.externid] = person
        names.add(person.name.lower())
    return Plan(
        [person for identity, person in seen.items() if identity not in known],
        [person for identity, person in seen.items() if identity in known and known[identity] != person],
        [identity for identity in known if identity not in seen],
        doubtful,
    )


def enabled(feature: str, properties: Mapping[str, Any], disabled: Collection[str]) -> bool:
    """Whether a user has a feature (`imap`, `pop3`): the user's own lists come before the server's."""
    if feature in properties.get("PR_EC_DISABLED_FEATURES", ()):
        return False
    return feature in properties.get("PR_EC_ENABLED_FEATURES", ()) or feature not in disabled


def _true(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false", "no")


def _number(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() else 0
