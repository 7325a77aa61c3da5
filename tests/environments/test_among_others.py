"""A stack among other people's servers: their database, their directory, their smarthost, their certificate."""

from __future__ import annotations

import contextlib
import http.client
import imaplib
import json
import re
import secrets
import smtplib
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import pytest
from deployments import CHROMIUM, SMALL, Deployment, ask, docker, free_port
from outside import DOMAIN, Outside, services_outside
from pki import Pair, pair
from playwright.sync_api import sync_playwright

from lab.images import catalog

Found = TypeVar("Found")

FQDN = f"groupware.{DOMAIN}"
SMARTHOST = "smtp.provider.example"
SINK = Path(__file__).with_name("sink.py")
SINK_PORT = 2525
# The password of the directory's administrator is in that container's environment, and is on no command line.
AS_ADMIN = 'ldapmodify -x -H ldap://localhost -D "cn=admin,$LDAP_BASE_DN" -y <(printf %s "$LDAP_ADMIN_PASSWORD")'


@dataclass(frozen=True)
class Among:
    """A deployment among others' servers, what is of these, and what its first deployment said."""

    stack: Deployment
    outside: Outside
    smarthost: str
    own: Pair
    relay: dict[str, str]
    password: str
    said: str

    @property
    def trusted(self) -> ssl.SSLContext:
        """Trusts the own certificate's authority and no other."""
        return ssl.create_default_context(cadata=self.own.authority)

    @property
    def secrets(self) -> dict[str, str]:
        """What nobody may read anywhere."""
        return {
            "database": self.outside.database["password"],
            "directory": self.outside.directory["bindPassword"],
            "relay": self.relay["password"],
            "key": self.own.key.splitlines()[1],
        }

    def imap(self, user: str, password: str) -> imaplib.IMAP4_SSL:
        session = imaplib.IMAP4_SSL(FQDN, self.stack.ports["imaps"], ssl_context=self.trusted, timeout=60)
        try:
            session.login(user, password)
        except imaplib.IMAP4.error:
            session.shutdown()
            raise
        return session

    def submit(self, mail: EmailMessage) -> None:
        with smtplib.SMTP(FQDN, self.stack.ports["submission"], local_hostname="laptop.example", timeout=60) as smtp:
            smtp.starttls(context=self.trusted)
            smtp.login("user1", self.password)
            assert smtp.send_message(mail) == {}

    def abroad(self) -> EmailMessage:
        """Send a mail to somebody elsewhere."""
        mail = EmailMessage()
        mail["From"], mail["To"] = f"user1@{DOMAIN}", "friend@far-away.example"
        mail["Subject"] = f"subject-{secrets.token_hex(8)}"
        mail.set_content("Good morning.\n")
        self.submit(mail)
        return mail

    def called(self, container: str, action: str = "connect") -> None:
        """Lead the provider's name to a container, as name servers do it elsewhere, or no longer."""
        words = ["--alias", SMARTHOST] if action == "connect" else []
        docker("network", action, *words, self.stack.outputs["networks"]["kopano"], container)


def taken(smarthost: str, mail: EmailMessage) -> list[dict[str, object]]:
    """What a smarthost says of a mail, once for each time that it took it."""
    lines = [json.loads(line) for line in docker("logs", smarthost).splitlines() if line.startswith("{")]
    return [line for line in lines if mail["Subject"] in line["content"]]


def eventually(check: Callable[[], Found], seconds: float = 60) -> Found:
    """What a check gives, as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"not within {seconds} seconds: {found!r}"
        time.sleep(1)
    return found


def logged(container: str) -> str:
    """All that a container has said."""
    words = ["docker", "logs", container]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout


@contextlib.contextmanager
def smarthost(user: str, password: str, shown: Pair) -> Iterator[str]:
    """A provider's mail server with its certificate; gives the name of its container."""
    name = f"smarthost-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tls.pem").write_text(shown.key + shown.certificate, encoding="ascii")
        mounts = ["--volume", f"{folder}:/sink:ro", "--volume", f"{SINK}:/sink.py:ro", "--entrypoint", "python3"]
        words = ["run", "--detach", "--name", name, *mounts, "--env", "SINK_USER", "--env", "SINK_PASSWORD"]
        try:
            docker(*words, catalog.reference("core"), "/sink.py", environment={"SINK_USER": user, "SINK_PASSWORD": password})
            yield name
        finally:
            docker("rm", "--force", "--volumes", name, check=False)


