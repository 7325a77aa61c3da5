"""The examples beside a running stack: what they see of it, who logs in to them, and that an update of it is nothing to them."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import unescape
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml
from deployments import Answer, Deployment, ask, docker, free_port
from inbox import deliver

T = TypeVar("T")
OUT_OF_SIGHT = {"kopano_ssl", "docker_proxy"}
MONITORING, MAILBOX = "monitoring", "extra-mailbox-app"


@dataclass
class Example:
    """An example that is deployed beside the deployment of the tests."""

    name: str
    deployment: Deployment
    port: int = field(default_factory=free_port)

    @property
    def container(self) -> str:
        return f"kopano-{self.name}-{self.deployment.stack}"

    def make(self, target: str, check: bool = True) -> str:
        return self.deployment.make(target, EXAMPLE=self.name, check=check).stdout

    def ask(self, path: str, **headers: str) -> Answer:
        return ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30), path, **headers)

    def deploy(self, **settings: str | int) -> None:
        keys = {f"kopano-{self.name}:{key}": value for key, value in {"port": self.port, **settings}.items()}
        file = self.deployment.root / "examples" / self.name / f"Pulumi.{self.deployment.stack}.yaml"
        file.write_text(yaml.safe_dump({"config": keys}), encoding="utf-8")
        self.make("example")


@pytest.fixture(scope="module")
def examples(deployment: Deployment) -> Iterator[dict[str, Example]]:
    """Both examples, deployed as their READMEs say."""
    both = {name: Example(name, deployment) for name in (MONITORING, MAILBOX)}
    app = both[MAILBOX]
    settings: dict[str, dict[str, str | int]] = {MONITORING: {"seconds": 1}, MAILBOX: {"url": f"http://localhost:{app.port}"}}
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda example: example.deploy(**settings[example.name]), both.values()))
        yield both
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda example: example.make("example-down"), both.values()))
        for example in both.values():
            assert not docker("ps", "--all", "--quiet", "--filter", f"name=^{example.container}$")
    finally:
        for example in both.values():
            docker("rm", "--force", example.container, check=False)


@pytest.fixture(scope="module")
def monitoring(examples: dict[str, Example]) -> Example:
    return examples[MONITORING]


@pytest.fixture(scope="module")
def mailbox(examples: dict[str, Example]) -> Example:
    return examples[MAILBOX]


def eventually(check: Callable[[], T], seconds: float = 60) -> T:
    """What `check` gives as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found, f"not within {seconds} seconds"
    return found


def states(monitoring: Example) -> dict[str, bool]:
    """Block -> whether the metrics say that it is up."""
    said = monitoring.ask("/metrics").body
    return {
        block: value == "1.0" for block, value in re.findall(r'^kopano_block_up\{block="([^"]+)".*\} (\S+)$', said, re.MULTILINE)
    }


def all_up(monitoring: Example) -> bool:
    found = states(monitoring)
    return bool(found) and all(found.values())


