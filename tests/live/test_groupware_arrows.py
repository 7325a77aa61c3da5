"""What users, their devices and administrators do with a running stack, and the jobs that it does by itself."""

from __future__ import annotations

import base64
import contextlib
import email.message
import email.policy
import imaplib
import json
import re
import secrets
import smtplib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin

import pytest
from deployments import CHROMIUM, Answer, Deployment, docker, from_network
from playwright.sync_api import Page, sync_playwright

from lab.images import catalog

T = TypeVar("T")

DOMAIN = "kopano.localhost"
BASE = "dc=kopano,dc=localhost"
AUTODISCOVER = ("/AutoDiscover/AutoDiscover.xml", "/Autodiscover/Autodiscover.xml", "/autodiscover/autodiscover.xml")

# The password comes through a pipe, the entries on standard input.
AS_ADMIN = """exec 3<&0
printf %s "$LDAP_ADMIN_PASSWORD" | "$1" -x -H ldap://127.0.0.1 -D "cn=admin,$2" -y /dev/stdin -f /dev/fd/3"""


def eventually(check: Callable[[], T | None], seconds: float = 30) -> T:
    """The first true answer of `check`; fails when there is none in time."""
    deadline = monotonic() + seconds
    while not (answer := check()):
        assert monotonic() < deadline, f"still {answer!r} after {seconds} seconds"
        sleep(0.5)
    return answer


def subject() -> str:
    """A subject that no other mail has."""
    return f"Arrow {secrets.token_hex(6)}"


def state(container: str) -> dict[str, Any]:
    return dict(json.loads(docker("inspect", container))[0])


def authority(deployment: Deployment) -> ssl.SSLContext:
    """Trusts the stack's authority; on which name a certificate is made out is not looked at here."""
    context = deployment.authority
    context.check_hostname = False
    return context


# ---- people ----


@dataclass(frozen=True)
class Person:
    """Somebody in the directory. Of the demo users the password is the name."""

    name: str
    password: str

    @property
    def address(self) -> str:
        return f"{self.name}@{DOMAIN}"

    def using(self, password: str) -> Person:
        return Person(self.name, password)


def demo(number: int) -> Person:
    return Person(f"user{number}", f"user{number}")


def as_admin(deployment: Deployment, tool: str, text: str) -> None:
    deployment.execute("ldap", "sh", "-euc", AS_ADMIN, "sh", tool, BASE, stdin=text)


def sync(deployment: Deployment) -> None:
    deployment.execute("server", "kopano-admin", "--sync")


@pytest.fixture
def newcomer(deployment: Deployment) -> Iterator[Person]:
    """A person whom the administrator has just put into the directory, and of whom the server has not heard."""
    person = Person(f"arrow{secrets.token_hex(4)}", f"First-{secrets.token_hex(4)}-1")
    dn = f"uid={person.name},ou=users,ou=CompanyA,{BASE}"
    number = 10_000 + secrets.randbelow(50_000)
    entry = {
        "uid": person.name,
        "uidNumber": number,
        "gidNumber": number,
        "homeDirectory": f"/home/{person.name}",
        "cn": "New Comer",
        "sn": "Comer",
        "mail": person.address,
        "userPassword": person.password,
        "kopanoAccount": 1,
    }
    lines = [f"objectClass: {kind}" for kind in ("inetOrgPerson", "posixAccount", "kopano-user")]
    lines += [f"{name}: {value}" for name, value in entry.items()]
    as_admin(deployment, "ldapadd", "\n".join([f"dn: {dn}", *lines, ""]))
    try:
        yield person
    finally:
        as_admin(deployment, "ldapdelete", f"{dn}\n")
        sync(deployment)


# ---- mail ----


@contextlib.contextmanager
def mailbox(deployment: Deployment, person: Person) -> Iterator[imaplib.IMAP4_SSL]:
    """A person's mailbox over IMAPS."""
    port = deployment.ports["imaps"]
    with imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=authority(deployment), timeout=30) as connection:
        connection.login(person.name, person.password)
        yield connection


