"""The comparison with Docker Compose: the same deployment as a compose file, and what is made of the times."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import client, measure
from bench.compose import Composed, compose, opened, with_variable
from tools.graph import PLANTED, Graph, Run, plain, settings_of
from tools.words import FailureError

FOLDER = Path("/somewhere")
BYTES = bytes(range(256))
IMAGE = "docker:index/remoteImage:RemoteImage"


def entries(graph: Graph) -> list[dict[str, Any]]:
    """The graph in the form of a stack's state. What the mocks call base64 is none."""
    found = [
        {
            "urn": resource.urn,
            "type": resource.type,
            "id": f"{resource.name}-id",
            "inputs": plain(resource.inputs),
            "outputs": {"imageId": f"sha256:{resource.name}"} if resource.type == IMAGE else {},
            "dependencies": list(resource.options.dependencies),
        }
        for resource in graph.resources
    ]
    for entry in found:
        for upload in entry["inputs"].get("uploads", []):
            if "contentBase64" in upload:
                upload["contentBase64"] = base64.b64encode(BYTES).decode()
    return found


@pytest.fixture
def graph(run: Run) -> Graph:
    return run("dev")


@pytest.fixture
def composed(graph: Graph) -> Composed:
    return compose("bench", entries(graph), FOLDER)


@pytest.fixture
def services(composed: Composed) -> dict[str, Any]:
    return dict(composed.document["services"])


def test_every_container_of_the_program_is_a_service(graph: Graph, services: dict[str, Any]) -> None:
    assert set(services) == set(graph.containers())
    assert len(services) > 20


def test_a_service_runs_the_programs_image_and_downloads_none(graph: Graph, services: dict[str, Any]) -> None:
    images = {f"sha256:{image.name}": image.inputs["name"] for image in graph.of_type(IMAGE)}
    for block, box in graph.containers().items():
        assert services[block]["image"] == images[box.inputs["image"]], block
        assert services[block]["pull_policy"] == "never", block


def test_a_service_has_the_programs_variables_whatever_signs_are_in_them(graph: Graph, services: dict[str, Any]) -> None:
    for block, box in graph.containers().items():
        wanted = dict(entry.split("=", 1) for entry in plain(box.inputs).get("envs", []))
        found = services[block].get("environment", {})
        assert {name: value.replace("$$", "$") for name, value in found.items()} == wanted, block


def test_dollar_signs_are_doubled_so_that_compose_replaces_nothing(composed: Composed) -> None:
    assert "$" in json.dumps(composed.document)
    assert "$" not in json.dumps(composed.document).replace("$$", "")


def test_a_service_has_the_programs_networks_and_aliases(graph: Graph, services: dict[str, Any]) -> None:
    names = {f"{network.name}-id": network.inputs["name"] for network in graph.of_type("docker:index/network:Network")}
    for block, box in graph.containers().items():
        wanted = {
            names[network["name"]]: {"aliases": network["aliases"]} for network in plain(box.inputs).get("networksAdvanced", [])
        }
        assert services[block].get("networks", {}) == wanted, block
        assert services[block].get("network_mode") == (None if wanted else "none"), block


def test_a_service_has_the_programs_mounts_and_limits(graph: Graph, services: dict[str, Any]) -> None:
    for block, box in graph.containers().items():
        inputs, service = plain(box.inputs), services[block]
        mounts = {
            (volume.get("volumeName") or volume["hostPath"], volume["containerPath"], bool(volume.get("readOnly")))
            for volume in inputs.get("volumes", [])
        }
        found = {(mount["source"], mount["target"], mount["read_only"]) for mount in service.get("volumes", [])}
        assert {mount for mount in found if mount[1] != "/uploaded"} == mounts, block
        assert service["mem_limit"] == f"{inputs['memory']}m", block
        assert service["memswap_limit"] == f"{inputs['memorySwap']}m", block
        assert service["cap_drop"] == ["ALL"], block
        assert service.get("cap_add", []) == inputs["capabilities"].get("adds", []), block
        assert service.get("read_only", False) == inputs.get("readOnly", False), block
        assert service["ulimits"]["nofile"] == {"soft": 8192, "hard": 8192}, block


def test_a_service_is_checked_as_the_program_checks_it(graph: Graph, services: dict[str, Any]) -> None:
    for block, box in graph.containers().items():
        check = plain(box.inputs).get("healthcheck")
        found = services[block].get("healthcheck")
        if not check:
            assert found is None, block
            continue
        assert [test.replace("$$", "$") for test in found["test"]] == check["tests"], block
        assert found["interval"] == check["interval"], block
        assert found["start_period"] == check["startPeriod"], block