@pytest.fixture(scope="module")
def among(stack: Deployment, hosts: dict[str, str]) -> Iterator[Among]:
    own, hosts[FQDN] = pair(FQDN, issuer=True), "127.0.0.1"
    providers = pair(SMARTHOST)
    relay = {"host": SMARTHOST, "port": str(SINK_PORT), "user": "customer", "password": secrets.token_hex(12)}
    stack.ports = {service: free_port() for service in ("smtp", "submission", "imaps")}
    with services_outside(tls=True) as outside, smarthost(relay["user"], relay["password"], providers) as container:
        stack.configure(
            {
                "kopano:fqdn": FQDN,
                "kopano:demoUsers": False,
                "kopano:blocks": {**SMALL["kopano:blocks"], "db": False, "ldap": False, "password-self-service": True},
                "kopano:database": outside.database,
                "kopano:directory": {**outside.directory, "userFilter": "(&(kopanoAccount=1)(!(uid=user3)))"},
                "kopano:certificate": own.setting(authority=own.authority),
                "kopano:relay": {**relay, "authority": providers.authority},
            }
        )
        said = stack.make("up").stdout
        password = secrets.token_hex(12)
        # A password that only the directory outside knows.
        line = f"dn: uid=user1,ou=users,ou=CompanyA,{outside.directory['baseDn']}\nchangetype: modify\nreplace: userPassword\n"
        change = ["exec", "--interactive", outside.containers["ldap"], "bash", "-euc", AS_ADMIN]
        docker(*change, stdin=f"{line}userPassword: {password}\n")
        among = Among(stack, outside, container, own, relay, password, said)
        among.called(container)
        yield among


def test_users_of_the_directory_outside_log_in_over_imaps_with_their_passwords_there(among: Among) -> None:
    """outside -> gateway-tls -> gateway -> server -> directory outside: a log-in, with a password from a directory over TLS."""
    assert among.outside.directory["uri"].startswith("ldaps://")
    with among.imap("user1", among.password) as session:
        assert session.select("INBOX", readonly=True)[0] == "OK"
    with pytest.raises(imaplib.IMAP4.error):
        among.imap("user1", "user1")


def test_users_and_mailboxes_are_in_the_database_outside(among: Among) -> None:
    """server -> database outside: users, their mailboxes and their mail."""
    mail = EmailMessage()
    mail["From"] = mail["To"] = f"user1@{DOMAIN}"
    mail["Subject"] = f"subject-{secrets.token_hex(8)}"
    mail.set_content("To myself.\n")
    among.submit(mail)
    ask_it = 'MYSQL_PWD="$MYSQL_PASSWORD" mysql --user=kopano --batch --skip-column-names kopano'

    def rows(query: str) -> list[str]:
        words = ["exec", "--interactive", among.outside.containers["db"], "bash", "-euc", ask_it]
        return docker(*words, stdin=query).splitlines()

    owners = rows("SELECT users.name FROM users JOIN stores ON stores.user_id = users.id WHERE stores.type = 'private';")
    assert "user1" in owners
    eventually(lambda: mail["Subject"] in rows("SELECT subject FROM messages;"))
    assert {"db", "ldap"}.isdisjoint(among.stack.containers())


def test_browsers_and_mail_programs_see_the_own_certificate_with_its_issuer(among: Among) -> None:
    """outside -> web, gateway-tls, mail: the own certificate, by which the authority that only its root knows is trusted."""
    leaf = ssl.PEM_cert_to_DER_cert(among.own.certificate[: among.own.certificate.index("-----END") + 26])
    web = http.client.HTTPSConnection(FQDN, among.stack.https_port, context=among.trusted, timeout=30)
    with contextlib.closing(web):
        web.request("GET", "/webapp/")
        assert web.getresponse().status in (200, 302)
        assert web.sock.getpeercert(binary_form=True) == leaf
    with among.imap("user1", among.password) as session:
        assert session.sock.getpeercert(binary_form=True) == leaf
    with smtplib.SMTP(FQDN, among.stack.ports["submission"], local_hostname="laptop.example", timeout=60) as smtp:
        smtp.starttls(context=among.trusted)
        assert smtp.sock.getpeercert(binary_form=True) == leaf
    # The stack's own authority has no part in it.
    stranger = http.client.HTTPSConnection(FQDN, among.stack.https_port, context=among.stack.authority, timeout=30)
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(stranger, "/webapp/")


def test_a_user_logs_in_by_openid_since_the_services_trust_the_own_certificates_authority(among: Among) -> None:
    """browser -> web -> webapp -> web -> konnect -> server -> directory outside: log-in under an own certificate."""
    with sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {FQDN} 127.0.0.1"
        words = ["--no-sandbox", "--disable-background-networking", rules]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=words)
        # It has no way to be told of an authority; the certificate is looked at in another test.
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.set_default_timeout(20_000)
        page.goto(among.stack.outputs["urls"]["webapp"])
        page.click("#rcmloginoauth")
        assert urlsplit(page.url).path.startswith("/signin/")
        page.fill("#username", "user1")
        page.fill("#password", among.password)
        page.click("button[type=submit]")
        page.wait_for_selector("#messagelist", state="attached")
        browser.close()