def found(deployment: Deployment, person: Person, wanted: str, folder: str = "INBOX") -> email.message.EmailMessage | None:
    """The mail with this subject in a folder, if it is there."""
    with mailbox(deployment, person) as connection:
        assert connection.select(f'"{folder}"', readonly=True)[0] == "OK"
        numbers = connection.search(None, "SUBJECT", f'"{wanted}"')[1][0].split()
        if not numbers:
            return None
        content = connection.fetch(numbers[0].decode(), "(BODY.PEEK[])")[1][0]
    assert isinstance(content, tuple)
    return email.message_from_bytes(content[1], _class=email.message.EmailMessage, policy=email.policy.default)


def logs_in_to_imap(deployment: Deployment, person: Person) -> bool:
    try:
        with mailbox(deployment, person):
            return True
    except imaplib.IMAP4.error:
        return False


@contextlib.contextmanager
def submission(deployment: Deployment) -> Iterator[smtplib.SMTP]:
    """The submission port, with TLS, before the log-in."""
    with smtplib.SMTP("127.0.0.1", deployment.ports["submission"], "test.example", timeout=30) as connection:
        connection.starttls(context=authority(deployment))
        yield connection


def logs_in_to_submission(deployment: Deployment, person: Person) -> bool:
    with submission(deployment) as connection:
        try:
            connection.login(person.name, person.password)
        except smtplib.SMTPAuthenticationError:
            return False
        return True


def submit(deployment: Deployment, sender: Person, recipient: Person, title: str) -> None:
    mail = email.message.EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender.address, recipient.address, title
    mail.set_content("Sent over the submission port.")
    with submission(deployment) as connection:
        connection.login(sender.name, sender.password)
        assert connection.send_message(mail) == {}


# ---- the browser ----


