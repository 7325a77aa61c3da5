"""The user plugin `ldap`: who is there, and is this the password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ldap
from ldap.controls import SimplePagedResultsControl
from ldap.filter import escape_filter_chars

from kopano_lab.config import Config
from kopano_lab.server.people import FEATURES, Person
from kopano_lab.wire import RpcError

_ATTRIBUTES = [
    f"ldap_{name}_attribute"
    for name in (
        "addressbook_hide",
        "emailaddress",
        "emailaliases",
        "fullname",
        "hardquota",
        "isadmin",
        "loginname",
        "nonactive",
        "quotaoverride",
        "resource_type",
        "softquota",
        "user_unique",
        "warnquota",
    )
]


class Directory:
    """Asks the directory anew each time: it may have been away, or have changed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._uri = config.text("ldap_uri")

    def people(self) -> list[Person]:
        """All users."""
        return [person for _, person in self._search("")]

    def person(self, name: str) -> Person | None:
        """The user with this log-in name."""
        return next((person for _, person in self._search(self._named(name))), None)

    def recipient(self, address: str) -> Person | None:
        """The user who gets mail for an e-mail address, one of the aliases, or a log-in name."""
        if "@" not in address:
            return self.person(address)
        attributes = [self._config.text(f"ldap_{name}_attribute") for name in ("emailaddress", "emailaliases")]
        either = "".join(f"({attribute}={escape_filter_chars(address)})" for attribute in attributes)
        return next((person for _, person in self._search(f"(|{either})")), None)

    def authenticate(self, name: str, password: str) -> Person | None:
        """The user, if the directory accepts the password in a bind as that user."""
        if not password:
            return None  # A bind without a password succeeds as anonymous, whoever is named.
        for dn, person in self._search(self._named(name)):
            with self._connection() as connection:
                try:
                    connection.simple_bind_s(dn, password)
                except (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH, ldap.UNWILLING_TO_PERFORM):
                    return None
                return person
        return None

    def _named(self, name: str) -> str:
        return f"({self._config.text('ldap_loginname_attribute')}={escape_filter_chars(name)})"

    def _search(self, condition: str) -> Iterator[tuple[str, Person]]:
        config = self._config
        kind = f"({config.text('ldap_object_type_attribute')}={config.text('ldap_user_type_attribute_value')})"
        wanted = f"(&{kind}{config.text('ldap_user_search_filter')}{condition})"
        attributes = [config.text(option) for option in _ATTRIBUTES]
        attributes += [config.propmap[number] for number in FEATURES.values() if number in config.propmap]
        with self._connection() as connection:
            self._bind(connection)
            entries = _paged(connection, config.text("ldap_search_base"), wanted, attributes, config.number("ldap_page_size"))
        for dn, found in entries:
            if dn and (person := Person.from_entry(config, found)):
                yield dn, person

    def _bind(self, connection: Any) -> None:
        try:
            connection.simple_bind_s(self._config.text("ldap_bind_user"), self._config.text("ldap_bind_passwd"))
        except (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH):
            raise RpcError(
                "directory_down",
                f"The directory at {self._uri} refuses the bind as "
                f"'{self._config.text('ldap_bind_user')}': check KCCONF_LDAP_LDAP_BIND_USER and "
                "KCCONF_LDAP_LDAP_BIND_PASSWD against the accounts of block ldap",
            ) from None

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        patience = self._config.number("ldap_network_timeout")
        connection = None
        try:
            connection = ldap.initialize(self._uri)
            connection.set_option(ldap.OPT_NETWORK_TIMEOUT, min(patience, 10))
            connection.set_option(ldap.OPT_TIMEOUT, patience)
            connection.set_option(ldap.OPT_REFERRALS, 0)
            if self._config.flag("ldap_starttls"):
                connection.start_tls_s()
            yield connection
        except ldap.NO_SUCH_OBJECT:
            raise RpcError(
                "directory_down",
                f"The directory at {self._uri} has no entry "
                f"'{self._config.text('ldap_search_base')}': check KCCONF_LDAP_LDAP_SEARCH_BASE",
            ) from None
        except (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT, ldap.UNAVAILABLE, ldap.BUSY) as problem:
            raise RpcError(
                "directory_down",
                f"The directory at {self._uri} does not answer (KCCONF_LDAP_LDAP_URI, block ldap){_detail(problem)}",
            ) from None
        except ldap.LDAPError as problem:
            raise RpcError("directory_down", f"The directory at {self._uri} reports an error{_detail(problem)}") from None
        finally:
            if connection is not None:
                connection.unbind_s()


def _paged(connection: Any, base: str, wanted: str, attributes: list[str], size: int) -> list[tuple[str, Any]]:
    page = SimplePagedResultsControl(True, size=size, cookie="")
    found: list[tuple[str, Any]] = []
    while True:
        request = connection.search_ext(base, ldap.SCOPE_SUBTREE, wanted, attributes, serverctrls=[page])
        _, entries, _, controls = connection.result3(request)
        found += entries
        cookies = [control.cookie for control in controls if control.controlType == SimplePagedResultsControl.controlType]
        if not cookies or not cookies[0]:
            return found
        page.cookie = cookies[0]


def _detail(problem: ldap.LDAPError) -> str:
    told = problem.args[0] if problem.args and isinstance(problem.args[0], dict) else {}
    text = told.get("info") or told.get("desc")
    return f": {text}" if text else ""
