"""TLS ends in a proxy in front of the stack: it alone is listened to, and believed."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from deployments import CHROMIUM, SMALL, Answer, Deployment, ask, docker, free_port
from neighbour import Cable, neighbour
from pki import Pair, pair
from playwright.sync_api import sync_playwright

from lab.images import catalog

FQDN = "groupware.fronted.example"
NGINX = """\
daemon off;
error_log stderr;
events {{}}
http {{
    access_log off;
    server {{
        listen 443 ssl;
        ssl_certificate /proxy/tls.pem;
        ssl_certificate_key /proxy/tls.pem;
        location / {{
            proxy_pass http://{here}:{port};
            proxy_bind {there};
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""
"""As most have it: what a client says of itself is handed on, and what was seen of it stands behind that."""


@dataclass(frozen=True)
class Fronted:
    """A deployment, the proxy's container in front of it, the cable between them, and what the proxy shows to browsers."""

    stack: Deployment
    proxy: str
    cable: Cable
    shown: Pair

    def browse(self, path: str, **headers: str) -> Answer:
        """Ask the proxy in front as a browser does."""
        trusted = ssl.create_default_context(cadata=self.shown.authority)
        return ask(http.client.HTTPSConnection(FQDN, 443, context=trusted, timeout=30), path, **headers)

    def status(self, path: str, source: str, says: str) -> int:
        """The answer to a request from one of the neighbour's addresses that speaks of a client."""
        words = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--interface", source]
        url = f"http://{self.cable.here}:{self.stack.http_port}{path}"
        return int(docker("exec", self.proxy, "curl", *words, "--header", f"X-Forwarded-For: {says}", url))

    def client(self, path: str) -> str:
        """Whom the front has taken for the client of the request for a path."""
        lines = docker("logs", self.stack.containers()["web-front"]).splitlines()
        (line,) = [line for line in lines if f" {path} " in line]
        return line.split()[0]


def unheard_of() -> str:
    """A path for which nobody has asked before, by which its request is known in logs."""
    return f"/webapp/{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def fronted(stack: Deployment, hosts: dict[str, str]) -> Iterator[Fronted]:
    cable, shown = Cable.new(), pair(FQDN)
    stack.ports, hosts[FQDN] = {"imaps": free_port()}, cable.there
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tls.pem").write_text(shown.certificate + shown.key, encoding="ascii")
        written = NGINX.format(here=cable.here, there=cable.there, port=stack.http_port)
        (Path(folder) / "nginx.conf").write_text(written, encoding="ascii")
        options = ["--volume", f"{folder}:/proxy:ro", "--entrypoint", "nginx"]
        # It waits for its address, which it gets with the cable.
        with neighbour(cable, catalog.reference("web"), options, ["-c", "/proxy/nginx.conf"]) as proxy:
            stack.configure(
                {
                    **SMALL,
                    "kopano:fqdn": FQDN,
                    "kopano:httpsPort": 443,
                    "kopano:tls": {"mode": "proxy", "trustedProxies": cable.there, "bindAddress": cable.here},
                }
            )
            stack.make("up")
            yield Fronted(stack, proxy, cable, shown)


def test_browsers_get_the_log_in_page_through_the_proxy_in_front(fronted: Fronted) -> None:
    """outside -> proxy in front -> web-front -> web -> webapp: the log-in page, under the address that browsers use."""
    assert fronted.stack.outputs["urls"]["webapp"] == f"https://{FQDN}/webapp/"
    page = fronted.browse("/webapp/")
    assert page.status == 200
    assert 'name="_pass"' in page.body
    assert fronted.browse("/").location == "/webapp/"
    issuer = json.loads(fronted.browse("/.well-known/openid-configuration").body)["issuer"]
    assert issuer == f"https://{FQDN}"
    # A cookie that plain HTTP would carry, too, shows that the WebApp knows nothing of the TLS in front.
    assert "secure" in page.headers["set-cookie"].lower()


def test_a_user_logs_in_by_openid_through_the_proxy_in_front(fronted: Fronted) -> None:
    """browser -> proxy in front -> web-front -> web -> konnect, webapp: log-in; inside, services use the same address."""
    with sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {FQDN} {fronted.cable.there}"
        words = ["--no-sandbox", "--disable-background-networking", rules]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=words)
        # It has no way to be told of an authority; the certificate is looked at in another test.
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.set_default_timeout(20_000)
        page.goto(fronted.stack.outputs["urls"]["webapp"])
        page.click("#rcmloginoauth")
        assert urlsplit(page.url).path.startswith("/signin/")
        page.fill("#username", "user1")
        page.fill("#password", "user1")
        page.click("button[type=submit]")
        page.wait_for_selector("#messagelist", state="attached")
        browser.close()


def test_the_proxys_word_for_its_client_is_believed_and_the_clients_own_is_not(fronted: Fronted) -> None:
    """proxy in front -> web-front: the last address of X-Forwarded-For, which the proxy has seen, is the client."""
    named, forged = unheard_of(), unheard_of()
    assert fronted.status(named, fronted.cable.there, "203.0.113.7") == 404
    assert fronted.client(named) == "203.0.113.7"
    # The browser is on the Docker host here, and the proxy sees that address of it.
    assert fronted.browse(forged, X_Forwarded_For="203.0.113.8").status == 404
    assert fronted.client(forged) == fronted.cable.here


def test_nobody_but_the_proxy_is_answered_whatever_they_say_of_themselves(fronted: Fronted) -> None:
    """outside -> web-front: plain HTTP from another address is refused, also where it claims to come from the proxy."""
    stranger = unheard_of()
    assert fronted.status(stranger, fronted.cable.other, fronted.cable.there) == 403
    assert fronted.client(stranger) == fronted.cable.other
    for spoken in (
        {},
        {"X_Forwarded_For": fronted.cable.there},
        {"X_Forwarded_For": "127.0.0.1", "X_Real_IP": fronted.cable.there},
    ):
        here = http.client.HTTPConnection(fronted.cable.here, fronted.stack.http_port, timeout=30)
        answer = ask(here, "/webapp/", Host=FQDN, **spoken)
        assert (answer.status, "for the proxy in front" in answer.body) == (403, True), spoken
    # Nothing else of the web is published, on any address.
    ports = docker("ps", "--filter", f"label=kopano.stack={fronted.stack.stack}", "--format", "{{.Ports}}")
    wanted = {f"{fronted.cable.here}:{fronted.stack.http_port}->8080/tcp", f"127.0.0.1:{fronted.stack.ports['imaps']}->993/tcp"}
    assert {port for line in ports.splitlines() for port in line.split(", ") if "->" in port} == wanted


def test_a_second_deployment_changes_nothing(fronted: Fronted) -> None:
    fronted.stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", "--refresh")


@pytest.fixture
def on_the_host(fronted: Fronted) -> Iterator[int]:
    """The same deployment for a proxy that runs on the Docker host itself; gives the port of its loopback address."""
    file = fronted.stack.root / f"Pulumi.{fronted.stack.stack}.yaml"
    before = file.read_text(encoding="utf-8")
    tls = {"mode": "proxy", "trustedProxies": "host", "bindAddress": "127.0.0.1"}
    fronted.stack.configure({**SMALL, "kopano:fqdn": FQDN, "kopano:httpsPort": 443, "kopano:tls": tls})
    fronted.stack.make("up")
    yield fronted.stack.http_port
    file.write_text(before, encoding="utf-8")
    fronted.stack.make("up")


def test_a_proxy_on_the_docker_host_itself_is_trusted_by_the_word_host(fronted: Fronted, on_the_host: int) -> None:
    """proxy on the Docker host -> web-front: known without an address, on the loopback address alone."""
    named = unheard_of()

    def asked(path: str, **headers: str) -> Answer:
        return ask(http.client.HTTPConnection("127.0.0.1", on_the_host, timeout=30), path, **headers)

    assert 'name="_pass"' in asked("/webapp/", Host=FQDN).body
    assert asked(named, Host=FQDN, X_Forwarded_For="198.51.100.9, 203.0.113.9").status == 404
    assert fronted.client(named) == "203.0.113.9"
    with (
        pytest.raises(ConnectionRefusedError),
        contextlib.closing(http.client.HTTPConnection(fronted.cable.here, on_the_host, timeout=5)) as connection,
    ):
        connection.request("GET", "/")