@contextlib.contextmanager
def browsing(deployment: Deployment) -> Iterator[Page]:
    """A page in a browser of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                f"--host-resolver-rules=MAP {deployment.outputs['fqdn']} 127.0.0.1",
                "--disable-background-networking",
            ],
        )
        try:
            # The browser cannot be told of the stack's authority; that its certificates are right is shown elsewhere.
            yield browser.new_context(ignore_https_errors=True).new_page()
        finally:
            browser.close()


def log_in_to_webapp(page: Page, deployment: Deployment, person: Person) -> bool:
    """Log in at the WebApp; says whether it lets one in."""
    page.goto(deployment.outputs["urls"]["webapp"])
    page.fill("input[name=_user]", person.name)
    page.fill("input[name=_pass]", person.password)
    page.click("button[type=submit]")
    page.wait_for_selector("body.task-mail, #messagestack [role=alert]")
    return "task-mail" in (page.get_attribute("body", "class") or "").split()


def lets_into_webapp(deployment: Deployment, person: Person) -> bool:
    with browsing(deployment) as page:
        return log_in_to_webapp(page, deployment, person)


def test_a_mail_written_in_the_webapp_reaches_another_user_by_way_of_outbox_and_spooler(deployment: Deployment) -> None:
    """web -> webapp -> server -> spooler -> mail -> dagent -> server -> gateway: a mail from a browser reaches a user"""
    sync(deployment)
    sender, recipient, title = demo(8), demo(9), subject()
    webapp = deployment.outputs["urls"]["webapp"]
    with browsing(deployment) as page:
        assert log_in_to_webapp(page, deployment, sender)
        page.goto(f"{webapp}?_task=mail&_action=compose&{urlencode({'_to': recipient.address})}")
        page.fill("#compose-subject", title)
        page.fill("#composebody", "Written in a browser.")
        page.click("a.send, button.send")
        # The list of mails comes back when the mail is in the outbox.
        page.wait_for_selector("body.action-none")
    mail = eventually(lambda: found(deployment, recipient, title), 60)
    assert mail["From"].addresses[0].addr_spec == sender.address
    assert mail.get_content().strip() == "Written in a browser."
    assert any(line.startswith("from spooler") for line in mail.get_all("Received", [])), mail.as_string()
    assert eventually(lambda: found(deployment, sender, title, "Sent Items"))
    assert not found(deployment, sender, title, "Outbox")
    with browsing(deployment) as page:
        assert log_in_to_webapp(page, deployment, recipient)
        link = page.locator("#messagelist a", has_text=title)
        page.goto(urljoin(webapp, link.get_attribute("href")))
        assert title in page.inner_text("body")
        assert "Written in a browser." in page.inner_text("#messagebody")


def test_the_webapp_has_the_plug_ins_of_the_stack_file(deployment: Deployment) -> None:
    """web -> webapp: the plug-ins that the stack file names are there for whoever logs in"""
    with browsing(deployment) as page:
        assert log_in_to_webapp(page, deployment, demo(1))
        assert page.locator("#taskmenu a.button-help").count() == 1
        scripts = page.eval_on_selector_all("script[src]", "all => all.map(each => each.getAttribute('src'))")
        assert [script for script in scripts if "plugins/newmail_notifier/" in script], scripts


def test_a_new_user_of_the_directory_logs_in_from_the_next_sync_on_and_nothing_is_restarted(
    deployment: Deployment, newcomer: Person
) -> None:
    """ldap -> server -> gateway, webapp, zpush: a new user logs in after the next sync, without a restart"""
    began = {block: state(container)["State"]["StartedAt"] for block, container in deployment.containers().items()}
    assert not logs_in_to_imap(deployment, newcomer)
    assert devices_options(deployment, newcomer).status == 401
    assert not lets_into_webapp(deployment, newcomer)
    sync(deployment)
    assert logs_in_to_imap(deployment, newcomer)
    assert devices_options(deployment, newcomer).status == 200
    assert lets_into_webapp(deployment, newcomer)
    assert {block: state(box)["State"]["StartedAt"] for block, box in deployment.containers().items()} == began


# ---- the page on which users change their passwords ----


def change_password(deployment: Deployment, person: Person, new: str) -> str:
    """What the page says to a change of the password."""
    with browsing(deployment) as page:
        page.goto(deployment.outputs["urls"]["passwordReset"])
        for field, value in {"login": person.name, "old": person.password, "new": new, "again": new}.items():
            page.fill(f"input[name={field}]", value)
        page.click("button")
        return page.inner_text("[role=alert], [role=status]")


def entrances(deployment: Deployment, person: Person) -> dict[str, bool]:
    """Where the person gets in."""
    return {
        "webapp": lets_into_webapp(deployment, person),
        "imap": logs_in_to_imap(deployment, person),
        "submission": logs_in_to_submission(deployment, person),
        "caldav": dav(deployment, f"/caldav/{person.name}/Calendar/", "PROPFIND", person, Depth="0").status == 207,
        "activesync": devices_options(deployment, person).status == 200,
    }


def test_a_changed_password_counts_at_once_and_the_old_one_no_longer_anywhere(deployment: Deployment, newcomer: Person) -> None:
    """web -> password-self-service -> ldap -> server -> gateway, mail, ical, zpush: a changed password counts at once"""
    sync(deployment)
    everywhere = dict.fromkeys(entrances(deployment, newcomer), True)
    # Each service has seen the old password, so that one which remembered it would be found out.
    assert entrances(deployment, newcomer) == everywhere
    changed = newcomer.using(f"Second-{secrets.token_hex(4)}-2")
    assert "has been changed" in change_password(deployment, newcomer, changed.password)
    assert entrances(deployment, changed) == everywhere
    assert entrances(deployment, newcomer) == dict.fromkeys(everywhere, False)


def test_a_weak_password_and_a_wrong_old_one_are_refused_and_change_nothing(deployment: Deployment, newcomer: Person) -> None:
    """web -> password-self-service: a weak new password and a wrong old one are refused with a sentence"""
    sync(deployment)
    assert "characters: at least 8" in change_password(deployment, newcomer, "short1")
    assert "digits: at least 1" in change_password(deployment, newcomer, "only-letters")
    assert "old password is wrong" in change_password(deployment, newcomer.using("something else"), "Quite-good-1")
    for refused in ("short1", "only-letters", "Quite-good-1"):
        assert not logs_in_to_imap(deployment, newcomer.using(refused))
    assert logs_in_to_imap(deployment, newcomer)


# ---- calendars and contacts ----


def log_in(person: Person) -> str:
    return "Basic " + base64.b64encode(f"{person.name}:{person.password}".encode()).decode()


def dav(deployment: Deployment, path: str, method: str, person: Person | None, body: str | None = None, **headers: str) -> Answer:
    if person:
        headers["Authorization"] = log_in(person)
    return deployment.web(path, method, body, **headers)


def event(uid: str, title: str) -> str:
    return "\r\n".join(
        [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            "PRODID:-//arrows//test//EN",
            "BEGIN:VEVENT",
            f"UID:{uid}",
            "DTSTAMP:20300102T080000Z",
            "DTSTART:20300102T090000Z",
            "DTEND:20300102T100000Z",
            f"SUMMARY:{title}",
            "END:VEVENT",
            "END:VCALENDAR",
            "",
        ]
    )


@pytest.mark.parametrize(("written", "read"), [("caldav", "kdav"), ("kdav", "caldav")])
def test_an_event_written_over_one_calendar_service_is_read_over_the_other(
    deployment: Deployment, written: str, read: str
) -> None:
    """web -> ical, kdav: an event written over either of the two is read over the other, and listed there"""
    sync(deployment)
    person, title, uid = demo(12), subject(), secrets.token_hex(8)
    path = f"{person.name}/Calendar/{uid}.ics"
    put = dav(deployment, f"/{written}/{path}", "PUT", person, event(uid, title), Content_Type="text/calendar")
    assert put.status == 201
    got = dav(deployment, f"/{read}/{path}", "GET", person)
    assert (got.status, f"SUMMARY:{title}" in got.body, "DTSTART:20300102T090000Z" in got.body) == (200, True, True)
    listed = dav(deployment, f"/{read}/{person.name}/Calendar/", "PROPFIND", person, Depth="1")
    assert (listed.status, f"{uid}.ics" in listed.body) == (207, True)
    assert dav(deployment, f"/{read}/{path}", "DELETE", person).status in (200, 204)
    assert dav(deployment, f"/{written}/{path}", "GET", person).status == 404


def test_a_contact_is_written_and_found_where_clients_are_sent_to(deployment: Deployment) -> None:
    """web -> kdav: a contact is kept over CardDAV, found by a search, and the well-known address leads there"""
    sync(deployment)
    person, uid = demo(13), secrets.token_hex(8)
    name = f"Contact {uid}"
    start = dav(deployment, "/.well-known/carddav", "PROPFIND", person).location
    book = f"{start}{person.name}/Contacts/"
    card = f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:{name}\r\nN:{uid};Contact;;;\r\nEND:VCARD\r\n"
    assert dav(deployment, f"{book}{uid}.vcf", "PUT", person, card, Content_Type="text/vcard").status == 201
    search = (
        '<c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><c:address-data/></d:prop>'
        f'<c:filter><c:prop-filter name="FN"><c:text-match>{name}</c:text-match></c:prop-filter></c:filter>'
        "</c:addressbook-query>"
    )
    answer = dav(deployment, book, "REPORT", person, search, Content_Type="application/xml", Depth="1")
    assert answer.status == 207
    assert f"FN:{name}" in answer.body
    assert answer.body.count("BEGIN:VCARD") == 1
    assert dav(deployment, f"{book}{uid}.vcf", "DELETE", person).status in (200, 204)


@pytest.mark.parametrize("service", ["caldav", "kdav"])
def test_nobody_gets_at_the_calendar_of_another_user(deployment: Deployment, service: str) -> None:
    """web -> ical, kdav: a calendar is for its owner, and for nobody else or without a log-in"""
    sync(deployment)
    owner, other, uid = demo(14), demo(15), secrets.token_hex(8)
    path = f"/{service}/{owner.name}/Calendar/{uid}.ics"
    assert dav(deployment, path, "PUT", owner, event(uid, "Private"), Content_Type="text/calendar").status == 201
    assert dav(deployment, f"/{service}/{other.name}/Calendar/", "PROPFIND", other, Depth="0").status == 207
    for intruder, status in ((other, 403), (owner.using("wrong"), 401), (None, 401)):
        for method, body in (("GET", None), ("PUT", event(uid, "Changed")), ("DELETE", None)):
            refused = dav(deployment, path, method, intruder, body)
            assert (intruder, method, refused.status) == (intruder, method, status)
            assert "Private" not in refused.body
    assert "SUMMARY:Private" in dav(deployment, path, "GET", owner).body


# ---- phones ----


def devices_options(deployment: Deployment, person: Person | None) -> Answer:
    headers = {"Authorization": log_in(person)} if person else {}
    return deployment.web("/Microsoft-Server-ActiveSync", "OPTIONS", **headers)


def element(token: int, *content: bytes) -> bytes:
    """An element of a device's binary XML, by its number in the code page."""
    return bytes([token | 0x40, *b"".join(content), 0x01])


