"""Each secret is replaced by one number in the stack file, certificates are renewed in time, and no mail is lost by it."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from deployments import Answer, Deployment, docker, from_network
from inbox import deliver, subjects
from test_first_deployment import SELECT, WHO, variables
from test_openid_arrows import SCOPE, Client, Person, claims_of, eventually

from lab.images import catalog
from tools.plans import endangered

BLOCKS = dict.fromkeys(("ldap-admin", "zpush", "kdav", "meet"), False)
SECRETS = ("database", "ldap", "konnect", "kapi", "certificates")
CERTIFIED = {"server", "dagent", "monitor", "search", "spooler", "webapp", "web", "mail", "gateway-tls"}
"""Blocks with a certificate of their own, or with one to log in to the server."""
READERS = {
    "database": {"ssl", "db", "server"},
    "ldap": {"ssl", "ldap", "server", "mail", "password-self-service"},
    "konnect": {"ssl", "konnect"},
    "kapi": {"ssl", "kapi"},
    "certificates": {"ssl", "konnect", "kapi", *CERTIFIED},
}
USER = Person("user1", "user1", "", "")


class App(Client):
    """A program at the deployment's own address, to which users log in."""

    def __post_init__(self) -> None:
        self.home = f"{self.deployment.outputs['urls']['webapp']}app/"
        self.id = f"kpop-{self.home}"
        self.verifier = secrets.token_urlsafe(40)

    def authorize(self, **changes: str) -> Answer:
        return super().authorize(**{"scope": f"{SCOPE} kopano/pubs", **changes})

    def token(self) -> str:
        answer = self.exchange(self.code(USER))
        assert answer.status == 200, answer.body
        return str(json.loads(answer.body)["access_token"])


@dataclass(frozen=True)
class Held:
    """What somebody holds who knows the secrets of a time."""

    database: str
    root: str
    administrator: str
    reader: str
    token: str
    webhook: str
    authority: ssl.SSLContext


@dataclass
class Rotated:
    """A deployment on which every secret was replaced: what was held before and after, and which blocks were replaced."""

    deployment: Deployment
    subject: str
    planned: dict[str, set[str]]
    replaced: set[str]
    before: Held
    answers: dict[str, list[int]]
    """What konnect and kapi said to the old token and to a new one, at once after the deployment."""


def held(deployment: Deployment) -> Held:
    token = App(deployment).token()
    webhook = deployment.web("/api/pubs/v1/webhook?topic=rotation", "POST", Authorization=f"Bearer {token}")
    assert webhook.status == 200, webhook.body
    db, ldap = variables(deployment, "db"), variables(deployment, "ldap")
    return Held(
        db["MYSQL_PASSWORD"],
        db["MYSQL_ROOT_PASSWORD"],
        ldap["LDAP_ADMIN_PASSWORD"],
        ldap["LDAP_READONLY_USER_PASSWORD"],
        token,
        json.loads(webhook.body)["pubUrl"],
        deployment.authority,
    )


def told(deployment: Deployment, token: str, expected: int) -> list[int]:
    """The status with which the provider and the REST API answer to a token. The latter has the provider's keys from a list
    that it reads again after a minute."""

    def ask(path: str) -> int:
        return deployment.web(path, Authorization=f"Bearer {token}").status

    with contextlib.suppress(AssertionError):
        eventually(lambda: ask("/api/gc/v1/me") == expected, 75)
    return [ask("/konnect/v1/userinfo"), ask("/api/gc/v1/me")]


def planned(deployment: Deployment) -> set[str]:
    """The blocks whose containers the next deployment would replace. It may touch no data."""
    plan = json.loads(deployment.pulumi("preview", "--json").stdout)
    assert endangered(plan) == {}
    changed = [step for step in plan["steps"] if step["op"] != "same"]
    containers = [step["oldState"] for step in changed if step["urn"].split("::")[2].endswith("Container")]
    return {container["inputs"]["name"].removeprefix(f"kopano-{deployment.stack}-") for container in containers}


def replaced(deployment: Deployment, before: dict[str, str]) -> set[str]:
    return {block for block, container in deployment.containers().items() if container != before[block]}


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotated]:
    deployment = Deployment.prepare(tmp_path_factory.mktemp("project"))
    try:
        deployment.configure({"kopano:blocks": BLOCKS})
        deployment.make("up")
        subject = f"kept-{secrets.token_hex(6)}"
        deliver(deployment.containers()["dagent"], f"user1@{deployment.outputs['fqdn']}", subject)
        plans = {}
        for secret in SECRETS:
            deployment.configure({"kopano:blocks": BLOCKS, "kopano:generations": {secret: 2}})
            plans[secret] = planned(deployment)
        before, boxes = held(deployment), deployment.containers()
        deployment.configure(
            {
                "kopano:blocks": BLOCKS,
                "kopano:generations": dict.fromkeys(SECRETS, 2),
                # Shorter than any: due as soon as they are made.
                "kopano:certificateHours": 1,
                "kopano:certificateRenewalHours": 1,
            }
        )
        deployment.make("up")
        changed = replaced(deployment, boxes)
        answers = {"new": told(deployment, App(deployment).token(), 200), "old": told(deployment, before.token, 401)}
        assert claims_of(before.token)["exp"] > time.time(), "it would be refused anyway: this machine is too slow"
        yield Rotated(deployment, subject, plans, changed, before, answers)
    finally:
        deployment.remove()


