"""Backups of a stack that is in use, and its return from them."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import json
import random
import secrets
import smtplib
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from deployments import Deployment, Prepare, docker

from tools import archive

BASE = "dc=kopano,dc=localhost"
PEOPLE = tuple(f"user{number}" for number in range(1, 7))
LEFT_OUT = dict.fromkeys(("ldap-admin", "password-self-service", "zpush", "kdav", "meet"), False)
SETTINGS = {
    "kopano:blocks": LEFT_OUT,
    # At a time that no test waits for: the job is started by hand.
    "kopano:backup": {"schedule": "0 0 1 1 *", "keep": "2"},
    "kopano:environment": {"mail": {"ENABLE_POSTGREY": "0", "ENABLE_CLAMAV": "0", "ENABLE_SPAMASSASSIN": "0"}},
}
AS_ADMIN = """printf %s "$LDAP_ADMIN_PASSWORD" > /tmp/admin && trap 'rm /tmp/admin' EXIT
ldapmodify -x -H ldap://127.0.0.1 -D "cn=admin,$0" -y /tmp/admin"""


@dataclass
class Mails:
    """Mails that the stack has taken: subject -> recipient and attachment, and when it was acknowledged."""

    deployment: Deployment
    sent: dict[str, tuple[str, bytes, float]] = field(default_factory=dict)

    def deliver(self, *, by: str) -> None:
        """Deliver a mail that no other is like to somebody, over SMTP to the mail server or over LMTP to dagent."""
        to, attachment = random.choice(PEOPLE), random.randbytes(random.choice((100, 5_000, 90_000)))
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "a@outside.example", f"{to}@kopano.localhost", f"m-{secrets.token_hex(8)}"
        mail.set_content("Good morning.\n")
        mail.add_attachment(attachment, maintype="application", subtype="octet-stream", filename="a.bin")
        with self._connection(by) as connection:
            assert connection.send_message(mail) == {}
        self.sent[mail["Subject"]] = (to, attachment, time.time())

    def _connection(self, by: str) -> smtplib.SMTP:
        if by == "smtp":
            return smtplib.SMTP("127.0.0.1", self.deployment.ports["smtp"], "mx.outside.example", timeout=60)
        networks = json.loads(docker("inspect", self.deployment.containers()["dagent"]))[0]["NetworkSettings"]["Networks"]
        return smtplib.LMTP(networks[self.deployment.outputs["networks"]["kopano"]]["IPAddress"], 2003)

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """Mails keep arriving. They wait in the queue until the backup has begun with the database, and are delivered then."""
        done = threading.Event()
        failures: list[BaseException] = []

        def keep_arriving() -> None:
            try:
                while not done.is_set():
                    self.deliver(by="smtp")
            except BaseException as failure:
                failures.append(failure)

        dagent, copying = self.deployment.containers()["dagent"], f"kopano-{self.deployment.stack}-backup-run"

        def go_on_in_time() -> None:
            begun = ["docker", "exec", copying, "test", "-e", "/backups/.work/database.sql.gz"]
            while not done.is_set() and subprocess.run(begun, capture_output=True, check=False).returncode:
                pass
            docker("unpause", dagent)

        docker("pause", dagent)
        threads = [threading.Thread(target=work) for work in (keep_arriving, go_on_in_time)]
        for thread in threads:
            thread.start()
        try:
            before = len(self.sent)
            while len(self.sent) < before + 5 and not failures:
                time.sleep(0.05)
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not failures, failures


def mailbox(deployment: Deployment, name: str, password: str) -> dict[str, bytes]:
    """What a user finds over IMAPS: subject -> attachment."""
    context = deployment.authority
    context.check_hostname = False
    with imaplib.IMAP4_SSL("127.0.0.1", deployment.ports["imaps"], ssl_context=context, timeout=30) as connection:
        connection.login(name, password)
        connection.select("INBOX", readonly=True)
        found = connection.fetch("1:*", "(BODY.PEEK[])")[1]
    mails = [message_from_bytes(part[1], policy=policy.default) for part in found if isinstance(part, tuple)]
    return {str(mail["Subject"]): next(iter(mail.iter_attachments())).get_content() for mail in mails}


def calendar(deployment: Deployment, name: str, password: str, method: str, body: str | None = None) -> str:
    """Write or read the user's one event over CalDAV."""
    authorization = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    path = f"/caldav/{name}/Calendar/kept.ics"
    answer = deployment.web(path, method, body, Authorization=authorization, Content_Type="text/calendar")
    assert answer.status in (200, 201), (answer.status, answer.body)
    return answer.body


EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//backup//test//EN\r\nBEGIN:VEVENT\r\nUID:kept\r\nDTSTAMP:20300102T080000Z\r\n"
    "DTSTART:20300102T090000Z\r\nDTEND:20300102T100000Z\r\nSUMMARY:Kept {0}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def set_passwords(deployment: Deployment) -> dict[str, str]:
    """Give everybody a new password: user -> password."""
    new = {name: secrets.token_urlsafe(12) for name in PEOPLE}
    changes = [
        f"dn: uid={name},ou=users,ou=CompanyA,{BASE}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n\n"
        for name, password in new.items()
    ]
    deployment.execute("ldap", "sh", "-euc", AS_ADMIN, BASE, stdin="".join(changes))
    deployment.execute("server", "kopano-admin", "--sync")
    return new


def scheduled_archives(deployment: Deployment) -> list[str]:
    return deployment.execute("backup", "sh", "-c", "ls /backups").split()