def text(value: str) -> bytes:
    return b"\x03" + value.encode() + b"\x00"


def device(deployment: Deployment, person: Person, name: str, command: str, page: int, document: bytes) -> Answer:
    """What a phone is answered to a command; the document is of one code page."""
    return deployment.web(
        f"/Microsoft-Server-ActiveSync?Cmd={command}&User={person.name}&DeviceId={name}&DeviceType=Phone",
        "POST",
        (b"\x03\x01\x6a\x00\x00" + bytes([page]) + document).decode("latin-1"),
        Authorization=log_in(person),
        Content_Type="application/vnd.ms-sync.wbxml",
        MS_ASProtocolVersion="14.1",
        X_MS_PolicyKey="0",
    )


def test_a_phone_is_told_what_there_is_once_it_logs_in(deployment: Deployment) -> None:
    """web -> zpush -> gateway: a phone that logs in is told the protocol's versions, any other is refused"""
    sync(deployment)
    for stranger in (None, demo(16).using("wrong")):
        assert devices_options(deployment, stranger).status == 401
    answer = devices_options(deployment, demo(16))
    assert answer.status == 200
    assert "14.1" in answer.headers["ms-asprotocolversions"].split(",")
    assert {"FolderSync", "Sync", "SendMail", "Ping"} <= set(answer.headers["ms-asprotocolcommands"].split(","))


