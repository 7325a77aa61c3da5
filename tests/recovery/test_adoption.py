"""A kopano-docker (Docker Compose) deployment is taken over with all that is in it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import Deployment, docker
from inbox import deliver, subjects
from test_openid_arrows import eventually

from lab.images import catalog
from tools.plans import endangered

CONTRACT = json.loads((Path(__file__).parents[1] / "unit" / "data" / "contract.json").read_text(encoding="utf-8"))["services"]
IMAGES = {"db": "db", "ldap": "ldap_demo", "kopano_server": "core", "kopano_dagent": "core"}
"""The services that a mail needs, in the order of their start, and what of the lab stands in for their images."""

BLOCKS = dict.fromkeys(("ldap-admin", "password-self-service", "zpush", "kdav", "meet"), False)

# What kopano_ssl of the reference would have put there: an authority, and keys of the services with its certificates.
KEYS = """
cd /kopano/ssl
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=old -keyout /tmp/ca.key -out ca.pem 2> /dev/null
mkdir -p clients
for name in server dagent; do
  openssl req -newkey rsa:2048 -nodes -subj "/CN=kopano_$name" -keyout "/tmp/$name.key" -out "/tmp/$name.csr" 2> /dev/null
  openssl x509 -req -in "/tmp/$name.csr" -CA ca.pem -CAkey /tmp/ca.key -CAcreateserial -CAserial /tmp/serial -days 30 \
    -out "/tmp/$name.pem" 2> /dev/null
  cat "/tmp/$name.key" "/tmp/$name.pem" > "kopano_$name.pem"
  openssl pkey -in "/tmp/$name.key" -pubout -out "clients/kopano_$name-public.pem"
done
chown -R 999:999 .
"""


@dataclass
class Compose:
    """A deployment as Docker Compose makes it of the reference's files: a project with containers, networks and volumes."""

    project: str
    fqdn: str
    secrets: dict[str, str] = field(repr=False)

    @property
    def env(self) -> str:
        """The deployment's .env."""
        base = ",".join(f"dc={label}" for label in self.fqdn.split("."))
        lines = {
            "LDAP_CONTAINER": "kopano_ldap_demo",
            "LDAP_ORGANISATION": '"Old Example"',
            "LDAP_DOMAIN": self.fqdn,
            "LDAP_BASE_DN": base,
            "LDAP_SERVER": "ldap://ldap:389",
            "LDAP_BIND_DN": f"cn=readonly,{base}",
            "LDAP_SEARCH_BASE": "${LDAP_BASE_DN}",
            "KCCOMMENT_LDAP_1": "!include /usr/share/kopano/ldap.active-directory.cfg",
            "KCUNCOMMENT_LDAP_1": "!include /usr/share/kopano/ldap.openldap.cfg",
            "MYSQL_HOST": "db",
            "MYSQL_USER": "kopanoDbUser",
            "MYSQL_DATABASE": "old_mails",
            "POSTMASTER_ADDRESS": f"postmaster@{self.fqdn}",
            "TZ": "Europe/Berlin",
            "FQDN": self.fqdn,
            "INSECURE": "yes",
            "COMPOSE_PROJECT_NAME": self.project,
            **self.secrets,
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def variables(self) -> dict[str, str]:
        lines = dict(line.split("=", 1) for line in self.env.splitlines())
        return {name: value.strip('"').replace("${LDAP_BASE_DN}", lines["LDAP_BASE_DN"]) for name, value in lines.items()}

    def resolved(self, text: str) -> str:
        known = self.variables()
        return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda match: known.get(match[1]) or match[2] or "", text)

    def labels(self, kind: str, name: str) -> list[str]:
        return ["--label", f"com.docker.compose.project={self.project}", "--label", f"com.docker.compose.{kind}={name}"]

    def volume(self, name: str) -> str:
        full = f"{self.project}_{name}"
        if full not in self.volumes():
            docker("volume", "create", *self.labels("volume", name), full)
        return full

    def start(self) -> None:
        for network in ("kopano-net", "web-net", "ldap-net"):
            docker("network", "create", *self.labels("network", network), f"{self.project}_{network}")
        keys = ["--rm", "--volume", f"{self.volume('kopanossl')}:/kopano/ssl", "--entrypoint", "/bin/sh"]
        docker("run", *keys, catalog.reference("ssl"), "-euc", KEYS)
        for service in IMAGES:
            self.run(service)

    def run(self, service: str) -> None:
        said = CONTRACT[service]
        # As kopano_server.env says it; the provider that the server would otherwise wait for is not part of this.
        more = {"KCCONF_SERVER_KCOIDC_INITIALIZE_TIMEOUT": "0"} if service == "kopano_server" else {}
        environment = {name: self.resolved(value) for name, value in said["environment"].items()} | more
        first, *others = said["networks"]
        command = [
            "create",
            "--name",
            f"{self.project}_{service}",
            "--restart",
            "unless-stopped",
            *self.labels("service", service),
        ]
        command += ["--network", f"{self.project}_{first}", "--network-alias", service]
        command += [word for name in environment for word in ("--env", name)]
        command += [word for path in said.get("tmpfs", []) for word in ("--tmpfs", path)]
        for mount in said["volumes"]:
            source, _, path = mount.partition(":")
            command += ["--volume", mount if source.startswith("/") else f"{self.volume(source)}:{path}"]
        command += ["--read-only"] if said.get("read_only") else []
        command += ["--hostname", said["hostname"]] if "hostname" in said else []
        docker(*command, catalog.reference(IMAGES[service]), *said.get("command", "").split(), environment=environment)
        for network in others:
            docker("network", "connect", "--alias", service, f"{self.project}_{network}", f"{self.project}_{service}")
        docker("start", f"{self.project}_{service}")

    def down(self) -> None:
        """As `docker-compose down`: the volumes stay."""
        for container in docker("ps", "--all", "--quiet", *self.filter()).split():
            docker("stop", "--time", "30", container, check=False)
            docker("rm", "--force", container, check=False)
        for network in docker("network", "ls", "--quiet", *self.filter()).split():
            docker("network", "rm", network, check=False)

    def volumes(self) -> list[str]:
        return docker("volume", "ls", "--quiet", *self.filter()).split()

    def filter(self) -> list[str]:
        return ["--filter", f"label=com.docker.compose.project={self.project}"]

    def remove(self) -> None:
        self.down()
        for volume in self.volumes():
            docker("volume", "rm", volume, check=False)


