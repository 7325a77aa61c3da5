"""Users come from Active Directory, as far as OpenLDAP can show it."""

from __future__ import annotations

import imaplib
import secrets
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage

import pytest
from active_directory import USERS, Person, fill, group
from deployments import SMALL, Deployment, free_port
from outside import DOMAIN, services_outside

FQDN = f"groupware.{DOMAIN}"
ANNA, CARLA = Person("Anna Albers", "anna"), Person("Carla Claus", "carla")
OTHER, MACHINE = Person("Bruno Berg", "bruno"), Person("PC 1", "pc1", "computer")
FILTER = f"(&(objectCategory=person)(objectClass=user)(memberOf=cn=mailusers,{USERS}))"
# OpenLDAP's own schema has otherMailbox, where the program looks otherwise, and cannot search in it.
ACTIVE_DIRECTORY = {"kind": "activeDirectory", "userFilter": FILTER, "aliasAttribute": "proxyAddresses"}


@dataclass(frozen=True)
class Company:
    """A deployment, and its users' passwords by their log-in names."""

    stack: Deployment
    passwords: dict[str, str]

    @property
    def trusted(self) -> ssl.SSLContext:
        return self.stack.authority

    def imap(self, person: Person) -> imaplib.IMAP4_SSL:
        session = imaplib.IMAP4_SSL(FQDN, self.stack.ports["imaps"], ssl_context=self.trusted, timeout=60)
        try:
            session.login(person.login, self.passwords[person.login])
        except imaplib.IMAP4.error:
            session.shutdown()
            raise
        return session

    def send(self, sender: Person, *recipients: str) -> str:
        """Submit a mail; gives its subject."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender.mail, ", ".join(recipients), f"subject-{secrets.token_hex(8)}"
        mail.set_content("Good morning.\n")
        with smtplib.SMTP(FQDN, self.stack.ports["submission"], local_hostname="laptop.example", timeout=60) as smtp:
            smtp.starttls(context=self.trusted)
            smtp.login(sender.login, self.passwords[sender.login])
            assert smtp.send_message(mail, to_addrs=list(recipients)) == {}
        return str(mail["Subject"])

    def has(self, person: Person, subject: str) -> bool:
        with self.imap(person) as session:
            session.select("INBOX", readonly=True)
            return bool(session.search(None, "HEADER", "Subject", f'"{subject}"')[1][0])


def eventually(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not check():
        assert time.monotonic() < end
        time.sleep(1)


@pytest.fixture(scope="module")
def company(stack: Deployment, hosts: dict[str, str]) -> Iterator[Company]:
    people, hosts[FQDN] = (ANNA, CARLA, OTHER, MACHINE), "127.0.0.1"
    passwords = {person.login: secrets.token_hex(12) for person in people}
    stack.ports = {service: free_port() for service in ("submission", "imaps")}
    with services_outside(tls=True) as outside:
        members = [ANNA.dn, CARLA.dn, MACHINE.dn]
        groups = [group("mailusers", members, kopano=False), group("team", [ANNA.dn, CARLA.dn], kopano=True)]
        fill(outside, [*(person.entry(passwords[person.login]) for person in people), *groups])
        stack.configure(
            {
                "kopano:fqdn": FQDN,
                "kopano:demoUsers": False,
                "kopano:blocks": {**SMALL["kopano:blocks"], "ldap": False},
                "kopano:directory": {**outside.directory, **ACTIVE_DIRECTORY},
            }
        )
        stack.make("up")
        yield Company(stack, passwords)


def test_persons_whom_the_filter_names_are_users_and_log_in_by_their_account_names(company: Company) -> None:
    """server -> Active Directory: persons of a group are users; others, and computers, are not."""
    listed = company.stack.execute("server", "kopano-admin", "-l").splitlines()
    names = {line.split()[0] for line in listed if line.strip()}
    assert {ANNA.login, CARLA.login} <= names
    assert not {OTHER.login, MACHINE.login, "user1"} & names
    with company.imap(ANNA):
        pass
    for person in (OTHER, MACHINE):
        with pytest.raises(imaplib.IMAP4.error):
            company.imap(person)


def test_mail_reaches_addresses_further_addresses_and_members_of_groups_and_nobody_else(company: Company) -> None:
    """mail -> Active Directory: addresses, proxyAddresses, and the members of groups; who is no user gets no mail."""
    direct, further = company.send(ANNA, CARLA.mail), company.send(CARLA, ANNA.alias)
    both = company.send(ANNA, f"team@{DOMAIN}")
    for person, subject in ((CARLA, direct), (ANNA, further), (ANNA, both), (CARLA, both)):
        eventually(lambda person=person, subject=subject: company.has(person, subject))
    for stranger in (OTHER.mail, MACHINE.mail, f"mailusers@{DOMAIN}"):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            company.send(ANNA, stranger)
        assert refused.value.recipients[stranger][0] == 550