@pytest.mark.parametrize("secret", SECRETS)
def test_a_new_secret_restarts_exactly_its_readers(rotated: Rotated, secret: str) -> None:
    assert rotated.planned[secret] == READERS[secret]


def test_what_was_planned_is_what_was_replaced(rotated: Rotated) -> None:
    assert rotated.replaced == set().union(*READERS.values())


def test_mails_are_still_there(rotated: Rotated) -> None:
    assert rotated.subject in subjects(rotated.deployment, USER.login, USER.password)


def test_the_database_takes_the_new_passwords_and_no_old_one(rotated: Rotated) -> None:
    deployment = rotated.deployment

    def log_in(password: str) -> str:
        network = deployment.outputs["networks"]["kopano"]
        done = from_network(network, catalog.reference("db"), SELECT, ACCOUNT="kopano", DATABASE="kopano", MYSQL_PWD=password)
        return done.stdout + done.stderr

    assert log_in(deployment.outputs["database"]["password"]) == "1\n"
    assert "Access denied" in log_in(rotated.before.database)
    as_root = 'read -r MYSQL_PWD; export MYSQL_PWD; mysql --user=root --batch --skip-column-names --execute="SELECT 1"'
    assert deployment.execute("db", "sh", "-c", as_root, stdin=variables(deployment, "db")["MYSQL_ROOT_PASSWORD"] + "\n") == "1\n"
    assert deployment.execute("db", "sh", "-c", as_root, stdin=rotated.before.root + "\n", check=False) == ""


def test_the_directory_takes_the_new_passwords_and_no_old_one(rotated: Rotated) -> None:
    network, image = rotated.deployment.outputs["networks"]["ldap"], catalog.reference("ldap")
    now, base = variables(rotated.deployment, "ldap"), rotated.deployment.outputs["ldap"]["baseDn"]
    for account, new, old in (
        ("admin", now["LDAP_ADMIN_PASSWORD"], rotated.before.administrator),
        ("readonly", now["LDAP_READONLY_USER_PASSWORD"], rotated.before.reader),
    ):
        dn = f"cn={account},{base}"
        assert dn in from_network(network, image, WHO, DN=dn, PASSWORD=new).stdout
        assert from_network(network, image, WHO, DN=dn, PASSWORD=old).returncode == 49


def test_tokens_of_the_old_signing_key_are_refused_and_those_of_the_new_one_taken(rotated: Rotated) -> None:
    assert rotated.answers == {"new": [200, 200], "old": [401, 401]}


def test_addresses_that_kapi_signed_with_the_old_key_are_refused(rotated: Rotated) -> None:
    assert rotated.deployment.web(held(rotated.deployment).webhook, "POST", "{}").status == 204
    assert rotated.deployment.web(rotated.before.webhook, "POST", "{}").status == 422


def test_the_old_authority_vouches_for_nothing_any_more(rotated: Rotated) -> None:
    deployment = rotated.deployment
    assert certificate(deployment, deployment.authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        certificate(deployment, rotated.before.authority)


def certificate(deployment: Deployment, trusting: ssl.SSLContext) -> dict[str, Any]:
    """The certificate of the web proxy, as one sees it who trusts this authority."""
    with (
        socket.create_connection(("127.0.0.1", deployment.https_port), timeout=30) as plain,
        trusting.wrap_socket(plain, server_hostname=deployment.outputs["fqdn"]) as secured,
    ):
        return dict(secured.getpeercert() or {})


def test_certificates_that_are_due_are_renewed_by_the_next_deployment_for_exactly_their_readers(rotated: Rotated) -> None:
    deployment = rotated.deployment
    before, boxes = certificate(deployment, deployment.authority), deployment.containers()
    left = ssl.cert_time_to_seconds(before["notAfter"]) - time.time()
    assert 0 < left <= 3600
    assert planned(deployment) == {"ssl", *CERTIFIED}
    deployment.make("up")
    assert replaced(deployment, boxes) == {"ssl", *CERTIFIED}
    after = certificate(deployment, deployment.authority)
    assert after["serialNumber"] != before["serialNumber"]
    assert ssl.cert_time_to_seconds(after["notAfter"]) > ssl.cert_time_to_seconds(before["notAfter"])


def test_data_of_a_lost_state_is_taken_over_with_new_passwords(rotated: Rotated) -> None:
    deployment = rotated.deployment
    old = deployment.outputs["database"]["password"]
    deployment.pulumi("destroy", "--yes", "--skip-preview")
    assert deployment.containers() == {}
    said = deployment.make("up").stdout
    assert "takes over the data in" in said
    assert f"kopano-{deployment.stack}-mysql" in said
    assert deployment.outputs["database"]["password"] != old
    assert rotated.subject in subjects(deployment, USER.login, USER.password)
    docker("exec", deployment.containers()["server"], "kopano-admin", "--sync")