def test_mail_for_others_goes_to_the_smarthost_over_tls_with_the_log_in(among: Among) -> None:
    """mail -> smarthost: over TLS, with the name and the password of the stack file."""
    mail = among.abroad()
    found = eventually(lambda: taken(among.smarthost, mail))
    (once,) = found
    assert (once["from"], once["to"]) == (f"user1@{DOMAIN}", ["friend@far-away.example"])
    assert str(once["login"]).startswith("customer by ")
    assert str(once["tls"]) in ("TLSv1.2", "TLSv1.3")


def test_mail_waits_while_another_server_answers_in_the_smarthosts_name(among: Among) -> None:
    """mail -> smarthost: neither mail nor password goes to who cannot show a certificate of the provider's authority."""
    another = pair(SMARTHOST, 29)
    assert another.authority != pair(SMARTHOST).authority
    with smarthost(among.relay["user"], among.relay["password"], another) as impostor:
        among.called(among.smarthost, "disconnect")
        try:
            among.called(impostor)
            mail = among.abroad()

            def waits() -> bool:
                queue = among.stack.execute("mail", "postqueue", "-j")
                return "friend@far-away.example" in queue and "certificate" in queue

            eventually(waits)
            assert not taken(impostor, mail)
        finally:
            among.called(among.smarthost)
    among.stack.execute("mail", "postqueue", "-f")
    assert len(eventually(lambda: taken(among.smarthost, mail))) == 1


def test_the_filter_leaves_a_user_out_for_the_server_and_the_mail_server_alike(among: Among) -> None:
    """server, mail -> directory outside: who does not match the filter has no mailbox, no log-in and no mail."""
    names = {line.split()[0] for line in among.stack.execute("server", "kopano-admin", "-l").splitlines() if line.strip()}
    assert {"user2", "user4"} <= names
    assert "user3" not in names
    with among.imap("user4", "user4"):
        pass
    with pytest.raises(imaplib.IMAP4.error):
        among.imap("user3", "user3")
    mail = EmailMessage()
    mail["From"], mail["To"] = f"user1@{DOMAIN}", f"user3@{DOMAIN}"
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        among.submit(mail)
    ((code, _),) = refused.value.recipients.values()
    assert code == 550


def test_a_user_changes_a_password_in_the_directory_outside(among: Among) -> None:
    """outside -> web -> password-self-service -> directory outside: a new password, over TLS to an authority of its own."""
    trusting = {"context": among.trusted, "timeout": 30}
    page = ask(http.client.HTTPSConnection(FQDN, among.stack.https_port, **trusting), "/password-reset/")
    token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page.body)
    assert token, page.body
    new = secrets.token_urlsafe(12) + "1"
    form = {"csrf_token": token[1], "login": "user5", "old": "user5", "new": new, "again": new}
    own = f"https://{FQDN}:{among.stack.https_port}"
    headers = {
        "Content_Type": "application/x-www-form-urlencoded",
        "Cookie": page.headers["set-cookie"].partition(";")[0],
        "Referer": f"{own}/password-reset/",
    }
    connection = http.client.HTTPSConnection(FQDN, among.stack.https_port, **trusting)
    changed = ask(connection, "/password-reset/", "POST", urlencode(form), **headers)
    assert changed.status == 200, changed.body
    with among.imap("user5", new):
        pass


def test_a_second_deployment_changes_nothing(among: Among) -> None:
    before = among.stack.containers()
    assert "all blocks are healthy" in among.stack.make("up").stdout
    assert among.stack.containers() == before
    among.stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", "--refresh")


def test_no_secret_of_the_others_is_seen(among: Among) -> None:
    stack = among.stack
    names = list(stack.containers().values())
    seen = {
        "up": among.said + stack.make("up").stdout,
        "preview": stack.make("preview").stdout + stack.pulumi("preview", "--diff").stdout,
        "outputs": stack.pulumi("stack", "output", "--json").stdout,
        "export": stack.pulumi("stack", "export").stdout,
        "labels and command lines": docker("inspect", "--format", "{{json .Config.Labels}}{{.Path}}{{.Args}}", *names),
        "processes": "".join(docker("top", name) for name in names if name != stack.containers()["ssl"]),
        "logs": "".join(map(logged, names)) + stack.execute("mail", "sh", "-c", "cat /var/log/mail/*.log"),
    }
    for name, secret in among.secrets.items():
        assert len(secret) > 20
        assert not [place for place, text in seen.items() if secret in text], name
