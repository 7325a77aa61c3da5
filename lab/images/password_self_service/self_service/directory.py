"""Finds somebody in the directory and changes the password, bound as that person."""

from __future__ import annotations

from dataclasses import dataclass

import ldap
from ldap.filter import escape_filter_chars
from ldap.ldapobject import LDAPObject

PATIENCE = 5


class WrongLogin(Exception):
    """There is no such user, or the password is another."""


class Refused(Exception):
    """The directory does not take the new password; the text is what it says."""


@dataclass(frozen=True)
class Directory:
    """Where the directory is, and the account that finds users in it."""

    uri: str
    base: str
    account: str
    password: str
    login_attribute: str = "uid"
    starttls: bool = False

    def check(self) -> None:
        """Bind as the account that finds users; an error of ldap says why that cannot be."""
        with self._bound(self.account, self.password):
            pass

    def change(self, login: str, old: str, new: str) -> None:
        """Give the user a new password, by the right that the old one gives."""
        person = self._find(login)
        # An empty password is no wrong one to a directory: it makes the bind an anonymous one.
        if not person or not old:
            raise WrongLogin
        try:
            with self._bound(person, old) as connection:
                connection.passwd_s(person, old, new)
        except ldap.INVALID_CREDENTIALS:
            raise WrongLogin from None
        except (ldap.CONSTRAINT_VIOLATION, ldap.UNWILLING_TO_PERFORM, ldap.INSUFFICIENT_ACCESS) as problem:
            details = problem.args[0] if problem.args else {}
            raise Refused(details.get("info") or details.get("desc") or "it gives no reason") from problem

    def _find(self, login: str) -> str:
        wanted = f"({self.login_attribute}={escape_filter_chars(login)})"
        with self._bound(self.account, self.password) as connection:
            found = connection.search_ext_s(self.base, ldap.SCOPE_SUBTREE, wanted, ["1.1"], sizelimit=3)
        names = [name for name, _ in found if name]
        return str(names[0]) if len(names) == 1 else ""

    def _bound(self, name: str, password: str) -> _Connection:
        connection = _Connection(self.uri)
        connection.set_option(ldap.OPT_REFERRALS, 0)
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, PATIENCE)
        connection.timeout = PATIENCE
        if self.starttls:
            connection.start_tls_s()
        connection.simple_bind_s(name, password)
        return connection


class _Connection(LDAPObject):  # type: ignore[misc]
    """Ends with its block."""

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.unbind_s()