@dataclass
class Browser:
    """A user's browser: it keeps cookies, and goes from the app to the provider and back."""

    app: Example
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)

    def ask(self, address: str, method: str = "GET", form: dict[str, str] | None = None) -> Answer:
        parts = urlsplit(address)
        jar = self.cookies.setdefault(parts.netloc, {})
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        body = None if form is None else urlencode(form)
        if body is not None:
            headers["Content_Type"] = "application/x-www-form-urlencoded"
        path = parts._replace(scheme="", netloc="").geturl()
        if parts.port == self.app.port:
            connection = http.client.HTTPConnection("127.0.0.1", self.app.port, timeout=30)
            answer = ask(connection, path, method, body, Host=parts.netloc, **headers)
        else:
            answer = self.app.deployment.web(path, method, body, **headers)
        if given := re.match(r"([^=;]+)=([^;]+)", answer.headers.get("set-cookie", "")):
            jar[given[1]] = given[2]
        return answer

    def home(self) -> Answer:
        return self.ask(f"http://localhost:{self.app.port}/")

    def submit(self, page: Answer, **filled: str) -> Answer:
        """Send the form of a page of the provider."""
        hidden, action = re.search(r'name="form" value="([^"]+)"', page.body), re.search(r'action="([^"]+)"', page.body)
        assert hidden, page.body
        assert action, page.body
        return self.ask(unescape(action[1]), "POST", {"form": hidden[1], **filled})

    def consent(self, login: str, password: str, decision: str) -> Answer:
        """Log in as a user and decide; what the app says in the end."""
        authorize = self.ask(f"http://localhost:{self.app.port}/log-in")
        assert authorize.status == 302, authorize.body
        asked = parse_qs(urlsplit(authorize.location).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert asked["redirect_uri"] == [f"http://localhost:{self.app.port}/callback"]
        page = self.ask(self.ask(authorize.location).location)
        logged_in = self.submit(page, username=login, password=password)
        asked_for = self.ask(logged_in.location)
        assert "Read and change mail" in asked_for.body
        return self.ask(self.submit(asked_for, decision=decision).location)

    def log_in(self, login: str, password: str) -> Answer:
        """The app's page after a log-in with consent."""
        back = self.consent(login, password, "allow")
        assert (back.status, back.location) == (302, "/"), back.body
        return self.home()


def test_the_exporter_sees_every_block_of_the_stack_up(monitoring: Example, deployment: Deployment) -> None:
    """monitoring -> every block: metrics and a page say that all of them do their work."""
    blocks = set(deployment.outputs["containers"])
    eventually(lambda: all_up(monitoring))
    assert states(monitoring).keys() == blocks - OUT_OF_SIGHT
    page = monitoring.ask("/").body
    assert set(re.findall(r'<tr id="([^"]+)"', page)) == blocks
    assert f"{len(blocks - OUT_OF_SIGHT)} blocks up, 0 down" in page
    ends = re.search(r"^kopano_certificate_end_timestamp_seconds (\S+)$", monitoring.ask("/metrics").body, re.MULTILINE)
    assert ends
    assert float(ends[1]) > time.time() + 24 * 3600


@pytest.mark.parametrize("block", ["kopano_ical", "kopano_search"])
def test_the_exporter_sees_that_a_block_is_out_and_which(monitoring: Example, deployment: Deployment, block: str) -> None:
    container = deployment.outputs["containers"][block]
    eventually(lambda: all_up(monitoring))
    docker("stop", container)
    try:
        eventually(lambda: not states(monitoring)[block])
        assert {name for name, up in states(monitoring).items() if not up} == {block}
        assert re.search(rf'<tr id="{block}" class="down">', monitoring.ask("/").body)
    finally:
        docker("start", container)
    eventually(lambda: all_up(monitoring))


def test_a_user_logs_in_to_the_app_with_consent_and_sees_the_newest_mails(mailbox: Example, deployment: Deployment) -> None:
    """browser -> extra-mailbox-app -> web -> konnect, kapi: a user's own mails, after a log-in by OpenID and consent."""
    subject = f"Example {secrets.token_hex(6)}"
    deliver(deployment.outputs["containers"]["kopano_dagent"], f"user3@{deployment.outputs['fqdn']}", subject)
    theirs, other = Browser(mailbox), Browser(mailbox)
    assert "Log in" in theirs.home().body
    page = theirs.log_in("user3", "user3").body
    assert f"user3@{deployment.outputs['fqdn']}" in page
    assert subject in page
    assert "Log in" in other.home().body
    assert subject not in other.log_in("user4", "user4").body
    theirs.ask(f"http://localhost:{mailbox.port}/log-out", "POST", {})
    assert subject not in theirs.home().body


def test_who_refuses_consent_or_comes_with_somebody_elses_answer_is_not_logged_in(mailbox: Example) -> None:
    refused = Browser(mailbox)
    assert refused.consent("user3", "user3", "deny").status == 400
    assert "Log in" in refused.home().body
    forged = refused.ask(f"http://localhost:{mailbox.port}/callback?code=made-up&state=made-up")
    assert forged.status == 400
    assert "made-up" not in forged.body


def test_a_stack_that_examples_are_beside_is_not_taken_down_in_halves(
    examples: dict[str, Example], deployment: Deployment
) -> None:
    before = deployment.containers()
    for target in ("down", "purge"):
        refused = deployment.make(target, check=False, YES="1")
        assert refused.returncode
        assert f"{', '.join(sorted(one.container for one in examples.values()))} on the networks of stack" in refused.stdout
    assert deployment.containers() == before
    assert docker("ps", "--quiet", "--filter", f"label=kopano.stack={deployment.stack}").count("\n") == len(before) - 1


def test_no_secret_of_the_stack_comes_to_the_examples(examples: dict[str, Example], deployment: Deployment) -> None:
    hidden = [deployment.outputs["database"]["password"], deployment.outputs["ldap"]["bindPassword"]]
    for example in examples.values():
        state = (
            deployment.root / ".local" / "state" / ".pulumi" / "stacks" / f"kopano-{example.name}" / f"{deployment.stack}.json"
        )
        for content in (state.read_text(encoding="utf-8"), docker("inspect", example.container)):
            assert "kopano" in content
            assert not any(secret in content for secret in hidden)


def test_the_examples_run_with_as_little_as_the_blocks_do(examples: dict[str, Example]) -> None:
    for example in examples.values():
        box = json.loads(docker("inspect", example.container))[0]
        host = box["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert (host["CapDrop"], host["CapAdd"] or [], host["SecurityOpt"]) == (["ALL"], [], ["no-new-privileges:true"])
        assert host["Memory"] == host["MemorySwap"] > 0
        assert (box["Config"]["User"], box["Mounts"], host["Privileged"]) == ("65534:65534", [], False)


def test_the_examples_go_on_when_kopanos_containers_are_replaced(
    examples: dict[str, Example], monitoring: Example, mailbox: Example, deployment: Deployment
) -> None:
    """examples -> every block: after an update of the stack they find the new containers, and nothing was done to them."""
    # A variable that says nothing to them: it stays, so that the stack need not be deployed once more.
    mark = {"EXAMPLE": secrets.token_hex(4)}
    replaced = {"web", "konnect", "kapi", "ical"}
    file = deployment.root / f"Pulumi.{deployment.stack}.yaml"
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    environment = content["config"].setdefault("kopano:environment", {})
    environment |= {block: {**environment.get(block, {}), **mark} for block in replaced}
    before, own = deployment.containers(), [docker("inspect", "--format", "{{.Id}}", one.container) for one in examples.values()]
    eventually(lambda: all_up(monitoring))
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    deployment.make("up")
    after = deployment.containers()
    assert {block for block in before if before[block] != after[block]} == replaced
    eventually(lambda: all_up(monitoring))
    assert "user5@" in Browser(mailbox).log_in("user5", "user5").body
    for example in examples.values():
        folder = str(deployment.root / "examples" / example.name)
        preview = ("--cwd", folder, "preview", "--expect-no-changes", "--non-interactive")
        deployment.run("scripts/pulumi", *preview, "--stack", deployment.stack)
    assert [docker("inspect", "--format", "{{.Id}}", one.container) for one in examples.values()] == own