def test_a_service_waits_for_those_that_the_program_waits_for(services: dict[str, Any]) -> None:
    assert services["dagent"]["depends_on"] == {
        "server": {"condition": "service_healthy"},
        "ssl": {"condition": "service_completed_successfully"},
    }
    assert "depends_on" not in services["ssl"] or not services["ssl"]["depends_on"]


def test_uploads_become_files_that_the_service_copies_first(graph: Graph, composed: Composed) -> None:
    uploads = plain(graph.containers()["ssl"].inputs)["uploads"]
    assert set(composed.uploads) == {"ssl"}
    for upload in uploads:
        content = composed.uploads["ssl"][upload["file"]]
        if "content" in upload:
            assert content == upload["content"].encode()
        else:
            assert content == BYTES
    service = composed.document["services"]["ssl"]
    assert service["command"][0].startswith("cp -R /uploaded/. /\n")
    assert service["volumes"][-1]["source"] == f"{FOLDER}/uploads/ssl"


def test_the_networks_and_volumes_are_the_programs(graph: Graph, composed: Composed) -> None:
    networks = {network.inputs["name"] for network in graph.of_type("docker:index/network:Network")}
    volumes = {volume.inputs["name"] for volume in graph.of_type("docker:index/volume:Volume")}
    assert {network["name"] for network in composed.document["networks"].values()} == networks
    assert {volume["name"] for volume in composed.document["volumes"].values()} == volumes
    assert [network["name"] for network in composed.document["networks"].values() if network.get("internal")] == [
        "kopano-dev-jobs-net"
    ]


def test_an_input_that_is_not_translated_is_refused_by_name(graph: Graph) -> None:
    changed = entries(graph)
    box = next(entry for entry in changed if entry["type"] == "docker:index/container:Container")
    box["inputs"] = {**box["inputs"], "privileged": True}
    with pytest.raises(FailureError, match="does not translate privileged"):
        compose("bench", changed, FOLDER)


def test_one_changed_variable_changes_nothing_else(composed: Composed) -> None:
    changed = with_variable(composed, "server", "KCCONF_SERVER_LOG_LEVEL", "4")
    assert composed.document["services"]["server"]["environment"]["KCCONF_SERVER_LOG_LEVEL"] == "3"
    assert changed.document["services"]["server"]["environment"]["KCCONF_SERVER_LOG_LEVEL"] == "4"
    changed.document["services"]["server"]["environment"]["KCCONF_SERVER_LOG_LEVEL"] = "3"
    assert changed.document == composed.document


def test_the_program_changes_the_same_variable(run: Run) -> None:
    ports: Iterator[int] = iter(range(20_000, 20_100))
    settings = measure.stack_settings({"config": settings_of("dev")}, ports, variable=True)["config"]
    box = run("dev", settings).containers()[measure.BLOCK]
    assert f"{measure.VARIABLE}={measure.VALUE}" in plain(box.inputs)["envs"]


def test_what_holds_secrets_is_for_its_owner_alone(composed: Composed, tmp_path: Path) -> None:
    file = composed.write(tmp_path / "new")
    assert PLANTED in file.read_text()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert len(files) > 40
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    # Written over one that others could read, it is a new file.
    file.chmod(0o644)
    composed.write(tmp_path / "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_of_a_state_are_opened_wherever_they_are() -> None:
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": '["A=b"]'}
    assert opened({"envs": secret, "deep": [{"value": secret}]}) == {"envs": ["A=b"], "deep": [{"value": ["A=b"]}]}


def test_the_table_has_medians_and_their_ratio() -> None:
    ours, theirs = measure.Times(), measure.Times()
    for name in measure.MEASURES:
        ours.of[name], theirs.of[name] = [1.0, 9.0, 2.0], [4.0, 4.0, 5.0]
    lines = measure.table(ours, theirs).splitlines()
    assert len(lines) == 2 + len(measure.MEASURES)
    assert lines[3] == "| no-op | 2.0 s | 4.0 s | 0.50 | 1.0 to 9.0 and 4.0 to 5.0 |"


def test_another_compose_than_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "LOCAL", tmp_path / "local")
    monkeypatch.setattr(client, "EXECUTABLE", tmp_path / "docker-compose")
    (tmp_path / "docker-compose").write_bytes(b"another")
    with pytest.raises(FailureError, match=r"not the executable of docker-compose 2\.26\.1-4"):
        client.ensure()
    monkeypatch.setattr(client, "SHA256", hashlib.sha256(b"another").hexdigest())
    assert client.ensure() == tmp_path / "docker-compose"