def run_the_scheduled_job(deployment: Deployment) -> None:
    """What the scheduler's cron runs, in the scheduler."""
    variables = json.loads(docker("inspect", deployment.containers()["scheduler"]))[0]["Config"]["Env"]
    (line,) = [each for each in variables if each.startswith("CRONDELAYED_BACKUP=")]
    deployment.execute("scheduler", "sh", "-c", line.split(" ", 5)[5])


def restore(deployment: Deployment, file: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return deployment.run("scripts/restore", deployment.stack, str(file), check=check)


def is_refused_and_nothing_is_touched(deployment: Deployment, file: Path, reason: str) -> None:
    refused = restore(deployment, file, check=False)
    assert refused.returncode == 1, refused.stdout
    (sentence,) = [line for line in refused.stdout.splitlines() if line.startswith("error: ")]
    assert reason in sentence
    assert "Traceback" not in refused.stdout
    assert (deployment.containers(), deployment.volumes()) == ({}, [])
    assert deployment.stack not in deployment.run("scripts/pulumi", "stack", "ls").stdout


def test_a_stack_comes_back_from_a_backup_made_while_mail_arrives(prepare: Prepare, tmp_path: Path) -> None:
    """backup -> db, ldap, all data volumes: after purge and restore every acknowledged mail is there, and passwords work"""
    stack = prepare()
    stack.configure(SETTINGS)
    stack.make("up")
    passwords = set_passwords(stack)
    mails = Mails(stack)
    for _ in range(12):
        mails.deliver(by="lmtp")
    for name in PEOPLE[:2]:
        calendar(stack, name, passwords[name], "PUT", EVENT.format(name))
    authority = stack.outputs["caCertificate"]
    certificate = ssl.get_server_certificate(("127.0.0.1", stack.https_port))

    # The job of the schedule keeps two archives.
    seen = []
    for _ in range(3):
        run_the_scheduled_job(stack)
        seen.append(scheduled_archives(stack)[-1])
        time.sleep(1)
    assert scheduled_archives(stack) == seen[-2:]
    scheduled = tmp_path / "scheduled.tar"
    docker("cp", f"{stack.containers()['backup']}:/backups/{seen[-1]}", str(scheduled))
    in_scheduled = dict(mails.sent)

    whole = tmp_path / "whole.tar"
    with mails.arriving():
        began = time.time()
        said = stack.run("scripts/backup", stack.stack, str(whole)).stdout
    acknowledged = {subject: sent for subject, sent in mails.sent.items() if sent[2] < began}
    assert len(acknowledged) > len(in_scheduled) + 4
    assert whole.stat().st_mode & 0o777 == 0o600
    assert stack.stack in said
    state = archive.verify(whole).read("state.json").decode()
    assert "ciphertext" in state
    for secret in (stack.outputs["database"]["password"], stack.outputs["ldap"]["bindPassword"]):
        assert secret not in state

    over_a_running_one = restore(stack, whole, check=False)
    assert over_a_running_one.returncode == 1
    assert f"the Docker host has kopano-{stack.stack}-" in over_a_running_one.stdout
    stack.make("purge", YES="1")

    damaged = bytearray(whole.read_bytes())
    damaged[random.randrange(len(damaged))] ^= 1
    (tmp_path / "damaged.tar").write_bytes(damaged)
    (tmp_path / "short.tar").write_bytes(damaged[: len(damaged) // 2])
    for name in ("damaged.tar", "short.tar"):
        is_refused_and_nothing_is_touched(stack, tmp_path / name, "nothing was touched")
    passphrase = stack.root / ".local" / "passphrase"
    right = passphrase.read_text()
    passphrase.write_text("another one")
    is_refused_and_nothing_is_touched(stack, whole, "the passphrase of this checkout does not open the archive")
    passphrase.write_text(right)

    restore(stack, whole)
    stack.make("up")
    assert stack.outputs["caCertificate"] == authority
    assert ssl.get_server_certificate(("127.0.0.1", stack.https_port)) == certificate
    everybody_finds(stack, acknowledged, passwords)
    for name in PEOPLE[:2]:
        assert f"SUMMARY:Kept {name}" in calendar(stack, name, passwords[name], "GET")

    a_scheduled_archive_makes_another_stack(prepare(), scheduled, in_scheduled, passwords)


def everybody_finds(stack: Deployment, sent: dict[str, tuple[str, bytes, float]], passwords: dict[str, str]) -> None:
    """All these mails are in the mailboxes, which open with these passwords."""
    # A mail that was tried before dagent was there would wait as long as it is old.
    stack.execute("mail", "postqueue", "-f")
    for name in PEOPLE:
        wanted = {subject: attachment for subject, (to, attachment, _) in sent.items() if to == name}
        deadline = time.monotonic() + 60
        while not wanted.items() <= (found := mailbox(stack, name, passwords[name])).items():
            missing = set(wanted) - set(found)
            assert time.monotonic() < deadline, f"{name} misses {len(missing)} of {len(wanted)}: {missing}"
            time.sleep(1)


def a_scheduled_archive_makes_another_stack(
    other: Deployment, scheduled: Path, sent: dict[str, tuple[str, bytes, float]], passwords: dict[str, str]
) -> None:
    """An archive without Pulumi's state, restored under another name; and one that cannot be restored leaves nothing behind."""
    other.configure({**SETTINGS, "kopano:images": {"db": "nowhere.invalid/db:1"}})
    is_refused_and_nothing_is_touched(other, scheduled, "was not restored, and its volumes are removed again")
    other.configure(SETTINGS)
    assert "the archive has no state" in restore(other, scheduled).stdout
    other.make("up")
    everybody_finds(other, sent, passwords)