@pytest.mark.parametrize("path", AUTODISCOVER)
def test_a_phone_finds_the_stack_by_any_spelling_of_the_address(deployment: Deployment, path: str) -> None:
    """web -> zpush: autodiscovery, in each of its three spellings, names the address for phones"""
    sync(deployment)
    mobile = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync"
    person = demo(16)
    question = (
        f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{mobile}/requestschema/2006"><Request>'
        f"<EMailAddress>{person.address}</EMailAddress>"
        f"<AcceptableResponseSchema>{mobile}/responseschema/2006</AcceptableResponseSchema></Request></Autodiscover>"
    )
    assert deployment.web(path, "POST", question, Content_Type="text/xml").status == 401
    answer = deployment.web(path, "POST", question, Content_Type="text/xml", Authorization=log_in(person))
    assert answer.status == 200
    assert f"<Url>{deployment.outputs['urls']['activesync']}</Url>" in answer.body


def test_an_administrator_sees_a_phone_that_has_synchronised_and_makes_the_stack_forget_it(deployment: Deployment) -> None:
    """web -> zpush -> gateway: a phone gets its folders, and the administrator sees and removes the phone"""
    sync(deployment)
    person, name = demo(17), f"ARROW{secrets.token_hex(6)}".upper()
    assert name not in deployment.execute("zpush", "z-push-admin", "-a", "list")
    # FolderSync with the key 0: all folders.
    answer = device(deployment, person, name, "FolderSync", 7, element(0x16, element(0x12, text("0"))))
    assert answer.status == 200
    for folder in ("INBOX", "Sent Items", "Deleted Items"):
        assert folder in answer.body
    listed = deployment.execute("zpush", "z-push-admin", "-a", "list")
    assert re.search(rf"^{name}\s+{person.name}\s+Phone\s", listed, re.MULTILINE)
    deployment.execute("zpush", "z-push-admin", "-a", "remove", "-d", name)
    assert name not in deployment.execute("zpush", "z-push-admin", "-a", "list")


def test_a_phone_finds_a_new_user_in_the_address_book_after_its_next_update(deployment: Deployment, newcomer: Person) -> None:
    """server -> zpush: the address book of phones is brought to what the server knows"""

    def search() -> str:
        some = element(0x0A, element(0x0B, text("0-9")))
        store = element(0x07, element(0x08, text("GAL")), element(0x09, text(newcomer.name)), some)
        return device(deployment, demo(18), "ARROWBOOK", "Search", 15, element(0x05, store)).body

    sync(deployment)
    assert newcomer.address not in search()
    deployment.execute("zpush", "z-push-gabsync", "-a", "sync")
    assert newcomer.address in search()


# ---- the directory's administration ----


