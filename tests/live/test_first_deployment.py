"""A deployed stack answers, for those who may ask."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from typing import Any
from urllib.parse import urljoin

import pytest
from deployments import BESIDE, CHROMIUM, Deployment, ask, docker, from_network
from output_schema import differences
from playwright.sync_api import sync_playwright

from components import blocks
from components.outputs import SCHEMA
from lab.images import catalog
from tools.graph import SECRET, SECRET_SIGNATURE

SELECT = 'mysql --host=db --connect-timeout=5 --user="$ACCOUNT" --execute="SELECT 1" --batch --skip-column-names "$DATABASE"'
WHO = 'printf %s "$PASSWORD" | ldapwhoami -x -o nettimeout=5 -H ldap://ldap -D "$DN" -y /dev/stdin'


def variables(deployment: Deployment, block: str) -> dict[str, str]:
    lines = json.loads(docker("inspect", deployment.containers()[block]))[0]["Config"]["Env"]
    return dict(line.split("=", 1) for line in lines)


def test_every_block_is_healthy_and_the_helper_has_ended(deployment: Deployment) -> None:
    states = {block: json.loads(docker("inspect", box))[0]["State"] for block, box in deployment.containers().items()}
    assert states.pop("ssl")["ExitCode"] == 0
    assert {block: state["Health"]["Status"] for block, state in states.items()} == dict.fromkeys(
        blocks.enabled(BESIDE) - {"ssl"}, "healthy"
    )


def test_the_outputs_of_a_running_stack_are_those_of_the_schema(deployment: Deployment) -> None:
    hidden = json.loads(deployment.pulumi("stack", "output", "--json").stdout)

    def marked(value: Any, shown: Any) -> Any:
        if shown == "[secret]":
            return {SECRET_SIGNATURE: SECRET, "value": value}
        return {name: marked(inner, shown[name]) for name, inner in value.items()} if isinstance(value, dict) else value

    assert differences(marked(deployment.outputs, hidden), SCHEMA, set(deployment.containers())) == []


def test_the_kopano_account_logs_in_to_the_database_from_the_core_network(deployment: Deployment, client: str) -> None:
    database = deployment.outputs["database"]
    done = from_network(
        deployment.outputs["networks"]["kopano"],
        client,
        SELECT,
        ACCOUNT=database["user"],
        DATABASE=database["name"],
        MYSQL_PWD=database["password"],
    )
    assert done.stdout == "1\n", done.stderr


def test_the_database_refuses_a_wrong_password_and_root_from_the_network(deployment: Deployment, client: str) -> None:
    root = variables(deployment, "db")["MYSQL_ROOT_PASSWORD"]
    for account, password in (("kopano", "wrong"), ("root", root)):
        done = from_network(
            deployment.outputs["networks"]["kopano"], client, SELECT, ACCOUNT=account, DATABASE="kopano", MYSQL_PWD=password
        )
        assert done.returncode == 1
        assert "Access denied" in done.stderr


def test_root_logs_in_to_the_database_inside_its_container(deployment: Deployment) -> None:
    ask = 'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" mysql --user=root --batch --skip-column-names --execute="SELECT 1"'
    assert docker("exec", deployment.containers()["db"], "sh", "-c", ask) == "1\n"


@pytest.mark.parametrize("network", ["web", "ldap"])
def test_the_database_cannot_be_reached_from_another_network(deployment: Deployment, client: str, network: str) -> None:
    database = deployment.outputs["database"]
    address = json.loads(docker("inspect", deployment.containers()["db"]))[0]["NetworkSettings"]["Networks"]
    (ip,) = [joined["IPAddress"] for joined in address.values()]
    for host in ("db", ip):
        done = from_network(
            deployment.outputs["networks"][network],
            client,
            SELECT.replace("--host=db", f"--host={host}"),
            ACCOUNT=database["user"],
            DATABASE=database["name"],
            MYSQL_PWD=database["password"],
        )
        assert done.returncode == 1
        assert re.search(r"Unknown (MySQL )?server host|Can't connect|timed? ?out", done.stderr), done.stderr


@pytest.mark.parametrize("account", ["readonly", "admin", "user1"])
def test_each_account_binds_to_the_directory_from_its_network_and_not_with_a_wrong_password(
    deployment: Deployment, account: str
) -> None:
    ldap = variables(deployment, "ldap")
    base = deployment.outputs["ldap"]["baseDn"]
    dn, password = {
        "readonly": (deployment.outputs["ldap"]["bindDn"], deployment.outputs["ldap"]["bindPassword"]),
        "admin": (f"cn=admin,{base}", ldap["LDAP_ADMIN_PASSWORD"]),
        "user1": (f"uid=user1,ou=users,ou=CompanyA,{base}", "user1"),
    }[account]
    network, image = deployment.outputs["networks"]["ldap"], catalog.reference("ldap")
    assert dn in from_network(network, image, WHO, DN=dn, PASSWORD=password).stdout
    refused = from_network(network, image, WHO, DN=dn, PASSWORD="wrong")
    assert refused.returncode == 49, refused.stderr


@pytest.mark.parametrize("network", ["web", "kopano"])
def test_the_directory_cannot_be_reached_from_another_network(deployment: Deployment, network: str) -> None:
    ldap = deployment.outputs["ldap"]
    done = from_network(
        deployment.outputs["networks"][network], catalog.reference("ldap"), WHO, DN=ldap["bindDn"], PASSWORD=ldap["bindPassword"]
    )
    assert done.returncode == 255
    assert "Can't contact LDAP server" in done.stderr


def test_the_server_answers_405_on_236_and_on_237_with_a_certificate_of_the_stacks_authority(deployment: Deployment) -> None:
    script = """cat > /tmp/ca.pem
    curl --silent --output /dev/null --write-out '%{http_code} ' http://kopano_server:236/
    curl --silent --output /dev/null --write-out '%{http_code} ' --cacert /tmp/ca.pem https://kopano_server:237/
    curl --silent --output /dev/null https://kopano_server:237/ || echo "refused $?"
    """
    done = from_network(
        deployment.outputs["networks"]["kopano"], catalog.reference("base"), script, stdin=deployment.outputs["caCertificate"]
    )
    # 60: the peer's certificate cannot be authenticated with the authorities that are known.
    assert done.stdout == "405 405 refused 60\n", done.stderr


def test_the_published_server_port_shows_its_certificate_to_those_who_trust_the_authority(deployment: Deployment) -> None:
    port = int(docker("port", deployment.containers()["server"], "237/tcp").rpartition(":")[2])
    context = ssl.create_default_context(cadata=deployment.outputs["caCertificate"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="kopano_server") as secured,
    ):
        subject = dict(pair[0] for pair in secured.getpeercert()["subject"])  # type: ignore[index]
    assert subject["commonName"] == "kopano_server"


def test_a_sync_makes_the_directorys_users_known_to_the_server(deployment: Deployment) -> None:
    server = deployment.containers()["server"]
    docker("exec", server, "kopano-admin", "--sync")
    listed = docker("exec", server, "kopano-admin", "-l")
    for number in (1, 2, 23):
        assert re.search(rf"^\s*user{number}\s", listed, re.MULTILINE), listed
    details = docker("exec", server, "kopano-admin", "--details", "user1")
    assert re.search(r"^Store GUID:\s+[0-9A-F]{32}$", details, re.MULTILINE), details


def test_the_servers_sockets_belong_to_those_who_may_use_them(deployment: Deployment) -> None:
    modes = docker(
        "exec", deployment.containers()["server"], "stat", "-c", "%F %a %U:%G", "/run/kopano/server.sock", "/run/kopano/prio.sock"
    )
    assert modes.splitlines() == ["socket 666 kopano:kopano", "socket 660 kopano:kopano"]


def test_the_root_leads_to_the_webapp_and_the_webapp_is_served(deployment: Deployment) -> None:
    root = deployment.web("/")
    assert root.status == 302
    assert urljoin(deployment.outputs["urls"]["webapp"], root.location) == deployment.outputs["urls"]["webapp"]
    assert deployment.web("/webapp/").status == 200


def test_plain_http_leads_to_https(deployment: Deployment) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", deployment.http_port, timeout=20)
    answer = ask(connection, "/webapp/", Host=deployment.outputs["fqdn"])
    assert answer.status in (301, 302, 307, 308)
    assert answer.location == deployment.outputs["urls"]["webapp"]


def test_a_demo_user_sees_the_log_in_page_in_a_browser_and_that_this_is_the_lab(deployment: Deployment) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                f"--host-resolver-rules=MAP {deployment.outputs['fqdn']} 127.0.0.1",
                "--disable-background-networking",
            ],
        )
        # That the certificate is of the stack's authority is checked above; the browser has no way to be told of one.
        page = browser.new_context(ignore_https_errors=True).new_page()
        failed: list[str] = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        page.goto(deployment.outputs["urls"]["webapp"], wait_until="networkidle")
        page.fill("input[name=_user]", "user1")
        page.fill("input[name=_pass]", "user1")
        assert page.is_enabled("button[type=submit]")
        assert "not Kopano" in page.inner_text("body")
        assert failed == []
        browser.close()


def test_each_service_holds_only_its_own_private_key(deployment: Deployment) -> None:
    def files(block: str) -> set[str]:
        found = docker("exec", deployment.containers()[block], "find", "/kopano/ssl", "-type", "f", "-printf", "%P\n")
        return {name for name in found.splitlines() if not name.startswith("clients/")}

    assert files("server") == {"ca.pem", "kopano_server.pem"}
    assert files("webapp") == {"ca.pem", "kopano_webapp.pem"}
    assert files("web") == {"ca.pem", "web.pem", "web.key"}
    for service in ("dagent", "monitor", "search", "spooler"):
        assert files(service) == {"ca.pem", f"kopano_{service}.pem"}


FIRST_BLOCKS = ("db", "ldap", "server", "webapp", "web")
"""What a deployment has at least, beside the helper that ends after a second."""


def test_the_first_blocks_stay_below_700_megabytes_and_the_whole_stack_below_2500(deployment: Deployment) -> None:
    units = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}
    prefix = f"kopano-{deployment.stack}-"
    names = [f"{prefix}{block}" for block in deployment.containers()]
    used = {}
    for line in docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *names).splitlines():
        match = re.match(rf"{prefix}(\S+) ([\d.]+)(B|KiB|MiB|GiB) ", line)
        assert match, line
        used[match[1]] = float(match[2]) * units.get(match[3], 0)
    assert min(used[block] for block in FIRST_BLOCKS) > 1
    assert sum(used[block] for block in FIRST_BLOCKS) < 700
    assert sum(used.values()) < 2500
