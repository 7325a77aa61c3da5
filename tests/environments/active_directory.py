"""What Kopano sees of Active Directory, as far as OpenLDAP can show it: names of attributes and classes, and memberOf."""

from __future__ import annotations

import secrets
import time
from base64 import b64encode
from dataclasses import dataclass

from deployments import docker
from outside import BASE, DOMAIN, Outside

USERS = f"cn=Users,{BASE}"
# Syntaxes: a text, and octets.
TEXT, OCTETS = "1.3.6.1.4.1.1466.115.121.1.15", "1.3.6.1.4.1.1466.115.121.1.40"
# Numbers for examples (RFC 5612 reserves 32473).
NUMBER = "1.3.6.1.4.1.32473.1"
CONFIGURATION = f"""\
dn: cn=activedirectory,cn=schema,cn=config
changetype: add
objectClass: olcSchemaConfig
cn: activedirectory
olcAttributeTypes: ( {NUMBER}.1 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch SYNTAX {TEXT} SINGLE-VALUE )
olcAttributeTypes: ( {NUMBER}.2 NAME 'objectGUID' EQUALITY octetStringMatch SYNTAX {OCTETS} SINGLE-VALUE )
olcAttributeTypes: ( {NUMBER}.3 NAME 'objectCategory' EQUALITY caseIgnoreMatch SYNTAX {TEXT} SINGLE-VALUE )
olcAttributeTypes: ( {NUMBER}.4 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX {TEXT} )
olcObjectClasses: ( {NUMBER}.5 NAME 'user' SUP inetOrgPerson STRUCTURAL
  MAY ( sAMAccountName $ objectGUID $ objectCategory $ proxyAddresses ) )
olcObjectClasses: ( {NUMBER}.6 NAME 'computer' SUP user STRUCTURAL )
olcObjectClasses: ( {NUMBER}.7 NAME 'group' SUP top STRUCTURAL MUST cn
  MAY ( member $ mail $ sAMAccountName $ objectGUID $ objectCategory $ proxyAddresses ) )
olcObjectClasses: ( {NUMBER}.8 NAME 'container' SUP top STRUCTURAL MUST cn )

dn: olcOverlay={{0}}memberof,olcDatabase={{1}}mdb,cn=config
changetype: modify
replace: olcMemberOfGroupOC
olcMemberOfGroupOC: group
-
replace: olcMemberOfMemberAD
olcMemberOfMemberAD: member
"""
AS_ADMIN = 'ldapadd -x -H ldap://localhost -D "cn=admin,$LDAP_BASE_DN" -y <(printf %s "$LDAP_ADMIN_PASSWORD")'


@dataclass(frozen=True)
class Person:
    """A user as Active Directory has one."""

    name: str
    login: str
    kind: str = "user"

    @property
    def dn(self) -> str:
        return f"cn={self.name},{USERS}"

    @property
    def mail(self) -> str:
        return f"{self.login}@{DOMAIN}"

    @property
    def alias(self) -> str:
        return f"{self.name.lower().replace(' ', '.')}@{DOMAIN}"

    def entry(self, password: str) -> str:
        category = "person" if self.kind == "user" else self.kind
        return f"""\
dn: {self.dn}
objectClass: {self.kind}
objectClass: kopano-user
objectCategory: {category}
objectGUID:: {b64encode(secrets.token_bytes(16)).decode()}
cn: {self.name}
sn: {self.name.split()[-1]}
sAMAccountName: {self.login}
mail: {self.mail}
proxyAddresses: {self.alias}
kopanoAccount: 1
userPassword: {password}
"""


def group(name: str, members: list[str], *, kopano: bool) -> str:
    """A group, for Kopano or only for filters."""
    lines = [f"dn: cn={name},{USERS}", "objectClass: group", f"cn: {name}", f"sAMAccountName: {name}"]
    lines += [f"objectGUID:: {b64encode(secrets.token_bytes(16)).decode()}"]
    lines += ["objectClass: kopano-group", "kopanoAccount: 1", f"mail: {name}@{DOMAIN}"] if kopano else []
    return "\n".join([*lines, *(f"member: {dn}" for dn in members), ""])


def fill(outside: Outside, entries: list[str]) -> None:
    """Make the directory outside such a one, with some entries."""
    execute = ["exec", "--interactive", outside.containers["ldap"]]
    end = time.monotonic() + 60
    while not docker(*execute, "ldapwhoami", "-Y", "EXTERNAL", "-H", "ldapi:///", check=False):
        assert time.monotonic() < end, docker("logs", outside.containers["ldap"])
        time.sleep(0.5)
    docker(*execute, "ldapmodify", "-Y", "EXTERNAL", "-H", "ldapi:///", stdin=CONFIGURATION)
    users = f"dn: {USERS}\nobjectClass: container\ncn: Users\n"
    docker(*execute, "bash", "-euc", AS_ADMIN, stdin="\n".join([users, *entries]))
