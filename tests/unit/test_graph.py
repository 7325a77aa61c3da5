"""The graph of the whole program, under mocks."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
from pki import pair

from components import blocks
from tools.graph import PLANTED, Graph, Registered, Run, plain, visible

BLOCKS = set(blocks.enabled({}))
SERVICES = BLOCKS - {"ssl"}


DATA_VOLUMES = {"mysql", "ldap", "slapd", "kopanodata", "kopanograpi", "kopanowebapp", "zpushstates", "kdavstates"}
DATA_VOLUMES |= {"maildata", "mailstate", "maillogs", "kopanospamd", "backups"}


# One deployment for what several tests ask for, since each run of the program takes a while.
ASKED = {
    "kopano:publish": {"ldap": 3890, "server": 2360, "serverTls": 2370, "imap": 1430},
    "kopano:environment": {"server": {"KCCONF_SERVER_LOG_LEVEL": "6"}},
    "kopano:memory": {"db": 3000},
    "kopano:webappPlugins": "desktopnotifications webappmanual",
    "kopano:meetGuests": True,
    "kopano:openidClients": {"desk": "http://localhost:8090/callback", "mailbox": "https://mail.example.org/callback"},
    # The first generation, which each secret has where nothing is said.
    "kopano:generations": {"certificates": 1, "database": 1, "kapi": 1, "konnect": 1, "ldap": 1},
}
TAKEN_OVER = {
    "kopano:volumes": {"mysql": "old_mysql"},
    "kopano:databaseName": "old_mails",
    "kopano:certificateHours": 48,
    "kopano:certificateRenewalHours": 12,
    "kopano:environment": {"mail": {"LDAP_START_TLS": "yes"}},
    "kopano:dkim": {"example.org": "m1", "example.com": "m2"},
    "kopano:blocks": {"spamd": True},
    "kopano:ipv6": {"prefix": "fd12:3456:789a:8::/61", "ipv4": "10.89.4.0/22"},
    "kopano:bindAddress": "127.0.0.1 ::1",
}
OFF: dict[str, Any] = {
    "kopano:blocks": dict.fromkeys(("zpush", "kdav", "meet", "ldap-admin", "password-self-service"), False),
    "kopano:publish": {},
}
OWN = pair("mail.example.org")
ELSEWHERE = {
    "kopano:backup": {"schedule": "30 1 * * *", "keep": "7"},
    "kopano:demoUsers": False,
    "kopano:blocks": {"db": False, "ldap": False, "mail": False},
    "kopano:database": {
        "host": "db.example.org",
        "port": "3307",
        "name": "mail",
        "user": "mail",
        "password": f"{PLANTED}-db",
    },
    "kopano:directory": {
        "uri": "ldaps://ldap.example.org",
        "baseDn": "dc=example",
        "bindDn": "cn=k",
        "bindPassword": f"{PLANTED}-ldap",
        "loginAttribute": "employeeId",
        "authority": OWN.authority,
    },
    "kopano:smtpServer": "smtp.example.org:2525",
    "kopano:publish": {},
}
ELSEWHERE_SECRETS = ["kopano:database", "kopano:directory"]
# A deployment among others' servers: on another host, with images of a private registry, behind a smarthost, with an own
# certificate for mail programs and one of the house's ACME server for browsers.
ACME = pair("acme.example.org")
AMONG_OTHERS = {
    "kopano:tls": {
        "mode": "acme",
        "email": "admin@example.org",
        "directory": "https://acme.example.org:9000/acme/directory",
        "authority": ACME.authority,
    },
    "kopano:webappPlugins": "smime mdm",
    "kopano:certificate": OWN.setting(authority=OWN.authority),
    "kopano:dockerHost": "ssh://kopano@docker.example.org",
    "kopano:registries": {"registry.example.org": {"user": "puller", "password": f"{PLANTED}-registry"}},
    "kopano:relay": {
        "host": "smtp.example.net",
        "port": 587,
        "user": "kopano",
        "password": f"{PLANTED}-relay",
        "authority": OWN.authority,
    },
    "kopano:blocks": {"ldap": False, "password-self-service": False},
    "kopano:directory": {
        "uri": "ldaps://ad.example.org",
        "baseDn": "dc=ad,dc=example,dc=org",
        "bindDn": "cn=kopano,cn=Users,dc=ad,dc=example,dc=org",
        "bindPassword": f"{PLANTED}-directory",
        "kind": "activeDirectory",
        "userFilter": "(memberOf=cn=mail,dc=example)",
        "authority": OWN.authority,
    },
}
AMONG_OTHERS_SECRETS = ["kopano:registries", "kopano:relay", "kopano:directory"]
# Nothing in front of it, nothing said of ports, and one image of its own.
ON_THE_INTERNET: dict[str, Any] = {
    "kopano:tls": {"mode": "acme", "email": "admin@example.org"},
    "kopano:publish": {},
    "kopano:images": {"server": "registry.example.org/core@sha256:" + "a" * 64},
}
# Another one ends TLS, on the same machine and elsewhere.
FRONTED = {
    "kopano:ipv6": {"prefix": "fd00::/48", "ipv4": "172.16.0.0/12"},
    "kopano:tls": {"mode": "proxy", "trustedProxies": "host 192.0.2.0/24", "bindAddress": "127.0.0.1"},
    "kopano:certificate": OWN.setting(),
}
# Each has a number of its own, by which it is seen what is made for it.
GENERATIONS = {"certificates": 2, "database": 3, "kapi": 4, "konnect": 5, "ldap": 6}


@pytest.fixture
def dev(run: Run) -> Graph:
    return run("dev")


def labels(resource: Registered) -> dict[str, str]:
    return {label["label"]: label["value"] for label in plain(resource.inputs["labels"])}


def variables(resource: Registered) -> dict[str, str]:
    return dict(line.split("=", 1) for line in plain(resource.inputs["envs"]))


def test_dev_runs_every_block_once(dev: Graph) -> None:
    assert set(dev.containers()) == BLOCKS
    assert len(dev.of_type("docker:index/container:Container")) == len(BLOCKS)


def test_each_block_of_the_architecture_is_a_component_of_its_own(dev: Graph) -> None:
    tokens = {resource.type for resource in dev.resources}
    assert tokens >= {
        "kopano:network:Networks",
        "kopano:ssl:Ssl",
        "kopano:db:Database",
        "kopano:ldap:Directory",
        "kopano:core:Core",
        "kopano:mail:Mail",
        "kopano:openid:OpenId",
        "kopano:frontends:Frontends",
        "kopano:meet:Meet",
        "kopano:scheduler:Scheduler",
        "kopano:web:Web",
    }


def test_every_resource_but_the_top_components_has_a_parent_whose_name_it_begins_with(dev: Graph) -> None:
    names = {resource.urn: resource.name for resource in dev.resources}
    stack = next(resource.urn for resource in dev.resources if resource.type == "pulumi:pulumi:Stack")
    children = [resource for resource in dev.resources if resource.parent and resource.parent != stack]
    assert len(children) > 50
    for child in children:
        assert child.name.startswith(names[child.parent]), child.name


def test_every_service_waits_for_a_health_check_that_carries_no_secret(dev: Graph) -> None:
    for block, box in dev.containers().items():
        if block in SERVICES:
            check = plain(box.inputs["healthcheck"])
            assert check["tests"][0] == "CMD-SHELL"
            assert len(check["tests"][1]) > 10
            assert PLANTED not in check["tests"][1]
            assert box.inputs["wait"] is True
            assert box.inputs["restart"] == "always"


def test_durations_are_written_as_docker_hands_them_back(dev: Graph) -> None:
    for block in SERVICES:
        check = plain(dev.containers()[block].inputs["healthcheck"])
        for name in ("interval", "timeout", "startPeriod"):
            assert re.fullmatch(r"([1-9]\d*m)?\d+s", check[name]), (block, name, check[name])
            assert not re.fullmatch(r"[6-9]\ds|\d{3,}s", check[name]), (block, name, check[name])


def test_every_container_is_limited_hardened_and_labelled(dev: Graph) -> None:
    for block, box in dev.containers().items():
        inputs = plain(box.inputs)
        assert inputs["memory"] > 0, block
        assert inputs["memorySwap"] == inputs["memory"], block
        assert inputs["capabilities"]["drops"] == ["ALL"], block
        assert all(name.startswith("CAP_") for name in inputs["capabilities"].get("adds", [])), block
        assert inputs["securityOpts"] == ["no-new-privileges:true"], block
        assert {limit["name"] for limit in inputs["ulimits"]} == {"nofile", "nproc"}, block
        assert inputs["logOpts"] == {"max-file": "3", "max-size": "10m"}, block
        assert labels(box)["kopano.stack"] == "dev", block
        assert "privileged" not in inputs, block


def test_a_container_gets_as_long_to_stop_when_it_is_replaced_as_when_it_is_stopped(dev: Graph) -> None:
    for box in dev.containers().values():
        assert box.inputs["destroyGraceSeconds"] == box.inputs["stopTimeout"] >= 30


def test_only_what_cannot_run_so_has_a_writable_root(dev: Graph) -> None:
    writable = {block for block, box in dev.containers().items() if not box.inputs.get("readOnly")}
    assert writable == {"ssl", "ldap", "ldap-admin", "password-self-service", "mail"}


def test_containers_are_replaced_by_deleting_first_and_for_a_new_health_check(dev: Graph) -> None:
    for block, box in dev.containers().items():
        assert box.options.deleteBeforeReplace, block
        if block in SERVICES:
            assert list(box.options.replaceOnChanges) == ["healthcheck"], block


def test_nobody_but_the_proxy_gets_the_docker_socket(dev: Graph) -> None:
    holders = {
        block
        for block, box in dev.containers().items()
        for volume in plain(box.inputs.get("volumes", []))
        if "docker.sock" in volume.get("hostPath", "")
    }
    assert holders == {"docker-proxy"}
    (network,) = plain(dev.containers()["docker-proxy"].inputs["networksAdvanced"])
    assert network["name"] == "networks-jobs-net-id"
    assert not dev.containers()["docker-proxy"].inputs.get("ports")


def test_data_volumes_outlive_every_plan(run: Run) -> None:
    for stack, protected in (("dev", False), ("prod", True)):
        graph = run(stack)
        data = [
            resource
            for resource in graph.of_type("docker:index/volume:Volume")
            if "DataVolume" in resource.parent.rsplit("::", 2)[1]
        ]
        assert {plain(volume.inputs["name"]) for volume in data} == {f"kopano-{stack}-{name}" for name in DATA_VOLUMES}
        for volume in data:
            assert volume.options.retainOnDelete
            assert set(volume.options.ignoreChanges) == {"name", "labels", "driverOpts", "driver"}
            assert volume.options.protect is protected


def test_volumes_of_another_deployment_take_the_place_of_the_stacks_own(run: Run) -> None:
    graph = run("dev", TAKEN_OVER)
    assert plain(graph.outputs["volumes"])["mysql"] == "old_mysql"
    assert plain(graph.outputs["volumes"])["ldap"] == "kopano-dev-ldap"
    boxes = graph.containers()
    assert "old_mysql" in [volume.get("volumeName") for volume in plain(boxes["db"].inputs["volumes"])]
    assert variables(boxes["db"])["MYSQL_DATABASE"] == variables(boxes["server"])["KCCONF_SERVER_MYSQL_DATABASE"] == "old_mails"
    uploads = {upload["file"]: upload.get("content", "") for upload in plain(boxes["ssl"].inputs["uploads"])}
    assert "SCHEMA_NAME = 'old_mails'" in uploads["/seed/db/passwords.sql"]
    # An underscore in GRANT stands for any letter, unless it is told not to.
    assert r"GRANT ALL ON `old\_mails`.* TO 'kopano'@'%'" in uploads["/seed/db/passwords.sql"]


SECRETS = {
    "random:index/randomPassword:RandomPassword",
    "random:index/randomBytes:RandomBytes",
    "tls:index/privateKey:PrivateKey",
    "tls:index/selfSignedCert:SelfSignedCert",
    "tls:index/locallySignedCert:LocallySignedCert",
}


def test_no_secret_is_protected_since_each_can_be_replaced(run: Run) -> None:
    secrets = [resource for resource in run("prod").resources if resource.type in SECRETS]
    assert len(secrets) > 20
    assert not any(secret.options.protect for secret in secrets)


def made(graph: Graph) -> dict[str, Any]:
    """Each secret of a run by name: what it is kept for."""
    return {secret.name: secret.inputs.get("keepers") for secret in graph.resources if secret.type in SECRETS}


# Secret -> the passwords, random values and keys that a higher generation of it replaces.
OF_GENERATION = {
    "database": {"db-passwords-account", "db-passwords-root"},
    "ldap": {"ldap-passwords-admin", "ldap-passwords-readonly"},
    "konnect": {"ssl-konnect-signing-key", "ssl-konnect-encryption-key", "ssl-meet-key"},
    "kapi": {"ssl-kapi-key"},
    "certificates": {
        f"ssl-{owner}-key"
        for owner in ("ca", "admin", "server", "dagent", "monitor", "search", "spooler", "webapp", "web", "mail", "gateway-tls")
    },
}


def test_a_higher_generation_makes_exactly_that_secret_anew(run: Run, dev: Graph) -> None:
    before, after = made(dev), made(run("dev", {"kopano:generations": GENERATIONS}))
    assert not any(before.values())
    for secret, number in GENERATIONS.items():
        anew = {name for name in before if after.get(name) == {"generation": str(number)} or f"{name}-{number}" in after}
        assert anew == OF_GENERATION[secret]
        assert not any(name in after and after[name] == before[name] for name in anew)
    others = set(before).difference(*OF_GENERATION.values())
    assert all(name in after and after[name] == before[name] for name in others)


def test_the_first_generation_is_what_is_there_without_one(run: Run, dev: Graph) -> None:
    assert set(ASKED["kopano:generations"]) == set(GENERATIONS) == set(OF_GENERATION)
    assert made(run("dev", ASKED)) == made(dev)


def test_passwords_keep_their_place_in_older_states(dev: Graph) -> None:
    (account,) = [resource for resource in dev.resources if resource.name == "db-passwords-account"]
    (alias,) = account.options.aliases
    assert (alias.spec.name, alias.spec.parentUrn) == ("db-password", "urn:pulumi:dev::kopano::kopano:db:Database::db")


def test_a_new_signing_key_has_another_name_by_which_it_is_known(run: Run) -> None:
    graph = run("dev", {"kopano:generations": GENERATIONS})
    assert variables(graph.containers()["konnect"])["signing_private_key"] == "/kopano/ssl/konnectd-tokens-signing-key-5.pem"
    uploads = {upload["file"] for upload in plain(graph.containers()["ssl"].inputs["uploads"])}
    assert "/seed/konnect/konnectd-tokens-signing-key-5.pem" in uploads


def test_the_database_and_the_directory_set_their_passwords_at_each_start(dev: Graph) -> None:
    boxes = dev.containers()
    uploads = {upload["file"]: upload["content"] for upload in plain(boxes["ssl"].inputs["uploads"]) if "content" in upload}
    assert plain(boxes["db"].inputs["command"]) == ["--init-file=/kopano/ssl/passwords.sql"]
    sql = uploads["/seed/db/passwords.sql"]
    # A line that ends with a semicolon ends a statement: there is one, and nothing in it counts while the database is made.
    assert [line for line in sql.splitlines() if line.endswith(";")] == ["; END IF; END;"]
    assert "@" not in re.sub(r"'@'", "", sql)
    assert f"ALTER USER 'kopano'@'%' IDENTIFIED BY '{variables(boxes['db'])['MYSQL_PASSWORD']}'" in sql
    assert f"ALTER USER IF EXISTS 'root'@'localhost' IDENTIFIED BY '{variables(boxes['db'])['MYSQL_ROOT_PASSWORD']}'" in sql
    assert "fill db 999:999 0400" in plain(boxes["ssl"].inputs["command"])[0]
    assert plain(boxes["ldap"].inputs["command"])[1:] == ["--cmd", "/bin/sh /kopano/ssl/passwords.sh", "process"]
    assert PLANTED not in uploads["/seed/ldap/passwords.sh"]


def test_certificates_live_as_long_as_the_stack_file_says_and_end_before_their_authority(run: Run) -> None:
    graph = run("dev", TAKEN_OVER)
    leaves = graph.of_type("tls:index/locallySignedCert:LocallySignedCert")
    assert {(leaf.inputs["validityPeriodHours"], leaf.inputs["earlyRenewalHours"]) for leaf in leaves} == {(48, 12)}
    (authority,) = graph.of_type("tls:index/selfSignedCert:SelfSignedCert")
    assert authority.inputs["earlyRenewalHours"] == 48


def test_nothing_secret_is_in_a_plain_input_of_any_resource(dev: Graph) -> None:
    shown = json.dumps([visible(resource.inputs) for resource in dev.resources])
    assert PLANTED in json.dumps([plain(resource.inputs) for resource in dev.resources])
    assert PLANTED not in shown


def test_nothing_secret_is_in_a_plain_output_or_a_label(dev: Graph) -> None:
    assert PLANTED in json.dumps(plain(dev.outputs))
    assert PLANTED not in json.dumps(visible(dev.outputs))
    for box in dev.containers().values():
        assert PLANTED not in json.dumps(plain(box.inputs["labels"]))
        assert PLANTED not in json.dumps(plain(box.inputs.get("command", [])))


def test_a_preview_can_still_show_the_plain_variables_of_a_block_that_has_secret_ones(dev: Graph) -> None:
    server = dev.containers()["server"]
    shown = json.loads(labels(server)["kopano.environment"])
    assert shown["KCCONF_SERVER_LOG_LEVEL"] == "3"
    assert "KCCONF_SERVER_MYSQL_PASSWORD" not in shown
    assert variables(server)["KCCONF_SERVER_MYSQL_PASSWORD"] == f"{PLANTED}-db-passwords-account-result"


def test_the_server_gets_the_credentials_that_the_database_and_the_directory_have(dev: Graph) -> None:
    boxes = dev.containers()
    server, db, ldap = (variables(boxes[block]) for block in ("server", "db", "ldap"))
    assert server["KCCONF_SERVER_MYSQL_PASSWORD"] == db["MYSQL_PASSWORD"]
    assert server["KCCONF_SERVER_MYSQL_USER"] == db["MYSQL_USER"]
    assert server["KCCONF_SERVER_MYSQL_HOST"] == "db"
    assert server["KCCONF_LDAP_LDAP_BIND_PASSWD"] == ldap["LDAP_READONLY_USER_PASSWORD"]
    assert server["KCCONF_LDAP_LDAP_BIND_USER"] == f"cn=readonly,{ldap['LDAP_BASE_DN']}"
    assert server["KCCONF_LDAP_LDAP_SEARCH_BASE"] == ldap["LDAP_BASE_DN"] == "dc=kopano,dc=localhost"


def test_imap_and_pop3_are_on(dev: Graph) -> None:
    assert variables(dev.containers()["server"])["KCCONF_SERVER_DISABLED_FEATURES"] == ""


def test_a_container_joins_only_the_networks_that_it_needs(dev: Graph) -> None:
    joined = {
        block: {
            # By id: a network that is made again replaces those who are on it.
            network["name"].removeprefix("networks-").removesuffix("-id")
            for network in plain(box.inputs.get("networksAdvanced", []))
        }
        for block, box in dev.containers().items()
    }
    kopano, web, ldap = "kopano-net", "web-net", "ldap-net"
    core = ("dagent", "gateway", "gateway-tls", "spooler", "monitor", "search")
    pages = ("webapp", "zpush", "kdav", "konnect", "ical", "grapi", "kapi")
    assert joined == {
        "ssl": set(),
        "db": {kopano},
        "scheduler": {kopano, "jobs-net"},
        "docker-proxy": {"jobs-net"},
        "ldap": {ldap},
        "server": {kopano, ldap, web},
        "mail": {kopano, ldap},
        "web": {web},
        "meet": {web},
        "kwmserver": {web},
        "ldap-admin": {ldap, web},
        "password-self-service": {kopano, ldap, web},
        **{block: {kopano} for block in core},
        **{block: {kopano, web} for block in pages},
    }
    assert dev.containers()["ssl"].inputs["networkMode"] == "none"


def test_the_deployments_host_name_leads_to_the_proxy_inside_the_stack(dev: Graph) -> None:
    (network,) = plain(dev.containers()["web"].inputs["networksAdvanced"])
    assert network["aliases"] == ["web", "kopano.localhost"]


def published(graph: Graph) -> dict[str, list[tuple[int, int, str]]]:
    return {
        block: [(port["external"], port["internal"], port["ip"]) for port in plain(box.inputs.get("ports", []))]
        for block, box in graph.containers().items()
        if box.inputs.get("ports")
    }


def test_mail_is_published_with_encryption_and_nothing_internal_unless_asked(run: Run) -> None:
    everywhere = "0.0.0.0"
    assert published(run("prod", ON_THE_INTERNET)) == {
        "web": [(80, 80, everywhere), (443, 443, everywhere)],
        "mail": [(25, 25, everywhere), (587, 587, everywhere), (465, 465, everywhere)],
        "gateway-tls": [(993, 993, everywhere), (995, 995, everywhere)],
    }


def test_what_is_asked_for_is_published_and_only_that(run: Run) -> None:
    asked = run("dev", ASKED)
    assert published(asked) == {
        "web": [(8080, 80, "127.0.0.1"), (2015, 443, "127.0.0.1")],
        "ldap": [(3890, 389, "127.0.0.1")],
        "server": [(2360, 236, "127.0.0.1"), (2370, 237, "127.0.0.1")],
        "gateway": [(1430, 143, "127.0.0.1")],
    }
    assert plain(asked.outputs["endpoints"]) == {"ldap": "127.0.0.1:3890", "imap": "127.0.0.1:1430"}


def test_each_service_reads_only_its_own_private_key(dev: Graph) -> None:
    for reader in ("server", "dagent", "monitor", "search", "spooler", "webapp", "web", "konnect", "kapi", "kwmserver", "mail"):
        block = reader
        mounts = {volume["containerPath"]: volume for volume in plain(dev.containers()[block].inputs["volumes"])}
        keys = mounts["/kopano/ssl"]
        assert keys["volumeName"] == f"kopano-dev-ssl-{reader}"
        assert keys["readOnly"] is True
    uploads = plain(dev.containers()["ssl"].inputs["uploads"])
    readers = {upload["file"].split("/")[2] for upload in uploads}
    assert readers >= {"server", "dagent", "monitor", "search", "spooler", "webapp", "admin", "web", "konnect", "kapi", "mail"}
    for reader in readers:
        private = [
            upload["file"]
            for upload in uploads
            if upload["file"].startswith(f"/seed/{reader}/") and "privateKeyPem" in upload.get("content", "")
        ]
        without = ("kapi", "kwmserver", "docker-proxy", "db", "ldap")
        assert len(private) == (0 if reader in without else 1), (reader, private)


def test_the_server_trusts_the_public_keys_of_all_its_clients(dev: Graph) -> None:
    files = {upload["file"] for upload in plain(dev.containers()["ssl"].inputs["uploads"])}
    for owner in (
        "kopano_server",
        "kopano_dagent",
        "kopano_monitor",
        "kopano_search",
        "kopano_spooler",
        "kopano_webapp",
        "admin",
    ):
        assert f"/seed/server/clients/{owner}-public.pem" in files


def test_new_keys_replace_exactly_their_readers(dev: Graph) -> None:
    prints = {block: labels(box).get("kopano.keys") for block, box in dev.containers().items()}
    read = {block: fingerprint for block, fingerprint in prints.items() if fingerprint}
    readers = {"server", "dagent", "monitor", "search", "spooler", "webapp", "web", "konnect", "kapi", "kwmserver", "mail"}
    assert set(read) == readers | {"gateway-tls", "docker-proxy", "db", "ldap"}
    assert len(set(read.values())) == len(read)
    # Replacing the seeding container deletes it first. An input from it would then replace every reader.
    seeding = dev.containers()["ssl"].urn
    for block in read:
        box = dev.containers()[block]
        assert seeding in box.options.dependencies, block
        through_inputs = {urn for urns in box.options.propertyDependencies.values() for urn in urns.urns}
        assert seeding not in through_inputs, block


def test_an_override_wins_and_comes_back_in_the_outputs(run: Run) -> None:
    graph = run("prod", ON_THE_INTERNET)
    images = plain(graph.outputs["images"])
    assert images["server"] == ON_THE_INTERNET["kopano:images"]["server"]
    assert images["web"] == "registry.example.org/kopano/kopano_web:0.12.4"
    assert images["webapp"] == "registry.example.org/kopano/kopano_webapp:6.0.0"
    assert images["dagent"] == "registry.example.org/kopano/kopano_core:11.0.2"
    assert images["db"] == "docker.io/library/mariadb:10.3.10-bionic"
    assert plain(graph.containers()["server"].inputs["image"]) == "sha256:images-server"


def test_published_images_are_pinned(run: Run) -> None:
    for reference in plain(run("prod").outputs["images"]).values():
        assert not reference.endswith(":latest")
        assert ":" in reference.rsplit("/", 1)[1]


def test_two_stacks_share_no_name_on_the_host(run: Run) -> None:
    def names(graph: Graph) -> set[str]:
        kinds = ("container:Container", "network:Network", "volume:Volume")
        return {plain(resource.inputs["name"]) for kind in kinds for resource in graph.of_type(f"docker:index/{kind}")}

    assert len(names(run("dev"))) > 20
    assert not names(run("dev")) & names(run("prod"))


def test_the_outputs_are_those_that_other_stacks_rely_on(dev: Graph) -> None:
    outputs = plain(dev.outputs)
    assert outputs["fqdn"] == "kopano.localhost"
    origin = "https://kopano.localhost:2015"
    assert outputs["urls"] == {
        "webapp": f"{origin}/webapp/",
        "meet": f"{origin}/meet/",
        "caldav": f"{origin}/kdav/",
        "carddav": f"{origin}/kdav/",
        "activesync": f"{origin}/Microsoft-Server-ActiveSync",
        "ldapAdmin": f"{origin}/ldap-admin/",
        "passwordReset": f"{origin}/password-reset/",
        "openid": f"{origin}/.well-known/openid-configuration",
    }
    assert outputs["networks"] == {name: f"kopano-dev-{name}-net" for name in ("kopano", "web", "ldap")}
    assert outputs["containers"] == {blocks.BLOCKS[block].alias: f"kopano-dev-{block}" for block in BLOCKS}
    assert set(outputs["volumes"]) == DATA_VOLUMES
    assert outputs["caCertificate"] == "ssl-ca-certPem"
    assert set(outputs["database"]) == {"host", "port", "name", "user", "password"}
    assert set(outputs["ldap"]) == {"uri", "baseDn", "bindDn", "bindPassword"}
    assert set(outputs["images"]) == BLOCKS


def test_extra_variables_win_over_defaults_and_stay_secret_when_they_are(run: Run) -> None:
    shown = run("dev", ASKED).containers()["server"]
    assert variables(shown)["KCCONF_SERVER_LOG_LEVEL"] == "6"
    hidden = run("dev", ASKED, secret=["kopano:environment"]).containers()["server"]
    assert variables(hidden)["KCCONF_SERVER_LOG_LEVEL"] == "6"
    assert "KCCONF_SERVER_LOG_LEVEL=6" not in json.dumps(visible(hidden.inputs))
    assert json.loads(labels(hidden)["kopano.environment"]).get("KCCONF_SERVER_LOG_LEVEL") != "6"


def test_a_memory_limit_can_be_set_for_a_block(run: Run) -> None:
    box = run("dev", ASKED).containers()["db"]
    assert (box.inputs["memory"], box.inputs["memorySwap"]) == (3000, 3000)


def test_a_block_that_is_off_takes_its_routes_jobs_and_ports_with_it_and_keeps_its_volumes(run: Run) -> None:
    graph = run("dev", OFF)
    assert set(graph.containers()) == BLOCKS - set(OFF["kopano:blocks"]) - {"kwmserver"}
    assert set(plain(graph.outputs["urls"])) == {"webapp", "openid"}
    assert not [name for name in variables(graph.containers()["scheduler"]) if "ZPUSH" in name]
    # A volume that left the program would be deleted, or, where it is protected, end every plan with an error.
    assert set(plain(graph.outputs["volumes"])) == DATA_VOLUMES


def test_external_services_take_the_place_of_the_bundled_ones(run: Run) -> None:
    graph = run("dev", ELSEWHERE, secret=ELSEWHERE_SECRETS)
    assert set(graph.containers()) == BLOCKS - {"db", "ldap", "mail", "ldap-admin"} | {"backup"}
    server, spooler = (variables(graph.containers()[block]) for block in ("server", "spooler"))
    assert (server["KCCONF_SERVER_MYSQL_HOST"], server["KCCONF_SERVER_MYSQL_PORT"]) == ("db.example.org", "3307")
    assert server["KCCONF_LDAP_LDAP_URI"] == "ldaps://ldap.example.org"
    assert (spooler["KCCONF_SPOOLER_SMTP_SERVER"], spooler["KCCONF_SPOOLER_SMTP_PORT"]) == ("smtp.example.org", "2525")
    # Who may change a password is looked up as the server does it, and with trust in the same authority.
    page = variables(graph.containers()["password-self-service"])
    assert (page["LDAP_SERVER"], page["LDAP_LOGIN_ATTRIBUTE"]) == ("ldaps://ldap.example.org", "employeeId")
    assert page["LDAPTLS_CACERT"] == server["LDAPTLS_CACERT"] == "/kopano/ssl/directory-ca.pem"
    assert seeded(graph)["password-self-service/directory-ca.pem"] == OWN.authority
    assert PLANTED not in json.dumps([visible(resource.inputs) for resource in graph.resources])
    assert PLANTED not in json.dumps(visible(graph.outputs))


@pytest.fixture
def among_others(run: Run) -> Graph:
    return run("prod", AMONG_OTHERS, secret=AMONG_OTHERS_SECRETS)


def test_no_secret_of_a_deployment_among_others_is_seen(among_others: Graph) -> None:
    assert PLANTED not in json.dumps([visible(resource.inputs) for resource in among_others.resources])
    assert PLANTED not in json.dumps(visible(among_others.outputs))
    key = json.dumps(OWN.key)[1:-1]
    assert key in json.dumps([plain(resource.inputs) for resource in among_others.resources])
    assert key not in json.dumps([visible(resource.inputs) for resource in among_others.resources])


def seeded(graph: Graph) -> dict[str, str]:
    """Reader/file -> content, of what the volumes of keys are filled with."""
    uploads = plain(graph.containers()["ssl"].inputs["uploads"])
    return {upload["file"].removeprefix("/seed/"): upload.get("content", "") for upload in uploads}


def test_an_own_certificate_is_shown_by_web_mail_and_imap_and_its_authority_trusted(among_others: Graph, dev: Graph) -> None:
    files = seeded(among_others)
    assert files["web/web.pem"] == files["mail/mail.pem"] == OWN.certificate
    assert files["web/web.key"] == files["mail/mail.key"] == OWN.key
    assert files["gateway-tls/tls.pem"] == OWN.certificate + OWN.key
    names = {key.name for key in among_others.of_type("tls:index/privateKey:PrivateKey")}
    assert not {"ssl-web-key", "ssl-mail-key", "ssl-gateway-tls-key"} & names
    # Those who ask for the OpenID provider by the host name trust both; the server's own clients are still the stack's alone.
    both = f"ssl-ca-certPem{OWN.authority}{ACME.authority}"
    assert files["konnect/ca.pem"] == files["kwmserver/ca.pem"] == files["kapi/ca.pem"] == files["webapp/ca.pem"] == both
    assert (files["server/ca.pem"], files["server/trusted.pem"]) == ("ssl-ca-certPem", both)
    assert variables(among_others.containers()["server"])["SSL_CERT_FILE"] == "/kopano/ssl/trusted.pem"
    assert "server/trusted.pem" not in seeded(dev)
    assert variables(dev.containers()["server"])["SSL_CERT_FILE"] == "/kopano/ssl/ca.pem"


def test_active_directory_is_asked_in_its_own_words_by_the_server_and_the_mail_server_alike(among_others: Graph) -> None:
    server, mail = (variables(among_others.containers()[block]) for block in ("server", "mail"))
    assert server["KCUNCOMMENT_LDAP_1"] == "!include /usr/share/kopano/ldap.active-directory.cfg"
    assert server["KCCOMMENT_LDAP_1"] == "!include /usr/share/kopano/ldap.openldap.cfg"
    users = "(memberOf=cn=mail,dc=example)"
    groups = "(&(objectClass=group)(kopanoAccount=1))"
    assert server["KCCONF_LDAP_LDAP_USER_SEARCH_FILTER"] == users
    assert server["KCCONF_LDAP_LDAP_GROUP_SEARCH_FILTER"] == groups
    assert {name: value for name, value in mail.items() if "FILTER" in name} == {
        "LDAP_QUERY_FILTER_USER": f"(&{users}(sAMAccountName=*)(mail=%s))",
        "LDAP_QUERY_FILTER_ALIAS": f"(&{users}(sAMAccountName=*)(otherMailbox=%s))",
        "LDAP_QUERY_FILTER_GROUP": f"(&{groups}(|(mail=%s)(otherMailbox=%s)))",
        "LDAP_QUERY_FILTER_DOMAIN": "(|(mail=*@%s)(otherMailbox=*@%s))",
        "SASLAUTHD_LDAP_FILTER": f"(&{users}(sAMAccountName=%s))",
    }
    files = seeded(among_others)
    assert "leaf_result_attribute = sAMAccountName\n" in files["mail/ldap-groups.cf"]
    assert f"query_filter = (&{users}(sAMAccountName=%u))\n" in files["mail/ldap-members.cf"]


def test_a_directory_whose_certificate_no_public_authority_signed_is_trusted_by_those_who_ask_it(
    among_others: Graph, dev: Graph
) -> None:
    files = seeded(among_others)
    assert files["server/directory-ca.pem"] == files["mail/directory-ca.pem"] == OWN.authority
    assert variables(among_others.containers()["server"])["LDAPTLS_CACERT"] == "/kopano/ssl/directory-ca.pem"
    for table in ("users", "aliases", "domains", "groups", "members"):
        assert (
            "tls_ca_cert_file = /tmp/docker-mailserver/directory-ca.pem\ntls_require_cert = yes\n"
            in files[f"mail/ldap-{table}.cf"]
        )
    # Postfix reads it when it has given up its rights.
    (script,) = plain(among_others.containers()["ssl"].inputs["command"])
    assert "-name '*ca.pem' -exec chmod 0444" in script
    assert not [file for file in seeded(dev) if "directory-ca" in file or "ldap-users" in file]


def test_where_a_proxy_in_front_ends_tls_it_alone_is_listened_to(run: Run) -> None:
    graph = run("prod", FRONTED)
    assert "web" not in published(graph)
    assert published(graph)["web-front"] == [(80, 8080, "127.0.0.1")]
    files = seeded(graph)
    lines = [line.strip() for line in files["web-front/haproxy.cfg"].splitlines()]
    # The word host is the engine's address on that network.
    assert "acl trusted src 172.20.0.1 fd00:0:0:1::1 192.0.2.0/24" in lines
    assert "bind [::]:8080 v4v6" in lines
    assert "http-request set-header Host mail.example.org" in lines
    refused = next(number for number, line in enumerate(lines) if line.startswith("http-request return status 403"))
    believed = next(number for number, line in enumerate(lines) if "X-Forwarded-For" in line and line.startswith("http-request"))
    assert refused < believed
    assert not re.search(r"@\w+@", files["web-front/haproxy.cfg"])
    # HAProxy ends where it does not know a variable, and takes letters that stand right behind one for a part of its name.
    (logged,) = [line for line in lines if line.startswith("log-format")]
    assert set(re.findall(r"%(?:\{.*?\})?(\w+)", logged)) <= {"ci", "HM", "HP", "ST", "B", "Ta"}
    # Inside the stack the host name is still the proxy's, with a certificate that the stack's services trust.
    assert plain(graph.containers()["web"].inputs["networksAdvanced"])[0]["aliases"] == ["web", "mail.example.org"]
    assert files["web/web.pem"] == "ssl-web-certificate-certPem"
    assert files["mail/mail.pem"] == OWN.certificate
    assert plain(graph.outputs["urls"])["webapp"] == "https://mail.example.org/webapp/"
    assert plain(graph.outputs["containers"])["web_front"] == "kopano-prod-web-front"


def test_a_certificate_from_the_internet_is_the_proxys_business(run: Run) -> None:
    web = run("prod", ON_THE_INTERNET).containers()["web"]
    told = variables(web)
    assert (told["TLS_MODE"], told["EMAIL"]) == ("tls_auto", "admin@example.org")
    assert not {"TLS_CERT", "TLS_KEY"} & set(told)
    # Its certificate is for the host name, which a check from inside does not use.
    assert "https" not in plain(web.inputs["healthcheck"])["tests"][1]


def test_another_acme_server_is_asked_in_the_words_of_the_published_image(among_others: Graph, run: Run) -> None:
    told = variables(among_others.containers()["web"])
    # The image imports the file of that name below /etc.
    assert told["TLS_MODE"] == "../kopano/ssl/acme.cfg"
    files = seeded(among_others)
    asked = "tls admin@example.org {\n    ca https://acme.example.org:9000/acme/directory\n}\n"
    assert files["web/acme.cfg"] == asked
    assert told["LEGO_CA_CERTIFICATES"] == "/kopano/ssl/acme-ca.pem"
    assert files["web/acme-ca.pem"] == ACME.authority
    assert not {"TLS_CERT", "TLS_KEY"} & set(told)
    for graph in (run("prod", ON_THE_INTERNET), run("prod", FRONTED)):
        assert "LEGO_CA_CERTIFICATES" not in variables(graph.containers()["web"])
        assert not [file for file in seeded(graph) if "acme" in file]


def test_the_engine_and_the_log_ins_of_registries_are_those_of_the_stack_file(among_others: Graph, dev: Graph) -> None:
    (provider,) = among_others.of_type("pulumi:providers:docker")
    assert provider.inputs["host"] == "ssh://kopano@docker.example.org"
    logins = json.loads(plain(provider.inputs["registryAuth"]))
    assert logins == [{"address": "registry.example.org", "username": "puller", "password": f"{PLANTED}-registry"}]
    (provider,) = dev.of_type("pulumi:providers:docker")
    # What was deployed before there were these settings sees no change.
    assert not {"host", "registryAuth"} & set(provider.inputs)


def test_mail_for_others_goes_to_the_smarthost_with_its_password(among_others: Graph, dev: Graph) -> None:
    mail = variables(among_others.containers()["mail"])
    assert mail["DEFAULT_RELAY_HOST"] == "[smtp.example.net]:587"
    assert (mail["RELAY_HOST"], mail["RELAY_PORT"]) == ("smtp.example.net", "587")
    assert (mail["RELAY_USER"], mail["RELAY_PASSWORD"]) == ("kopano", f"{PLANTED}-relay")
    # The password is for nobody who cannot show that he is that host.
    files = seeded(among_others)
    lines = files["mail/postfix-main.cf"].splitlines()
    assert {"smtp_tls_security_level = secure", "smtp_tls_CAfile = /tmp/docker-mailserver/relay-ca.pem"} <= set(lines)
    assert files["mail/relay-ca.pem"] == OWN.authority
    assert "smtp_tls" not in seeded(dev)["mail/postfix-main.cf"]
    assert not [name for name in variables(dev.containers()["mail"]) if "RELAY" in name]


def test_the_clients_of_the_stack_file_are_registered_without_trust_as_konnect_takes_them(dev: Graph, run: Run) -> None:
    def clients(graph: Graph) -> list[dict[str, Any]]:
        uploads = {upload["file"]: upload.get("content", "") for upload in plain(graph.containers()["ssl"].inputs["uploads"])}
        found = json.loads(uploads["/seed/konnect/konnectd-identifier-registration.yaml"])["clients"]
        return [client for client in found if not client["id"].startswith("kpop-")]

    assert clients(dev) == []
    assert clients(run("dev", ASKED)) == [
        {
            "id": name,
            "name": name,
            "application_type": kind,
            "trusted": False,
            "redirect_uris": [ASKED["kopano:openidClients"][name]],
        }
        for name, kind in (("desk", "native"), ("mailbox", "web"))
    ]


def test_guests_are_let_in_only_where_they_are_wanted(run: Run, dev: Graph) -> None:
    def wanted(graph: Graph) -> tuple[str, str, str, bool]:
        boxes = graph.containers()
        uploads = {upload["file"]: upload.get("content", "") for upload in plain(boxes["ssl"].inputs["uploads"])}
        clients = uploads["/seed/konnect/konnectd-identifier-registration.yaml"]
        return (
            variables(boxes["konnect"])["allow_client_guests"],
            variables(boxes["kwmserver"])["enable_guest_api"],
            variables(boxes["meet"])["KCCONF_MEET_guests_enabled"],
            "/meet/" in clients,
        )

    assert wanted(dev) == ("no", "no", "false", False)
    assert wanted(run("dev", ASKED)) == ("yes", "yes", "true", True)
    for graph in (dev, run("dev", ASKED)):
        assert variables(graph.containers()["konnect"])["allow_dynamic_client_registration"] == "no"


def test_nothing_is_told_to_accept_certificates_unchecked(dev: Graph) -> None:
    for block, box in dev.containers().items():
        if block != "ssl":
            for name, value in variables(box).items():
                if "INSECURE" in name:
                    assert value == "no", (block, name)


def test_the_scheduler_reaches_the_engine_through_a_proxy_that_knows_this_stacks_containers(dev: Graph) -> None:
    assert variables(dev.containers()["scheduler"])["DOCKER_HOST"] == "tcp://docker_proxy:2375"
    uploads = plain(dev.containers()["ssl"].inputs["uploads"])
    (proxy,) = [upload["content"] for upload in uploads if upload["file"] == "/seed/docker-proxy/haproxy.cfg"]
    assert "containers/(kopano-dev-server|kopano-dev-zpush)/exec$" in proxy
    assert "@" not in proxy.replace("unix@/var/run/docker.sock", "")


def test_mail_for_users_is_never_bounced_because_something_is_away(dev: Graph) -> None:
    uploads = {upload["file"]: upload.get("content", "") for upload in plain(dev.containers()["ssl"].inputs["uploads"])}
    replies = uploads["/seed/mail/dagent-replies.regexp"]
    assert replies == "/^503([ -])5\\.1\\.1(.*)$/ 451${1}4.1.1${2}\n"
    main = uploads["/seed/mail/postfix-main.cf"]
    assert "lmtp_reply_filter = regexp:/tmp/docker-mailserver/dagent-replies.regexp\n" in main
    assert "lmtp_delivery_status_filter = regexp:/tmp/docker-mailserver/dagent-status.regexp\n" in main
    assert "mynetworks = 127.0.0.0/8 !172.30.0.1 172.30.0.0/16 !172.30.0.1 172.30.0.0/16\n" in main


def test_networks_have_both_kinds_of_addresses_where_it_is_wanted_and_are_left_to_the_engine_where_not(
    dev: Graph, run: Run
) -> None:
    def networks(graph: Graph) -> dict[str, Any]:
        found = graph.of_type("docker:index/network:Network")
        return {each.name: (each.inputs.get("ipv6"), plain(each.inputs.get("ipamConfigs"))) for each in found}

    assert set(networks(dev).values()) == {(None, None)}
    graph = run("dev", TAKEN_OVER)
    made = networks(graph)
    # Both with their gateways, or the plug-in would find a difference each time.
    assert made["networks-web-net"] == (
        True,
        [
            {"subnet": "10.89.5.0/24", "gateway": "10.89.5.1"},
            {"subnet": "fd12:3456:789a:9::/64", "gateway": "fd12:3456:789a:9::1"},
        ],
    )
    subnets = [config["subnet"] for _, configs in made.values() for config in configs or []]
    assert len(set(subnets)) == 6
    assert made["networks-jobs-net"] == (None, None)
    for network in graph.of_type("docker:index/network:Network"):
        assert network.options.deleteBeforeReplace


def test_over_ipv6_a_block_is_trusted_and_reached_as_over_ipv4(dev: Graph, run: Run) -> None:
    graph = run("dev", TAKEN_OVER)
    assert published(graph)["web"] == [
        (8080, 80, "127.0.0.1"),
        (8080, 80, "::1"),
        (2015, 443, "127.0.0.1"),
        (2015, 443, "::1"),
    ]
    files = seeded(graph)
    (trusted,) = re.findall(r"^mynetworks = (.*)$", files["mail/postfix-main.cf"], re.MULTILINE)
    four, six = "!10.89.{0}.1 10.89.{0}.0/24", "![fd12:3456:789a:{0}::1] [fd12:3456:789a:{0}::]/64"
    ranges = [four.format(4), six.format(8), four.format(6), six.format("a")]
    assert trusted == " ".join(["127.0.0.0/8 [::1]/128", *ranges])
    assert "    bind [::]:993 v4v6 ssl" in files["gateway-tls/haproxy.cfg"]
    assert "    bind :993 v4v6 ssl" in seeded(dev)["gateway-tls/haproxy.cfg"]
    # What the gateway listens on is not IPv6 everywhere.
    assert all("resolve-prefer ipv4" in seeded(each)["gateway-tls/haproxy.cfg"] for each in (dev, graph))
    for block, variable, port in (("gateway", "KCCONF_GATEWAY_IMAP_LISTEN", 143), ("server", "KCCONF_SERVER_SERVER_LISTEN", 236)):
        assert variables(graph.containers()[block])[variable] == f"*:{port}"
        assert variables(dev.containers()[block])[variable] == f"0.0.0.0:{port}"
    assert plain(graph.outputs["endpoints"])["imaps"] == "127.0.0.1:2993"


def test_plug_ins_of_the_webapp_are_named_as_packages_to_an_image_that_can_install_them(
    among_others: Graph, dev: Graph, run: Run
) -> None:
    webapp = among_others.containers()["webapp"]
    told = variables(webapp)
    assert told["ADDITIONAL_KOPANO_WEBAPP_PLUGINS"] == "kopano-webapp-plugin-smime kopano-webapp-plugin-mdm"
    # The one for devices asks Z-Push.
    assert told["KCCONF_WEBAPPPLUGIN_MDM_PLUGIN_MDM_SERVER"] == "kopano_zpush:9080"
    # An image that cannot write leaves them out and says so in its log alone.
    assert not webapp.inputs["readOnly"]
    assert dev.containers()["webapp"].inputs["readOnly"]
    assert not [name for name in variables(dev.containers()["webapp"]) if "PLUGIN" in name]
    asked = variables(run("dev", ASKED).containers()["webapp"])
    assert [name for name in asked if "PLUGIN" in name] == ["ADDITIONAL_KOPANO_WEBAPP_PLUGINS"]


def test_a_mail_to_a_group_is_looked_up_for_its_members_with_a_password_that_nobody_sees(dev: Graph, run: Run) -> None:
    uploads = {upload["file"]: upload.get("content", "") for upload in plain(dev.containers()["ssl"].inputs["uploads"])}
    main, groups, members = (uploads[f"/seed/mail/{file}"] for file in ("postfix-main.cf", "ldap-groups.cf", "ldap-members.cf"))
    assert "ldap:/etc/postfix/ldap-groups.cf, ldap:/tmp/docker-mailserver/ldap-members.cf\n" in main
    assert "result_attribute = memberUid\n" in groups
    assert "result_format = %s@group-members.invalid\n" in groups
    assert "domain = group-members.invalid\n" in members
    assert f"bind_pw = {PLANTED}-ldap-passwords-readonly-result\n" in members
    assert PLANTED not in json.dumps(visible(dev.containers()["ssl"].inputs))
    # Root's alone, in a volume that the mail server alone mounts. Postfix opens its tables before it gives up its rights.
    (script,) = plain(dev.containers()["ssl"].inputs["command"])
    assert "fill mail 0:0 0400\n" in script
    asked = run("dev", TAKEN_OVER)
    uploads = {upload["file"]: upload.get("content", "") for upload in plain(asked.containers()["ssl"].inputs["uploads"])}
    assert "start_tls = yes\n" in uploads["/seed/mail/ldap-members.cf"]


def test_mail_is_signed_where_it_is_wanted_with_a_key_whose_public_half_alone_is_seen(dev: Graph, run: Run) -> None:
    uploads = {upload["file"]: upload.get("content", "") for upload in plain(dev.containers()["ssl"].inputs["uploads"])}
    assert not [file for file in uploads if "opendkim" in file]
    assert plain(dev.outputs["dkim"]) == {}
    graph = run("dev", TAKEN_OVER)
    uploads = {upload["file"]: upload.get("content", "") for upload in plain(graph.containers()["ssl"].inputs["uploads"])}
    files = {file.removeprefix("/seed/mail/opendkim/"): text for file, text in uploads.items() if "opendkim" in file}
    assert files == {
        # As the published image has it: copied to /etc/opendkim, where opendkim finds what the tables name.
        "KeyTable": "m1._domainkey.example.org example.org:m1:/etc/opendkim/keys/example.org/m1.private\n"
        "m2._domainkey.example.com example.com:m2:/etc/opendkim/keys/example.com/m2.private\n",
        "SigningTable": "*@example.org m1._domainkey.example.org\n*@example.com m2._domainkey.example.com\n",
        "TrustedHosts": "127.0.0.0/8\n::1/128\n!10.89.4.1\n10.89.4.0/24\n!fd12:3456:789a:8::1\nfd12:3456:789a:8::/64\n"
        "!10.89.6.1\n10.89.6.0/24\n!fd12:3456:789a:a::1\nfd12:3456:789a:a::/64\n",
        "keys/example.org/m1.private": f"{PLANTED}-ssl-m1._domainkey.example.org-privateKeyPem",
        "keys/example.com/m2.private": f"{PLANTED}-ssl-m2._domainkey.example.com-privateKeyPem",
    }
    records = visible(graph.outputs["dkim"])
    assert set(records) == {"m1._domainkey.example.org", "m2._domainkey.example.com"}
    assert records["m1._domainkey.example.org"].startswith("v=DKIM1; k=rsa; p=")
    assert PLANTED not in json.dumps(records)
    assert labels(graph.containers()["mail"])["kopano.keys"] != labels(dev.containers()["mail"])["kopano.keys"]
    # Another selector, another key: the old one goes, which no protection of data may refuse.
    (key,) = [each for each in graph.of_type("tls:index/privateKey:PrivateKey") if each.name.startswith("ssl-m1.")]
    assert not key.options.protect
    assert plain(key.inputs["rsaBits"]) == 2048


def test_spam_is_learned_as_spam_and_ham_as_ham_in_the_mail_server_where_spamd_runs(dev: Graph, run: Run) -> None:
    def files(graph: Graph) -> dict[str, str]:
        uploads = plain(graph.containers()["ssl"].inputs["uploads"])
        return {upload["file"].removeprefix("/seed/mail/"): upload.get("content", "") for upload in uploads}

    def mounted(graph: Graph, block: str) -> list[dict[str, Any]]:
        volumes = plain(graph.containers()[block].inputs["volumes"])
        return [volume for volume in volumes if volume["containerPath"] == "/var/lib/kopano/spamd"]

    assert not {"user-patches.sh", "learn-spam.sh"} & set(files(dev))
    assert mounted(dev, "mail") == []
    graph = run("dev", TAKEN_OVER)
    assert mounted(graph, "mail") == mounted(graph, "spamd") != []
    assert not mounted(graph, "mail")[0].get("readOnly")
    found = files(graph)
    for name in ("user-patches.sh", "learn-spam.sh"):
        assert "@" not in found[name], name
        subprocess.run(["bash", "-n"], input=found[name], text=True, check=True)
    assert "root /bin/bash /tmp/docker-mailserver/learn-spam.sh 2>&1" in found["user-patches.sh"]
    # Each kind from the folder of its name, with the reference's database: there they were exchanged.
    assert 'sa-learn "--$kind" --dbpath "$bayes" "$batch"' in found["learn-spam.sh"]
    assert 'find "/var/lib/kopano/spamd/$kind"' in found["learn-spam.sh"]
    assert "bayes=/var/mail-state/lib-amavis/.spamassassin\n" in found["learn-spam.sh"]


def test_what_waits_for_another_block_takes_none_of_the_engines_places_before_it_is_there(dev: Graph) -> None:
    boxes = dev.containers()

    def before(block: str) -> set[str]:
        return {other for other, box in boxes.items() if box.urn in boxes[block].options.dependencies}

    waiting = {"dagent", "spooler", "gateway", "gateway-tls", "ical", "monitor", "search", "grapi", "kapi", "kdav", "zpush"}
    for block in waiting | {"scheduler"}:
        assert "server" in before(block), block
    # Its own check waits for the gateway; one after the other, the two would be the last to be up.
    assert "gateway" not in before("gateway-tls")
    assert "docker-proxy" in before("scheduler")
    assert {"konnect", "web"} <= before("kwmserver")
    # On one core the engine has four places; kapi (for the proxy) and the spooler (for the mail server) may hold two.
    assert before("server") == {"ssl"}
    assert before("web") == {"ssl"}
    assert before("db") == before("ldap") == {"ssl"}
