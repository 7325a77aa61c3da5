"""Mail on its ways through the stack: from outside, between users, held back, refused, found again."""

from __future__ import annotations

import contextlib
import imaplib
import json
import poplib
import re
import secrets
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, TypeVar

import dkim
import pytest
from deployments import Deployment, docker

Found = TypeVar("Found")

# Scanners of this repository are to find neither.
EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

# The password of the directory's administrator is in that container's environment, and is on no command line.
AS_ADMIN = '"$0" -x -H ldap://localhost -D "cn=admin,$1" -y <(printf %s "$LDAP_ADMIN_PASSWORD") "${@:2}"'


@dataclass(frozen=True)
class Person:
    """Somebody with a mailbox."""

    name: str
    password: str
    address: str


Hire = Callable[..., Person]
Gather = Callable[..., str]


def eventually(check: Callable[[], Found], seconds: float = 30) -> Found:
    """What a check gives, as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {found!r}"
        time.sleep(1)
    return found


@pytest.fixture(autouse=True, scope="module")
def host_name(deployment: Deployment) -> Iterator[None]:
    """The stack's host name, which certificates must have, leads to this machine, whatever the resolver says."""
    resolved, fqdn = socket.getaddrinfo, deployment.outputs["fqdn"]

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return resolved("127.0.0.1" if host == fqdn else host, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield


@pytest.fixture
def hire(deployment: Deployment) -> Iterator[Hire]:
    """Makes users with an empty mailbox, and removes them; `attributes` are more lines of the directory. Without `sync` the
    server does not know them yet."""
    base, hired = deployment.outputs["ldap"]["baseDn"], []

    def new(*, sync: bool = True, **attributes: str) -> Person:
        name = f"t{secrets.token_hex(5)}"
        address = attributes.get("mail", f"{name}@{deployment.outputs['fqdn']}")
        person = Person(name, secrets.token_urlsafe(12), address)
        number = str(100_000 + secrets.randbelow(1_000_000_000))
        entry = {"uid": name, "cn": name, "sn": name, "uidNumber": number, "gidNumber": number, "homeDirectory": "/nonexistent"}
        entry |= {"mail": person.address, "userPassword": person.password, "kopanoAccount": "1", **attributes}
        lines = [f"dn: uid={name},ou=users,ou=CompanyA,{base}"]
        lines += [f"objectClass: {kind}" for kind in ("inetOrgPerson", "posixAccount", "kopano-user")]
        lines += [f"{key}: {value}" for key, value in entry.items()]
        deployment.execute("ldap", "bash", "-euc", AS_ADMIN, "ldapadd", base, stdin="\n".join([*lines, ""]))
        hired.append(name)
        if sync:
            deployment.execute("server", "kopano-admin", "--sync")
        return person

    try:
        yield new
    finally:
        for name in hired:
            deployment.execute("ldap", "bash", "-euc", AS_ADMIN, "ldapdelete", base, f"uid={name},ou=users,ou=CompanyA,{base}")
        deployment.execute("server", "kopano-admin", "--sync")


@pytest.fixture
def gather(deployment: Deployment) -> Iterator[Gather]:
    """Makes groups of log-in names or, with `entries`, of entries of the directory, and removes them; gives a group's address."""
    base, gathered = deployment.outputs["ldap"]["baseDn"], []

    def new(*names: str, entries: tuple[str, ...] = (), alias: str = "") -> str:
        name = f"t{secrets.token_hex(5)}"
        dn, address = f"cn={name},ou=groups,ou=CompanyA,{base}", f"{name}@{deployment.outputs['fqdn']}"
        kind, attribute = ("groupOfNames", "member") if entries else ("posixGroup", "memberUid")
        lines = [f"dn: {dn}", f"objectClass: {kind}", "objectClass: kopano-group", f"cn: {name}", f"mail: {address}"]
        lines += [f"gidNumber: {100_000 + secrets.randbelow(1_000_000_000)}", "kopanoAccount: 1"]
        lines += [f"{attribute}: {member}" for member in entries or names]
        lines += [f"kopanoAliases: {alias}"] if alias else []
        deployment.execute("ldap", "bash", "-euc", AS_ADMIN, "ldapadd", base, stdin="\n".join([*lines, ""]))
        gathered.append(dn)
        return address

    try:
        yield new
    finally:
        for dn in gathered:
            deployment.execute("ldap", "bash", "-euc", AS_ADMIN, "ldapdelete", base, dn)


def entry(deployment: Deployment, name: str, unit: str = "users") -> str:
    """The directory's entry of a user, or of a group."""
    key = "uid" if unit == "users" else "cn"
    return f"{key}={name.partition('@')[0]},ou={unit},ou=CompanyA,{deployment.outputs['ldap']['baseDn']}"


def change(deployment: Deployment, whom: Person | str, attribute: str, value: str, how: str = "replace") -> None:
    """Change one attribute of a user, or of an entry, in the directory."""
    dn = entry(deployment, whom.name) if isinstance(whom, Person) else whom
    lines = [f"dn: {dn}", "changetype: modify", f"{how}: {attribute}", f"{attribute}: {value}", ""]
    deployment.execute(
        "ldap", "bash", "-euc", AS_ADMIN, "ldapmodify", deployment.outputs["ldap"]["baseDn"], stdin="\n".join(lines)
    )


@pytest.fixture
def person(hire: Hire) -> Person:
    """A user with an empty mailbox."""
    return hire()


def written(to: str, text: str = "Good morning.\n", sender: str = "") -> EmailMessage:
    """A mail that no other is like: its subject is new and, unless it is given, its sender in the world outside."""
    mail = EmailMessage()
    token = secrets.token_hex(8)
    mail["From"] = sender or f"{token}@outside.example"
    mail["To"] = to
    mail["Subject"] = f"subject-{token}"
    mail["Message-ID"] = f"<{token}@outside.example>"
    mail.set_content(text)
    return mail


def outside(deployment: Deployment) -> smtplib.SMTP:
    """A connection from outside, as another mail server makes it."""
    return smtplib.SMTP(deployment.outputs["fqdn"], deployment.ports["smtp"], local_hostname="mx.outside.example", timeout=60)


def send_from_outside(deployment: Deployment, mail: EmailMessage) -> None:
    """Send as a mail server does: told to come again, it comes again."""

    def accepted() -> bool:
        try:
            with outside(deployment) as smtp:
                return smtp.send_message(mail) == {}
        except smtplib.SMTPRecipientsRefused as refused:
            if not all(400 <= code < 500 for code, _ in refused.recipients.values()):
                raise
            return False

    eventually(accepted)


def sender_of(deployment: Deployment, service: str) -> smtplib.SMTP:
    """A connection to a submission port, encrypted and not logged in. Its certificate is checked."""
    fqdn, port, trusted = deployment.outputs["fqdn"], deployment.ports[service], deployment.authority
    if service == "smtps":
        return smtplib.SMTP_SSL(fqdn, port, local_hostname="laptop.example", timeout=60, context=trusted)
    smtp = smtplib.SMTP(fqdn, port, local_hostname="laptop.example", timeout=60)
    smtp.starttls(context=trusted)
    return smtp


def submit(deployment: Deployment, sender: Person, mail: EmailMessage, service: str = "submission") -> None:
    with sender_of(deployment, service) as smtp:
        smtp.login(sender.name, sender.password)
        # Named, since smtplib itself loses an address with a literal in Debian 12's Python (3.11.2).
        assert smtp.send_message(mail, to_addrs=[address.addr_spec for address in mail["To"].addresses]) == {}


def imap(deployment: Deployment, person: Person) -> imaplib.IMAP4_SSL:
    """A session over IMAPS. The certificate is checked."""
    session = imaplib.IMAP4_SSL(
        deployment.outputs["fqdn"], deployment.ports["imaps"], ssl_context=deployment.authority, timeout=60
    )
    try:
        session.login(person.name, person.password)
    except imaplib.IMAP4.error:
        session.shutdown()
        raise
    return session


def folder_of(deployment: Deployment, person: Person, use: str) -> str:
    """The folder of a special use, such as Junk."""
    with imap(deployment, person) as session:
        listed = [line.decode() for line in session.list()[1] if isinstance(line, bytes)]
    (line,) = [line for line in listed if f"\\{use}" in line]
    return line.rpartition(' "/" ')[2]


def mails(deployment: Deployment, person: Person, folder: str = "INBOX", subject: str = "") -> list[EmailMessage]:
    """The mails of a folder, or those with a subject. None is marked as read."""
    with imap(deployment, person) as session:
        assert session.select(folder, readonly=True)[0] == "OK"
        numbers = session.search(None, "HEADER", "Subject", f'"{subject}"')[1][0].decode().split()
        fetched = [session.fetch(number, "(BODY.PEEK[])")[1][0][1] for number in numbers]  # type: ignore[index]
    return [message_from_bytes(content, policy=policy.default) for content in fetched]  # type: ignore[misc]


def arrived(deployment: Deployment, person: Person, mail: EmailMessage, seconds: float = 30) -> EmailMessage:
    """The mail as it is in the Inbox, where it is once."""
    found = eventually(lambda: mails(deployment, person, subject=mail["Subject"]), seconds)
    assert len(found) == 1
    return found[0]


def popped(deployment: Deployment, person: Person, mail: EmailMessage) -> list[EmailMessage]:
    """The mails with this mail's subject, over POP3S. The certificate is checked."""
    with contextlib.closing(
        poplib.POP3_SSL(deployment.outputs["fqdn"], deployment.ports["pop3s"], context=deployment.authority, timeout=60)
    ) as session:
        session.user(person.name)
        session.pass_(person.password)
        contents = [b"\r\n".join(session.retr(number + 1)[1]) for number in range(session.stat()[0])]
        session.quit()
    found: list[Any] = [message_from_bytes(content, policy=policy.default) for content in contents]
    return [one for one in found if one["Subject"] == mail["Subject"]]


def queued(deployment: Deployment, sender: str) -> dict[str, str]:
    """Recipient -> why the mail waits (empty: not tried yet), for the mails of a sender in the mail server's queue."""
    entries = [json.loads(line) for line in deployment.execute("mail", "postqueue", "-j").splitlines()]
    return {
        recipient["address"]: recipient.get("delay_reason", "")
        for entry in entries
        if entry["sender"] == sender
        for recipient in entry["recipients"]
    }


@contextlib.contextmanager
def held(deployment: Deployment) -> Iterator[Callable[[str], bytes]]:
    """Gives the mail to an address as it is in the queue, ready to be sent; in the end it leaves the queue."""
    numbers = []

    def content(address: str) -> bytes:
        entries = [json.loads(line) for line in deployment.execute("mail", "postqueue", "-j").splitlines()]
        (number,) = [one["queue_id"] for one in entries if [each["address"] for each in one["recipients"]] == [address]]
        numbers.append(number)
        return deployment.execute("mail", "postcat", "-bhq", number).encode()

    try:
        yield content
    finally:
        for number in numbers:
            deployment.execute("mail", "postsuper", "-d", number)


def flush(deployment: Deployment) -> None:
    """Try again now what waits in the queue. Otherwise that would be a minute later."""
    deployment.execute("mail", "postqueue", "-f")


def delivered_at_last(deployment: Deployment, recipient: Person, sender: Person, mail: EmailMessage) -> None:
    """The mail arrives once, and the sender, who has an empty mailbox, is not told of any failure."""

    def is_there() -> bool:
        flush(deployment)
        return bool(mails(deployment, recipient, subject=mail["Subject"]))

    eventually(is_there, 60)
    eventually(lambda: not queued(deployment, sender.address) and not queued(deployment, "MAILER-DAEMON"))
    arrived(deployment, recipient, mail)
    assert mails(deployment, sender) == []


def well(deployment: Deployment) -> bool:
    """No block is on its way up, and none is ill."""
    states = ("--filter", "health=starting", "--filter", "health=unhealthy")
    return not docker("ps", "--quiet", "--filter", f"label=kopano.stack={deployment.stack}", *states)


@contextlib.contextmanager
def stopped(deployment: Deployment, block: str) -> Iterator[None]:
    """A block is not there for a while."""
    container = deployment.containers()[block]
    try:
        docker("stop", container)
        yield
    finally:
        docker("start", container)
        eventually(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy", 120)


@pytest.fixture
def recovery(deployment: Deployment) -> Iterator[None]:
    """The stack is left as it was found, also by those blocks that missed the one that was away."""
    yield
    eventually(lambda: well(deployment), 120)


def test_a_mail_from_outside_is_greylisted_then_checked_and_delivered(deployment: Deployment, person: Person) -> None:
    """outside -> mail -> dagent -> server -> gateway -> gateway-tls: greylisted, checked, delivered, read over IMAPS."""
    mail = written(person.address, "Grüße aus Übersee\n")
    with outside(deployment) as smtp, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        smtp.send_message(mail)
    code, words = refused.value.recipients[person.address]
    assert code == 450
    assert b"Delayed by Postgrey" in words
    send_from_outside(deployment, mail)
    found = arrived(deployment, person, mail)
    assert found.get_content().strip() == "Grüße aus Übersee"
    assert found["X-Spam-Status"].startswith("No, ")
    assert found["X-Virus-Status"] == "Clean"
    assert "mx.outside.example" in found["Received"]


def test_a_mail_from_outside_is_read_over_pop3s(deployment: Deployment, person: Person) -> None:
    """outside -> mail -> dagent -> server -> gateway -> gateway-tls: the same mail is read over POP3S."""
    mail = written(person.address, "Two lines,\nand .dots\n.at their beginning\n")
    send_from_outside(deployment, mail)
    (found,) = eventually(lambda: popped(deployment, person, mail))
    assert found.get_content().splitlines() == ["Two lines,", "and .dots", ".at their beginning"]


@pytest.mark.parametrize("service", ["smtp", "submission", "smtps", "imaps", "pop3s"])
def test_the_certificate_of_a_mail_port_is_the_stacks_for_its_host_name_alone(deployment: Deployment, service: str) -> None:
    """outside -> mail, gateway-tls: TLS shows a certificate of the stack's authority for its host name."""
    fqdn, port = deployment.outputs["fqdn"], deployment.ports[service]

    def greet(context: ssl.SSLContext, name: str) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
            if service in ("smtp", "submission"):
                lines = plain.makefile("rb")
                with lines:
                    assert lines.readline().startswith(b"220 ")
                    plain.sendall(b"EHLO laptop.example\r\n")
                    while not lines.readline().startswith(b"250 "):
                        pass
                    plain.sendall(b"STARTTLS\r\n")
                    assert lines.readline().startswith(b"220 ")
            with context.wrap_socket(plain, server_hostname=name) as secured:
                assert secured.version() in ("TLSv1.2", "TLSv1.3")

    greet(deployment.authority, fqdn)
    for context, name in ((deployment.authority, f"not-{fqdn}"), (ssl.create_default_context(), fqdn)):
        with pytest.raises(ssl.SSLCertVerificationError):
            greet(context, name)


def test_a_mail_to_an_alias_reaches_whose_alias_it_is(deployment: Deployment, hire: Hire) -> None:
    """outside -> mail -> ldap: an alias of the directory leads to its user's mailbox."""
    alias = f"alias-{secrets.token_hex(4)}@{deployment.outputs['fqdn']}"
    person = hire(kopanoAliases=alias)
    mail = written(alias)
    send_from_outside(deployment, mail)
    assert arrived(deployment, person, mail)["To"] == alias


def test_a_mail_to_a_group_reaches_each_of_its_members_once(deployment: Deployment, hire: Hire, gather: Gather) -> None:
    """outside -> mail -> ldap -> dagent: a mail to a group reaches its members, by name, by entry or in a group in the group."""
    fqdn = deployment.outputs["fqdn"]
    # The address of a user is what the directory says, whatever the log-in name.
    named, listed, both = hire(mail=f"n{secrets.token_hex(4)}@{fqdn}"), hire(), hire()
    alias = f"alias-{secrets.token_hex(4)}@{fqdn}"
    inner = gather(named.name, both.name)
    outer = gather(entries=(entry(deployment, listed.name), entry(deployment, both.name), entry(deployment, inner, "groups")))
    flat = gather(named.name, listed.name, alias=alias)
    to_outer, to_alias = written(outer), written(alias)
    for mail in (to_outer, to_alias):
        send_from_outside(deployment, mail)
    for person in (named, listed, both):
        assert arrived(deployment, person, to_outer)["To"] == outer
    for person in (named, listed):
        arrived(deployment, person, to_alias)
    assert mails(deployment, both, subject=to_alias["Subject"]) == []
    for mail in (to_outer, to_alias):
        assert queued(deployment, mail["From"]) == {}
    # Members write to their group as well.
    answer = written(flat, sender=listed.address)
    submit(deployment, listed, answer)
    for person in (named, listed):
        arrived(deployment, person, answer)


def test_a_group_without_members_is_refused_at_once(deployment: Deployment, person: Person, gather: Gather) -> None:
    """outside, user -> mail -> ldap: nobody can send to a group in which nobody is, by its address or its alias."""
    alias = f"alias-{secrets.token_hex(4)}@{deployment.outputs['fqdn']}"
    group = gather(alias=alias)
    with outside(deployment) as smtp, sender_of(deployment, "submission") as submission:
        submission.login(person.name, person.password)
        for connection in (smtp, submission):
            connection.ehlo()
            connection.mail(person.address if connection is submission else "somebody@outside.example")
            for address in (group, alias):
                code, words = connection.rcpt(address)
                assert code == 550, words
                assert b"5.1.1" in words


def test_who_writes_to_a_group_is_told_of_a_member_who_does_not_exist(deployment: Deployment, hire: Hire, gather: Gather) -> None:
    """user -> mail -> ldap: a mail to a group reaches the members that there are, and its sender is told of the others."""
    sender, member, gone = hire(), hire(), hire()
    group = gather(member.name, gone.name)
    change(deployment, gone, "kopanoAccount", "0")
    mail = written(group, sender=sender.address)
    submit(deployment, sender, mail)
    arrived(deployment, member, mail)
    (bounce,) = eventually(lambda: mails(deployment, sender))
    assert bounce.get_content_type() == "multipart/report"
    report = " ".join(bounce.as_string().split())
    assert "is in the group, but is no user who gets mail" in report
    assert gone.name in report
    assert mail["Subject"] in report
    assert queued(deployment, sender.address) == {}


def test_groups_that_contain_each_other_take_no_mail_until_somebody_repairs_them(
    deployment: Deployment, person: Person, gather: Gather
) -> None:
    """outside -> mail -> ldap: who writes to one of two groups that contain each other is told to come again."""
    first = gather(entries=(entry(deployment, person.name),))
    second = gather(entries=(entry(deployment, first, "groups"),))
    circle = (entry(deployment, first, "groups"), "member", entry(deployment, second, "groups"))
    change(deployment, *circle, "add")
    mail = written(second)
    with outside(deployment) as smtp:
        smtp.ehlo()
        smtp.mail(mail["From"])
        code, words = smtp.rcpt(second)
    assert code == 451, words
    change(deployment, *circle, "delete")
    send_from_outside(deployment, mail)
    arrived(deployment, person, mail)


@pytest.mark.parametrize("service", ["smtp", "submission", "smtps"])
def test_an_unknown_recipient_is_refused_at_once(deployment: Deployment, person: Person, service: str) -> None:
    """outside, user -> mail -> ldap: nobody can send to somebody who is not in the directory."""
    with outside(deployment) if service == "smtp" else sender_of(deployment, service) as smtp:
        if service != "smtp":
            smtp.login(person.name, person.password)
        smtp.ehlo()
        assert smtp.mail("somebody@outside.example" if service == "smtp" else person.address)[0] == 250
        code, words = smtp.rcpt(f"nobody-{secrets.token_hex(4)}@{deployment.outputs['fqdn']}")
    assert code == 550, words
    assert b"5.1.1" in words


def test_a_user_who_leaves_the_directory_gets_no_mail_any_more(deployment: Deployment, person: Person) -> None:
    """outside -> mail -> ldap: recipients are those of the directory now."""

    def asked() -> int:
        with outside(deployment) as smtp:
            smtp.ehlo()
            smtp.mail(f"{secrets.token_hex(4)}@outside.example")
            return smtp.rcpt(person.address)[0]

    assert asked() == 450
    change(deployment, person, "kopanoAccount", "0")
    assert asked() == 550


def test_a_virus_is_refused_and_delivered_to_nobody(deployment: Deployment, person: Person) -> None:
    """outside -> mail: a mail with a virus is refused while its sender still waits for the answer."""
    bad, good = written(person.address), written(person.address)
    for mail, content in ((bad, EICAR), (good, EICAR.lower())):
        mail.add_attachment(content.encode(), "application", "octet-stream", filename="invoice.com")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send_from_outside(deployment, bad)
    assert refused.value.smtp_code == 550
    assert b"Eicar" in refused.value.smtp_error
    send_from_outside(deployment, good)
    arrived(deployment, person, good)
    assert mails(deployment, person, subject=bad["Subject"]) == []
    assert queued(deployment, bad["From"]) == {}


def test_spam_is_marked_and_delivered_as_junk(deployment: Deployment, person: Person) -> None:
    """outside -> mail -> dagent: what is taken for spam is marked, and lies in the user's junk folder."""
    mail = written(person.address, f"{GTUBE}\n")
    send_from_outside(deployment, mail)
    junk = folder_of(deployment, person, "Junk")
    (found,) = eventually(lambda: mails(deployment, person, junk, mail["Subject"]))
    assert found["X-Spam-Status"].startswith("Yes, ")
    assert found["X-Spam-Flag"] == "YES"
    assert found["Subject"] == f"***SPAM*** {mail['Subject']}"
    assert mails(deployment, person, subject=mail["Subject"]) == []


def move(deployment: Deployment, person: Person, mail: EmailMessage, source: str, target: str) -> None:
    """Move a mail to another folder, as a mail program does."""
    with imap(deployment, person) as session:
        assert session.select(source)[0] == "OK"
        (number,) = session.uid("SEARCH", "HEADER", "Subject", f'"{mail["Subject"]}"')[1][0].split()
        assert session.uid("MOVE", number.decode(), target)[0] == "OK"


def learned(deployment: Deployment) -> tuple[int, int]:
    """How many mails the spam filter knows as spam, and how many as ham."""
    database = ("--dbpath", "/var/mail-state/lib-amavis/.spamassassin")
    # The command fails before the first mail is learned.
    counts = deployment.execute("mail", "sa-learn", *database, "--dump", "magic", check=False)
    spam, ham = (
        sum(int(number) for number in re.findall(rf"(\d+) +\d+ +non-token data: n{kind}", counts)) for kind in ("spam", "ham")
    )
    return spam, ham


def test_what_a_user_moves_to_the_junk_folder_is_learned_as_spam_and_as_ham_when_it_comes_back(
    deployment: Deployment, person: Person
) -> None:
    """server -> spamd -> mail: the spam filter learns what users take for spam, and that they no longer do."""
    mail = written(person.address, f"Buy {secrets.token_hex(8)} now, {secrets.token_hex(8)} dear friend.\n" * 5, person.address)
    submit(deployment, person, mail)
    arrived(deployment, person, mail)
    junk = folder_of(deployment, person, "Junk")
    line = deployment.execute("mail", "cat", "/etc/cron.d/learn-spam")
    user, job = line.split(maxsplit=6)[5:]
    assert user == "root"

    def copies(kind: str) -> str:
        return deployment.execute("mail", "grep", "-rlF", mail["Subject"], f"/var/lib/kopano/spamd/{kind}", check=False)

    def learn(kind: str) -> tuple[int, int]:
        eventually(lambda: copies(kind))
        deployment.execute("mail", "sh", "-c", job)
        assert copies(kind) == ""
        return learned(deployment)

    # What others have moved is learned before.
    deployment.execute("mail", "sh", "-c", job)
    spam, ham = learned(deployment)
    move(deployment, person, mail, "INBOX", junk)
    # The filter may have taken it for ham by itself.
    after = learn("spam")
    assert after in [(spam + 1, ham), (spam + 1, ham - 1)]
    move(deployment, person, mail, junk, "INBOX")
    assert learn("ham") == (after[0] - 1, after[1] + 1)
    # What the filter itself reads and writes must stay its own.
    found = deployment.execute("mail", "find", "/var/mail-state/lib-amavis", "!", "-user", "amavis")
    assert found == ""


@pytest.mark.parametrize("sender", ["somebody@outside.example", "user1@{fqdn}"])
def test_nobody_outside_can_send_to_elsewhere(deployment: Deployment, sender: str) -> None:
    """outside -> mail: relaying is refused, whoever the sender claims to be."""
    with outside(deployment) as smtp:
        smtp.ehlo()
        assert smtp.mail(sender.format(fqdn=deployment.outputs["fqdn"]))[0] == 250
        code, words = smtp.rcpt("somebody@elsewhere.example")
    assert code == 554, words
    assert b"Relay access denied" in words


@pytest.mark.parametrize("service", ["submission", "smtps"])
def test_a_user_who_logs_in_sends_to_another_user(deployment: Deployment, hire: Hire, service: str) -> None:
    """user -> mail -> gateway -> server -> ldap: with the password of the directory a user may send, to another user."""
    sender, recipient = hire(), hire()
    mail = written(recipient.address, sender=sender.address)
    submit(deployment, sender, mail, service)
    found = arrived(deployment, recipient, mail)
    assert found["From"] == sender.address
    assert found["X-Virus-Status"] == "Clean"


@pytest.mark.parametrize("service", ["submission", "smtps"])
def test_a_wrong_password_does_not_log_in_and_without_log_in_nothing_is_sent(
    deployment: Deployment, person: Person, service: str
) -> None:
    """user -> mail -> gateway -> server -> ldap: a wrong password is refused, and so is sending without one."""
    with sender_of(deployment, service) as smtp:
        smtp.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            smtp.login(person.name, f"{person.password}x")
        assert refused.value.smtp_code == 535
        assert smtp.mail(person.address)[0] == 250
        code, words = smtp.rcpt(person.address)
        assert code == 554, words
        smtp.rset()
        assert smtp.login(person.name, person.password)[0] == 235


def test_a_changed_password_counts_at_once_when_sending(deployment: Deployment, person: Person) -> None:
    """user -> mail -> gateway -> server -> ldap: a changed password counts at once, and the old one no more."""

    def login(password: str) -> int:
        with sender_of(deployment, "smtps") as smtp:
            try:
                return smtp.login(person.name, password)[0]
            except smtplib.SMTPAuthenticationError as refused:
                return refused.smtp_code

    assert login(person.password) == 235
    other = secrets.token_urlsafe(12)
    change(deployment, person, "userPassword", other)
    assert login(other) == 235
    assert login(person.password) == 535


def test_no_log_in_is_offered_to_other_mail_servers_nor_unencrypted(deployment: Deployment) -> None:
    """outside -> mail: port 25 offers no log-in, encrypted or not, and port 587 offers it only encrypted."""
    offered = {}
    for service in ("smtp", "submission"):
        with smtplib.SMTP(deployment.outputs["fqdn"], deployment.ports[service], "laptop.example", timeout=60) as smtp:
            smtp.ehlo()
            offered[service] = [smtp.has_extn("auth")]
            assert smtp.docmd("AUTH PLAIN", "AHVzZXIxAHVzZXIx")[0] == {"smtp": 503, "submission": 530}[service]
            smtp.starttls(context=deployment.authority)
            smtp.ehlo()
            offered[service].append(smtp.has_extn("auth"))
    assert offered == {"smtp": [False, False], "submission": [False, True]}


SEND = (
    "import smtplib, sys; sender, to, mail = sys.argv[1], sys.argv[2], sys.stdin.buffer.read();"
    " smtplib.SMTP('mail', 25, timeout=60).sendmail(sender, to, mail)"
)


@pytest.mark.parametrize("way", ["submission", "spooler"])
def test_what_users_send_out_is_signed_by_their_domain(deployment: Deployment, person: Person, way: str) -> None:
    """user, spooler -> mail -> outside: with DKIM on, outgoing mail has a signature that the published key verifies."""
    published = {f"{name}.".encode(): text.encode() for name, text in deployment.outputs["dkim"].items()}
    # Where nobody answers, whatever the resolver says.
    address = f"{secrets.token_hex(8)}@[192.0.2.1]"
    mail = written(address, "Grüße\n", sender=person.address)
    if way == "spooler":
        deployment.execute("spooler", "python3", "-c", SEND, person.address, address, stdin=mail.as_string())
    else:
        submit(deployment, person, mail)
    with held(deployment) as queue:
        signed = queue(address)
    assert dkim.verify(signed, dnsfunc=lambda name, timeout=0: published.get(name))
    (signature,) = message_from_bytes(signed).get_all("DKIM-Signature", [])
    tags = dict(tag.strip().split("=", 1) for tag in "".join(signature.split()).split(";") if "=" in tag)
    assert (tags["d"], tags["s"], tags["a"]) == (deployment.outputs["fqdn"], "lab", "rsa-sha256")
    assert {"from", "to", "subject"} <= set(tags["h"].lower().split(":"))
    assert not dkim.verify(signed.replace(b"Subject: s", b"Subject: S"), dnsfunc=lambda name, timeout=0: published.get(name))


def test_nobody_outside_gets_a_signature_for_a_senders_address_of_the_domain(deployment: Deployment, person: Person) -> None:
    """outside -> mail: what only claims to come from a user is not signed."""
    mail = written(person.address, sender=person.address)
    send_from_outside(deployment, mail)
    assert arrived(deployment, person, mail)["DKIM-Signature"] is None


@pytest.mark.usefixtures("recovery")
def test_whose_mailbox_is_too_full_is_told_by_the_monitor(deployment: Deployment, hire: Hire) -> None:
    """monitor -> server -> gateway: who is over the directory's quota gets a mail about it, and nobody else does."""
    full = hire(kopanoQuotaOverride="1", kopanoQuotaWarn="20000", kopanoQuotaSoft="0", kopanoQuotaHard="0")
    roomy = hire(kopanoQuotaOverride="1", kopanoQuotaWarn="2000000", kopanoQuotaSoft="0", kopanoQuotaHard="0")
    for person in (full, roomy):
        mail = written(person.address, "A line that takes space.\n" * 1000, roomy.address)
        submit(deployment, roomy, mail)
        arrived(deployment, person, mail)
    docker("restart", deployment.containers()["monitor"])
    subject = "Your mailbox has reached its warn limit"
    (told,) = eventually(lambda: mails(deployment, full, subject=subject), 60)
    assert told["To"] == full.address
    assert told["Auto-Submitted"] == "auto-generated"
    assert mails(deployment, roomy, subject=subject) == []


def test_who_writes_to_a_full_mailbox_is_told_that_the_mail_did_not_get_there(deployment: Deployment, hire: Hire) -> None:
    """mail -> dagent -> server: a mailbox at its hard quota takes no mail, and its sender gets that mail back."""
    full = hire(kopanoQuotaOverride="1", kopanoQuotaWarn="0", kopanoQuotaSoft="0", kopanoQuotaHard="5000")
    sender = hire()
    first, second = (written(full.address, "A line that takes space.\n" * 400, sender.address) for _ in range(2))
    submit(deployment, sender, first)
    arrived(deployment, full, first)
    submit(deployment, sender, second)
    (bounce,) = eventually(lambda: mails(deployment, sender))
    assert bounce.get_content_type() == "multipart/report"
    assert "5.2.2" in bounce.as_string()
    assert second["Subject"] in bounce.as_string()
    assert mails(deployment, full, subject=second["Subject"]) == []


def test_a_word_of_a_mail_that_has_just_come_is_found(deployment: Deployment, person: Person) -> None:
    """dagent -> server -> search -> server -> gateway: a search finds a word in the text of a mail that has just come."""
    word = f"q{secrets.token_hex(6)}"
    # In base64, so that the word is nowhere to be read in the mail as it was sent.
    mail, other = written(person.address, sender=person.address), written(person.address, sender=person.address)
    for one, text in ((mail, f"Grüße, {word}\n"), (other, "Grüße\n")):
        one.set_content(text, cte="base64")
        submit(deployment, person, one)
        arrived(deployment, person, one)

    def found(criterion: str, text: str) -> list[str]:
        with imap(deployment, person) as session:
            session.select(readonly=True)
            numbers = session.search(None, criterion, f'"{text}"')[1][0].decode().split()
            headers = [session.fetch(number, "(BODY.PEEK[HEADER])")[1][0][1] for number in numbers]  # type: ignore[index]
        return [message_from_bytes(header)["Subject"] for header in headers]  # type: ignore[arg-type]

    assert found("TEXT", word) == [mail["Subject"]]
    assert found("BODY", word.upper()) == [mail["Subject"]]
    assert found("TEXT", f"{word}0") == []
    # The server reads what the search service has not seen yet; the word is in its index soon.
    index = ("sh", "-euc", 'grep -l -- "$1" /kopano/data/search/index.db*', "grep", word)
    eventually(lambda: deployment.execute("search", *index, check=False))
    assert found("TEXT", word) == [mail["Subject"]]


@pytest.mark.usefixtures("recovery")
def test_mail_waits_while_dagent_is_away(deployment: Deployment, hire: Hire) -> None:
    """mail -> dagent: while dagent is away mail is taken and waits; it is delivered once, and nobody gets it back."""
    sender, recipient = hire(), hire()
    mail = written(recipient.address, sender=sender.address)
    with stopped(deployment, "dagent"):
        submit(deployment, sender, mail)
        eventually(lambda: queued(deployment, sender.address).get(recipient.address))
    delivered_at_last(deployment, recipient, sender, mail)


@pytest.mark.usefixtures("recovery")
def test_mail_waits_while_the_database_is_away(deployment: Deployment, person: Person) -> None:
    """mail -> dagent -> server -> db: while the database is away, mail from outside is taken and waits; it is delivered once."""
    mail = written(person.address)
    with stopped(deployment, "db"):
        send_from_outside(deployment, mail)
        reason = eventually(lambda: queued(deployment, mail["From"]).get(person.address))
        assert re.search(r"said: 421[ -]", reason), reason
        # Its check cannot tell: restarting it would not help.
        server = deployment.containers()["server"]
        assert docker("inspect", "--format", "{{.State.Health.Status}}", server).strip() == "healthy"

    def is_there() -> bool:
        flush(deployment)
        return bool(mails(deployment, person, subject=mail["Subject"]))

    eventually(is_there, 60)
    arrived(deployment, person, mail)
    assert queued(deployment, mail["From"]) == {}
    assert mail["From"] not in queued(deployment, "MAILER-DAEMON")


def test_a_mail_to_a_user_whom_the_server_does_not_know_yet_makes_the_mailbox(deployment: Deployment, hire: Hire) -> None:
    """mail -> dagent -> server -> ldap: a mail to a new user makes the mailbox, which the log-in name alone opens."""
    person = hire(sync=False)
    mail = written(person.address)
    send_from_outside(deployment, mail)
    eventually(lambda: f"Delivered to {person.name}" in docker("logs", deployment.containers()["dagent"]))
    arrived(deployment, person, mail)
    with pytest.raises(imaplib.IMAP4.error):
        imap(deployment, Person(person.address, person.password, person.address))


@pytest.mark.usefixtures("recovery")
def test_mail_waits_while_the_directory_is_away(deployment: Deployment, hire: Hire) -> None:
    """mail -> dagent -> server -> ldap: mail that was taken waits while the directory is away, although dagent refuses it."""
    sender, recipient = hire(), hire()
    mail = written(recipient.address, sender=sender.address)

    def refused_by_dagent() -> bool:
        flush(deployment)
        waiting = queued(deployment, sender.address)
        assert recipient.address in waiting, "the mail has left the queue"
        return re.search(r"said: 451[ -]4\.1\.1 ", waiting[recipient.address]) is not None

    with contextlib.ExitStack() as afterwards:
        with stopped(deployment, "dagent"):
            submit(deployment, sender, mail)
            eventually(lambda: queued(deployment, sender.address).get(recipient.address))
            afterwards.enter_context(stopped(deployment, "ldap"))
        eventually(refused_by_dagent, 60)
    delivered_at_last(deployment, recipient, sender, mail)


@pytest.mark.usefixtures("recovery")
def test_a_sender_outside_comes_again_when_the_directory_is_back(deployment: Deployment, person: Person, gather: Gather) -> None:
    """outside -> mail -> ldap: while the directory is away no recipient is refused for good."""
    mail = written(gather(person.name))
    with stopped(deployment, "ldap"), outside(deployment) as smtp:
        smtp.ehlo()
        assert smtp.mail(mail["From"])[0] == 250
        for address in (person.address, mail["To"]):
            code, words = smtp.rcpt(address)
            assert 400 <= code < 500, words
            assert b"Delayed by Postgrey" not in words
    send_from_outside(deployment, mail)
    arrived(deployment, person, mail)
