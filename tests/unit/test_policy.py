"""The rules of the policy pack: each one is seen to find what it forbids."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from pulumi_policy import PolicyCustomTimeouts, PolicyResource, PolicyResourceOptions, StackValidationArgs, proxy

from policy import __main__ as pack
from policy.rules import RULES, VOLUME, Resource
from tools import graph, policy
from tools.graph import PLANTED, Graph, Run
from tools.words import FailureError


@pytest.fixture(scope="module")
def prod(run: Run) -> Graph:
    return run("prod")


def block(of: Graph, name: str) -> Resource:
    return policy.seen(of.containers()[name])


def changed(resource: Resource, **inputs: Any) -> Resource:
    return replace(resource, inputs={**resource.inputs, **inputs})


def labelled(resource: Resource, label: str, value: str) -> Resource:
    return changed(resource, labels=[*resource.inputs["labels"], {"label": label, "value": value}])


def found(resource: Resource) -> dict[str, str]:
    """Rule -> what it says about a resource."""
    return {rule.name: breach for rule in RULES for breach in rule.check(resource, {PLANTED})}


def test_the_stack_files_of_the_repository_keep_the_rules(run: Run) -> None:
    assert {"dev", "prod"} <= set(policy.stacks())
    for stack in ("dev", "prod"):
        assert policy.breaches(run(stack)) == []


def test_each_rule_has_a_name_of_its_own_and_says_what_must_hold() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES) == 8
    assert all(rule.description.endswith(".") for rule in RULES)


def image(reference: str, stack: str = "prod") -> Resource:
    token = "docker:index/remoteImage:RemoteImage"
    return Resource(
        token, "images-web", f"urn:pulumi:{stack}::kopano::kopano:images:Images${token}::images-web", {"name": reference}
    )


@pytest.mark.parametrize("tag", ["", ":latest", ":stable", ":main"])
def test_an_image_that_names_no_release_is_found(tag: str) -> None:
    assert set(found(image(f"registry.example.org:5000/kopano/web{tag}"))) == {"pinned-images"}


def test_an_image_of_a_release_or_by_digest_is_not_and_dev_may_take_what_is_newest() -> None:
    assert found(image("registry.example.org:5000/kopano/web:0.12.4")) == {}
    assert found(image(f"registry.example.org/web@sha256:{'0a' * 32}")) == {}
    assert found(image("registry.example.org/web:latest", "dev")) == {}


def test_a_container_that_goes_past_the_pinned_images_is_found(prod: Graph) -> None:
    assert "pinned-images" in found(changed(block(prod, "web"), image="nginx"))


@pytest.mark.parametrize(
    "path", ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/var/run/", "/"]
)
def test_the_docker_socket_and_what_holds_it_are_found_in_any_block_but_the_proxy(prod: Graph, path: str) -> None:
    volumes = [{"hostPath": path, "containerPath": "/anywhere", "readOnly": True}]
    assert set(found(changed(block(prod, "scheduler"), volumes=volumes))) == {"no-docker-socket"}
    assert found(changed(block(prod, "docker-proxy"), volumes=volumes)) == {}


@pytest.mark.parametrize(
    "inputs",
    [
        {"privileged": True},
        {"capabilities": {"adds": ["CAP_SYS_ADMIN"], "drops": ["ALL"]}},
        {"capabilities": {"adds": ["sys_admin"]}},
        {"capabilities": {"adds": ["ALL"]}},
        {"pidMode": "host"},
    ],
)
def test_a_privileged_container_or_one_as_good_as_that_is_found(prod: Graph, inputs: dict[str, Any]) -> None:
    assert set(found(changed(block(prod, "kdav"), **inputs))) == {"not-privileged"}


@pytest.mark.parametrize(("name", "port"), [("db", 3306), ("ldap", 389), ("ldap", 636), ("ldap", 1389), ("web", 3306)])
def test_a_published_directory_or_database_is_found(prod: Graph, name: str, port: int) -> None:
    ports = [{"internal": float(port), "external": 12345.0, "ip": "127.0.0.1"}]
    assert set(found(changed(block(prod, name), ports=ports))) == {"directory-and-database-unpublished"}


def test_a_database_on_the_network_of_the_docker_host_is_found(prod: Graph) -> None:
    assert set(found(changed(block(prod, "db"), networkMode="host"))) == {"directory-and-database-unpublished"}


@pytest.mark.parametrize("inputs", [{"memory": 0}, {"memory": None}, {"memorySwap": -1}, {"ulimits": []}])
def test_a_container_without_one_of_its_limits_is_found(prod: Graph, inputs: dict[str, Any]) -> None:
    assert set(found(changed(block(prod, "mail"), **inputs))) == {"limits"}


@pytest.mark.parametrize("check", [None, {}, {"tests": []}, {"tests": ["NONE"]}])
def test_a_container_without_a_health_check_is_found_unless_it_is_a_job(prod: Graph, check: Any) -> None:
    assert set(found(changed(block(prod, "search"), healthcheck=check))) == {"health-checks"}
    assert "healthcheck" not in block(prod, "ssl").inputs
    assert found(block(prod, "ssl")) == {}


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("kopano.note", f"the password is {PLANTED}-db-result"),
        ("kopano.environment", f'{{"NOTE": "{PLANTED}"}}'),
        ("kopano.environment", '{"MY_TOKEN": "0451"}'),
        ("db.password", "0451"),
    ],
)
def test_a_secret_in_a_label_is_found_by_its_value_and_by_its_name_and_not_repeated(prod: Graph, label: str, value: str) -> None:
    said = found(labelled(block(prod, "kapi"), label, value))
    assert set(said) == {"no-secret-in-labels"}
    assert PLANTED not in str(said)
    assert "0451" not in str(said)


def test_the_engine_compares_labels_with_the_passwords_that_it_knows() -> None:
    options = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])

    def resource(token: str, outputs: dict[str, Any]) -> PolicyResource:
        return PolicyResource(token, outputs, f"urn:pulumi:prod::kopano::{token}::x", "x", options, None, None, [], {})

    labels = [
        {"label": "kopano.note", "value": "it is hunter2-0451"},
        {"label": "kopano.keys", "value": proxy.UNKNOWN_STRING_VALUE},
    ]
    network = resource("docker:index/network:Network", {"labels": labels})
    said: list[tuple[str, str | None]] = []
    rule = next(rule for rule in RULES if rule.name == "no-secret-in-labels")
    for known in ({}, {"result": proxy.UNKNOWN_STRING_VALUE}, {"result": "hunter2-0451"}):
        password = resource("random:index/randomPassword:RandomPassword", known)
        pack._whole(rule).validate(StackValidationArgs([password, network]), lambda text, urn: said.append((text, urn)))
    assert [urn for _, urn in said] == [network.urn]
    assert "hunter2" not in said[0][0]


@pytest.fixture
def data_volume(prod: Graph) -> Resource:
    return next(policy.seen(volume) for volume in prod.of_type(VOLUME) if volume.name == "data-mysql-volume")


def test_a_data_volume_that_a_plan_could_delete_or_replace_is_found(data_volume: Resource) -> None:
    assert found(data_volume) == {}
    assert "deleted" in found(replace(data_volume, retained=False))["data-retained"]
    assert "name" in found(replace(data_volume, ignored=("labels", "driver", "driverOpts")))["data-retained"]


def test_a_volume_of_which_nobody_says_whether_it_holds_data_is_found(data_volume: Resource) -> None:
    loose = replace(data_volume, urn="urn:pulumi:prod::kopano::kopano:db:Database$docker:index/volume:Volume::db-volume")
    assert set(found(loose)) == {"data-retained"}


def test_what_a_stack_file_asks_for_against_the_rules_is_said_in_one_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "kopano:publish": {"ldap": 3890},
        "kopano:images": {"webapp": "registry.example.org/webapp:latest"},
        "kopano:environment": {"server": {"MY_TOKEN": "0451"}},
    }
    broken = run("prod", settings)
    monkeypatch.setattr(policy, "graph_of", lambda _: broken)
    monkeypatch.setattr(sys, "argv", ["policy", "prod"])
    with pytest.raises(FailureError) as raised:
        policy._command()
    first, *lines = str(raised.value).splitlines()
    assert first == "against the rules in policy/rules.py:"
    assert [line.split(":")[:2] for line in lines] == [
        ["  Pulumi.prod.yaml", f" {rule}"]
        for rule in ("directory-and-database-unpublished", "no-secret-in-labels", "pinned-images")
    ]
    assert "0451" not in str(raised.value)


def test_encrypted_settings_are_stood_in_for_and_stay_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    values = graph.settings_of("prod") | {"kopano:environment": {"server": {"MY_TOKEN": {"secure": "v1:abc:def"}}}}
    monkeypatch.setattr(graph, "settings_of", lambda _: values)
    of = policy.graph_of("prod")
    assert f"MY_TOKEN={PLANTED}-setting" in block(of, "server").inputs["envs"]
    assert policy.breaches(of) == []


def test_a_stack_without_a_file_is_named() -> None:
    with pytest.raises(FailureError, match=r"there is no Pulumi\.nowhere\.yaml in this checkout: name one of ci, dev, prod"):
        policy.graph_of("nowhere")