def test_the_administrator_logs_in_to_the_directory_through_the_proxy(deployment: Deployment) -> None:
    """web -> ldap-admin -> ldap: the administrator binds with the right password, and sees the users"""
    variables = dict(line.split("=", 1) for line in state(deployment.containers()["ldap"])["Config"]["Env"])
    admin = f"cn=admin,{BASE}"
    page_of_user1 = urlencode({"cmd": "template_engine", "server_id": 1, "dn": f"uid=user1,ou=users,ou=CompanyA,{BASE}"})
    at = deployment.outputs["urls"]["ldapAdmin"]
    for password, inside in (("wrong", False), (variables["LDAP_ADMIN_PASSWORD"], True)):
        with browsing(deployment) as page:
            page.goto(f"{at}cmd.php?cmd=login_form&server_id=1")
            page.fill("input[name=login]", admin)
            page.fill("input[name=login_pass]", password)
            page.click("input[name=submit]")
            page.wait_for_load_state("load")
            page.goto(f"{at}cmd.php?{page_of_user1}")
            assert ("Petersen" in page.content()) is inside


# ---- the scheduler and its way to the Docker Engine ----


def jobs_network(deployment: Deployment) -> str:
    joined = set(state(deployment.containers()["scheduler"])["NetworkSettings"]["Networks"])
    (network,) = joined - {deployment.outputs["networks"]["kopano"]}
    return str(network)


def log(container: str, *options: str) -> str:
    return docker("logs", *options, container)


def test_users_are_known_after_the_deployment_without_anybodys_doing(deployment: Deployment) -> None:
    """scheduler -> docker-proxy -> server: the jobs of the start make the public store and the directory's users known"""
    said = log(deployment.containers()["scheduler"])
    ending = re.search(r"CRON_KOPANOUSERS: ended with exit code (\d+)", said)
    assert ending, said
    assert ending[1] == "0", said
    listed = deployment.execute("server", "kopano-admin", "-l")
    for number in (1, 19, 20, 23):
        assert re.search(rf"^\s*user{number}\s", listed, re.MULTILINE), listed
    # Were there none, this would make one and say so.
    again = deployment.execute("server", "sh", "-c", "kopano-storeadm -h default: -P 2>&1", check=False)
    assert "Public store already exists" in again


def test_a_start_of_the_scheduler_makes_a_new_user_known(deployment: Deployment, newcomer: Person) -> None:
    """scheduler -> docker-proxy -> server -> ldap: a job of the scheduler, and nobody else, makes a new user known"""
    scheduler = deployment.containers()["scheduler"]
    assert newcomer.name not in deployment.execute("server", "kopano-admin", "-l")
    docker("restart", scheduler)
    since = state(scheduler)["State"]["StartedAt"]
    eventually(lambda: "CRON_KOPANOUSERS: ended with exit code 0" in log(scheduler, "--since", since), 60)
    assert newcomer.name in deployment.execute("server", "kopano-admin", "-l")
    assert logs_in_to_imap(deployment, newcomer)
    eventually(lambda: state(scheduler)["State"]["Health"]["Status"] == "healthy")


def test_a_job_that_fails_ends_neither_the_other_jobs_nor_the_scheduler(deployment: Deployment) -> None:
    """scheduler -> docker-proxy -> server: after jobs that fail, at the start and later, the other jobs still run"""
    image = state(deployment.containers()["scheduler"])["Image"]
    jobs = {
        "CRON_A_FAILS": "* * * * * docker exec kopano_server sh -c 'exit 7'",
        "CRON_B_WORKS": "* * * * * docker exec kopano_server kopano-admin -l",
        "DOCKER_HOST": "tcp://docker_proxy:2375",
    }
    variables = [word for name, value in jobs.items() for word in ("--env", f"{name}={value}")]
    scheduler = docker("create", "--network", jobs_network(deployment), *variables, image).strip()
    try:
        docker("network", "connect", deployment.outputs["networks"]["kopano"], scheduler)
        docker("start", scheduler)

        def ended(count: int) -> bool:
            said = log(scheduler)
            failures = said.count("CRON_A_FAILS: ended with exit code 7")
            return failures >= count and said.count("CRON_B_WORKS: ended with exit code 0") >= count

        eventually(lambda: ended(1))
        # The cron itself has started both now, at the next full minute.
        eventually(lambda: ended(2), 90)
        docker("kill", "--signal", "USR2", scheduler)
        eventually(lambda: "SIGUSR2" in log(scheduler))
        now = state(scheduler)
        assert (now["State"]["Running"], now["RestartCount"]) == (True, 0)
    finally:
        docker("rm", "--force", "--volumes", scheduler)


