"""Every variable and volume of the reference deployment is kept, or left out with a reason in docs/contract.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tools.graph import ROOT, Graph, Registered, Run, plain

CONTRACT = json.loads((Path(__file__).parent / "data" / "contract.json").read_text(encoding="utf-8"))["services"]
EVERYTHING = {"kopano:blocks": {"kapps": True, "spamd": True, "kwmbridge": True}, "kopano:meetGuests": True}
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \| (.{10,}) \|$", re.MULTILINE)


def block(service: str) -> str:
    return service.removeprefix("kopano_")


@pytest.fixture(scope="module")
def everything(run: Run) -> Graph:
    turn = {"kopano:turn": {"uris": "turn:turn.example.org", "user": "kopano", "password": "x"}}
    tags = dict.fromkeys(("core", "webapp", "zpush", "kdav", "kapps", "meet", "scheduler"), "1")
    return run("prod", {**EVERYTHING, **turn, "kopano:imageTags": tags})


def left_out() -> set[tuple[str, str]]:
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    rows = ROW.findall(text)
    return {(service, name) for services, names, _ in rows for service in services.split(", ") for name in names.split(", ")}


def variables(box: Registered) -> set[str]:
    return {line.split("=", 1)[0] for line in plain(box.inputs["envs"])}


@pytest.mark.parametrize("service", sorted(set(CONTRACT) - {"kopano_ssl"}))
def test_every_variable_of_the_reference_is_kept_or_left_out_with_a_reason(everything: Graph, service: str) -> None:
    kept = variables(everything.containers()[block(service)])
    expected = set(CONTRACT[service].get("environment", {}))
    reasons = {name for named, name in left_out() if named in (service, "*")}
    assert expected - kept - reasons == set()


def test_no_reason_is_given_for_a_variable_that_is_kept_or_does_not_exist(everything: Graph) -> None:
    for service, name in left_out():
        services = [service] if service != "*" else [each for each in CONTRACT if name in CONTRACT[each].get("environment", {})]
        assert services, name
        for each in services:
            assert name in CONTRACT[each].get("environment", {}), (each, name)
            if each != "kopano_ssl":
                assert name not in variables(everything.containers()[block(each)]), (each, name)


@pytest.mark.parametrize("service", sorted(set(CONTRACT) - {"kopano_kwmbridge"}))
def test_every_service_answers_to_its_network_alias(everything: Graph, service: str) -> None:
    joined = plain(everything.containers()[block(service)].inputs.get("networksAdvanced", []))
    if service == "kopano_ssl":
        assert joined == []
    else:
        assert all(service in network["aliases"] for network in joined)
        names = {network["name"].removeprefix("networks-").removesuffix("-id") for network in joined}
        assert names <= {"web-net", "kopano-net", "ldap-net", "jobs-net"}


DATA = {
    "mysql": "/var/lib/mysql",
    "ldap": "/var/lib/ldap",
    "slapd": "/etc/ldap/slapd.d",
    "kopanodata": "/kopano/data",
    "kopanograpi": "/var/lib/kopano-grapi",
    "kopanowebapp": "/var/lib/kopano-webapp",
    "kopanospamd": "/var/lib/kopano/spamd",
    "zpushstates": "/var/lib/z-push",
    "kdavstates": "/var/lib/kopano/kdav",
    "maildata": "/var/mail",
    "mailstate": "/var/mail-state",
    "maillogs": "/var/log/mail",
}


def test_every_data_volume_of_the_reference_is_mounted_where_the_images_look_for_it(everything: Graph) -> None:
    found = {
        (volume["volumeName"], volume["containerPath"])
        for box in everything.containers().values()
        for volume in plain(box.inputs.get("volumes", []))
        if volume.get("volumeName")
    }
    for name, path in DATA.items():
        assert (f"kopano-prod-{name}", path) in found, name