@pytest.fixture
def compose() -> Iterator[Compose]:
    """A running deployment with passwords of its own."""
    names = ("LDAP_ADMIN_PASSWORD", "LDAP_READONLY_USER_PASSWORD", "MYSQL_ROOT_PASSWORD", "MYSQL_PASSWORD")
    made = {name: secrets.token_hex(12) for name in names}
    made["LDAP_BIND_PW"] = made["LDAP_READONLY_USER_PASSWORD"]
    deployment = Compose(f"old{secrets.token_hex(4)}", "mail.old.example", made)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.remove()


def labels(volumes: list[str]) -> dict[str, Any]:
    """The labels of volumes, which they keep for life: one that was made anew has others."""
    return {volume["Name"]: volume["Labels"] for volume in json.loads(docker("volume", "inspect", *volumes))}


def test_a_compose_deployment_is_taken_over_with_its_mails_and_no_plan_touches_its_volumes(
    compose: Compose, tmp_path_factory: pytest.TempPathFactory
) -> None:
    new = Deployment.prepare(tmp_path_factory.mktemp("project"))
    folder = tmp_path_factory.mktemp("compose")
    subject, token = f"old-{secrets.token_hex(6)}", secrets.token_hex(12)
    (folder / ".env").write_text(compose.env, encoding="utf-8")
    (folder / "kopano_server.env").write_text("KCCONF_SERVER_KCOIDC_INITIALIZE_TIMEOUT=0\n", encoding="utf-8")
    (folder / "kopano_webapp.env").write_text(f"OUR_API_TOKEN={token}\n", encoding="utf-8")

    def delivered() -> bool:
        deliver(f"{compose.project}_kopano_dagent", f"user1@{compose.fqdn}", subject)
        return True

    eventually(delivered, 180)
    (new.root / f"Pulumi.{new.stack}.yaml").unlink()
    try:
        imported = new.run("scripts/import-env", str(folder), "--stack", new.stack).stdout
        file = new.root / f"Pulumi.{new.stack}.yaml"
        # Run by the lab, on ports that are free.
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        lab = {"imageSource": "lab", "bindAddress": "127.0.0.1", "httpPort": new.http_port, "httpsPort": new.https_port}
        content["config"] |= {
            f"kopano:{setting}": value for setting, value in {**lab, "publish": new.ports, "blocks": BLOCKS}.items()
        }
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        for secret in (token, *compose.secrets.values()):
            assert secret not in imported + file.read_text(encoding="utf-8")

        refused = new.make("up", check=False).stdout
        assert re.search(
            rf"error: the container {compose.project}_\w+, which is not of this stack, works on the data in", refused
        )
        assert new.containers() == {}
        compose.down()
        volumes = labels(compose.volumes())
        said = new.make("up").stdout
        assert f"takes over the data in {compose.project}_" in said
        assert new.outputs["volumes"]["mysql"] == f"{compose.project}_mysql"
        assert new.outputs["volumes"]["kopanodata"] == f"{compose.project}_kopanodata"
        assert labels(compose.volumes()) == volumes
        assert subject in subjects(new, "user1", "user1")

        new.pulumi("up", "--yes", "--skip-preview", "--refresh", "--expect-no-changes")
        boxes = new.containers()
        assert endangered(json.loads(new.pulumi("preview", "--json").stdout)) == {}
        assert new.make("check-plan").returncode == 0
        new.pulumi("config", "set", "--path", "kopano:volumes.mysql", "elsewhere")
        moved = new.make("up", check=False).stdout
        assert f"the data of stack {new.stack} is in {compose.project}_mysql since its first deployment" in moved
        assert new.containers() == boxes
    finally:
        new.remove()