def test_the_scheduler_runs_commands_in_the_server_and_in_no_other_container(deployment: Deployment) -> None:
    """scheduler -> docker-proxy -> server: a command runs in the server; one in the database or the directory is refused"""
    ran = deployment.execute("scheduler", "docker", "exec", "kopano_server", "kopano-admin", "--version")
    assert ran == deployment.execute("server", "kopano-admin", "--version") != ""
    for block in ("db", "ldap"):
        name = f"kopano-{deployment.stack}-{block}"
        script = f"docker exec {name} true 2>&1 && echo it ran"
        said = deployment.execute("scheduler", "sh", "-c", script, check=False)
        assert "refused by the scheduler's proxy" in said
        assert "it ran" not in said


ASK = """while IFS='\t' read -r method path body; do
    set -- --request "$method"
    [ -z "$body" ] || set -- "$@" --header 'Content-Type: application/json' --data-binary "$body"
    curl --silent --max-time 10 --path-as-is --output /dev/null --write-out '%{http_code}\\n' "$@" "http://docker_proxy:2375$path"
done"""


def test_the_proxy_lets_nothing_pass_but_plain_commands_in_its_targets(deployment: Deployment) -> None:
    """scheduler -> docker-proxy: commands in server and zpush pass; all else of the Docker Engine is refused"""
    prefix = f"kopano-{deployment.stack}"
    server = deployment.containers()["server"]
    create = f"/containers/{prefix}-server/exec"
    plain: dict[str, object] = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["true"]}
    run = json.dumps(plain)
    image = json.dumps({"Image": "anything", "HostConfig": {"Binds": ["/:/host"]}})
    requests: list[tuple[int, str, str, str]] = [
        (200, "GET", "/_ping", ""),
        (200, "GET", f"/containers/{prefix}-server/json", ""),
        (201, "POST", create, run),
        (201, "POST", "/containers/kopano_server/exec", run),
        (201, "POST", f"/v1.41/containers/{prefix}-zpush/exec", run),
        # Other containers of the stack, of other stacks, and the targets by a name that says nothing.
        (403, "POST", f"/containers/{prefix}-db/exec", run),
        (403, "POST", f"/containers/{prefix}-docker-proxy/exec", run),
        (403, "GET", f"/containers/{prefix}-ldap/json", ""),
        (403, "POST", f"/containers/{prefix}x-server/exec", run),
        (403, "POST", "/containers/kopano-other-server/exec", run),
        (403, "POST", f"/containers/{server}/exec", run),
        (403, "POST", f"/containers/{prefix}-server/../{prefix}-db/exec", run),
        (403, "POST", f"/containers/{prefix}%2ddb/exec", run),
        # Whatever else the engine does.
        (403, "POST", "/containers/create", image),
        (403, "POST", f"/v1.41/containers/create?name={prefix}-evil", image),
        (403, "GET", "/containers/json", ""),
        (403, "GET", "/images/json", ""),
        (403, "POST", "/images/create?fromImage=busybox", ""),
        (403, "GET", "/volumes", ""),
        (403, "GET", "/networks", ""),
        (403, "GET", "/info", ""),
        (403, "POST", "/build", ""),
        (403, "POST", f"/containers/{prefix}-server/restart", ""),
        (403, "POST", f"/containers/{prefix}-server/kill", ""),
        (403, "DELETE", f"/containers/{prefix}-server", ""),
        (403, "GET", f"/containers/{prefix}-server/archive?path=/", ""),
        (403, "GET", f"/containers/{prefix}-server/logs?stdout=1", ""),
        # More rights than a job needs.
        *[
            (403, "POST", create, json.dumps(plain | more))
            for more in (
                {"Privileged": True},
                {"privileged": True},
                {"User": "0"},
                {"Env": ["A=b"]},
                {"Tty": True},
                {"AttachStdin": True},
                {"WorkingDir": "/"},
            )
        ],
        (403, "POST", create, '{"Cmd":["true"],"Privileged":false,"Privileged":true}'),
        (403, "POST", create, '{"Cmd":["true"],"\\u0050rivileged":true}'),
    ]
    asked = "".join("\t".join(request[1:]) + "\n" for request in requests)
    done = from_network(jobs_network(deployment), catalog.reference("base"), ASK, stdin=asked)
    answers = [int(line) for line in done.stdout.split()]
    assert [(answer, *request[1:]) for answer, request in zip(answers, requests, strict=True)] == requests


def test_only_the_proxy_has_the_docker_socket_and_only_the_scheduler_reaches_the_proxy(deployment: Deployment) -> None:
    """scheduler -> docker-proxy: nobody else is on their network, which leads nowhere, and nobody else has the socket"""
    containers = {block: state(container) for block, container in deployment.containers().items()}
    holders = {block for block, one in containers.items() if any("docker.sock" in str(mount) for mount in one["Mounts"])}
    assert holders == {"docker-proxy"}
    network = jobs_network(deployment)
    assert json.loads(docker("network", "inspect", network))[0]["Internal"] is True
    joined = {block for block, one in containers.items() if network in one["NetworkSettings"]["Networks"]}
    assert joined == {"scheduler", "docker-proxy"}
    assert list(containers["docker-proxy"]["NetworkSettings"]["Networks"]) == [network]
    address = containers["docker-proxy"]["NetworkSettings"]["Networks"][network]["IPAddress"]
    ask = "curl --silent --connect-timeout 3 --output /dev/null --write-out '%{http_code} ' http://$HOST:2375/_ping || :"
    assert from_network(network, catalog.reference("base"), ask, HOST=address).stdout == "200 "
    for other in ("kopano", "web"):
        for host in ("docker_proxy", address):
            done = from_network(deployment.outputs["networks"][other], catalog.reference("base"), ask, HOST=host)
            assert done.stdout == "000 ", (other, host)


# ---- the server ends badly ----


def sockets(deployment: Deployment) -> dict[str, str]:
    """Path -> time of making, of the server's sockets as dagent sees them."""
    script = "stat -c '%F %n %z' /run/kopano/server.sock /run/kopano/prio.sock"
    lines = deployment.execute("dagent", "sh", "-c", script).splitlines()
    assert all(line.startswith("socket ") for line in lines)
    return dict(line.removeprefix("socket ").split(" ", 1) for line in lines)


def delivers(deployment: Deployment) -> None:
    """Somebody's mail comes to somebody else."""
    title = subject()
    submit(deployment, demo(10), demo(11), title)
    assert eventually(lambda: found(deployment, demo(11), title), 60)


def healthy(container: str) -> bool:
    return bool(state(container)["State"]["Health"]["Status"] == "healthy")


def test_the_server_starts_over_the_sockets_that_a_killed_one_has_left_behind(deployment: Deployment) -> None:
    """mail -> dagent -> server: after a kill the server starts over the sockets left behind, and mail is delivered"""
    sync(deployment)
    server = deployment.containers()["server"]
    docker("kill", "--signal", "KILL", server)
    try:
        # To the engine this is a stop by hand, after which it starts nothing.
        eventually(lambda: not state(server)["State"]["Running"])
        left = sockets(deployment)
    finally:
        docker("start", server)
    eventually(lambda: healthy(server), 90)
    now = sockets(deployment)
    assert now.keys() == left.keys()
    assert all(now[path] != left[path] for path in left)
    delivers(deployment)


def test_a_server_whose_process_dies_is_started_again_by_the_engine(deployment: Deployment) -> None:
    """dagent -> server: a server whose process dies comes back by itself, and mail is delivered"""
    sync(deployment)
    server = deployment.containers()["server"]
    before = state(server)
    # From outside the container: inside it, its first process cannot be killed.
    outside = ("--rm", "--network", "none", "--pid", "host", "--user", "0", "--entrypoint", "/bin/sh")
    docker("run", *outside, catalog.reference("base"), "-c", f"kill -KILL {before['State']['Pid']}")
    eventually(lambda: state(server)["RestartCount"] == before["RestartCount"] + 1)
    eventually(lambda: state(server)["State"]["Running"] and healthy(server), 90)
    assert state(server)["State"]["Pid"] != before["State"]["Pid"]
    delivers(deployment)
