"""Replays what the genuine plug-ins were asked and answered (recordings/) against the lab's plug-ins.

Every exchange is replayed over the plug-in protocol. Those that need no engine are replayed as they are. Those that make,
read, change or remove something are replayed once, in the recorded order, on the Docker Engine of this machine, with names,
an image and ports of their own; ids, addresses and the daemon's words about a registry are not compared.

Not replayed: nothing. GetPluginInfo and Handshake carry no resource; they are replayed too, since the engine decides by them
how it goes on.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import grpc
import pytest
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from lab.plugins.serve import PLUGINS, load, start

RECORDINGS = Path(__file__).parent / "recordings"
REQUESTS = {
    "Handshake": provider_pb2.ProviderHandshakeRequest,
    "GetPluginInfo": empty_pb2.Empty,
    "CheckConfig": provider_pb2.CheckRequest,
    "DiffConfig": provider_pb2.DiffRequest,
    "Configure": provider_pb2.ConfigureRequest,
    "Check": provider_pb2.CheckRequest,
    "Diff": provider_pb2.DiffRequest,
    "Create": provider_pb2.CreateRequest,
    "Read": provider_pb2.ReadRequest,
    "Update": provider_pb2.UpdateRequest,
    "Delete": provider_pb2.DeleteRequest,
}
PREFIX = f"recorded-{os.getpid()}"


@dataclass(frozen=True)
class Exchange:
    """One line of a recording."""

    file: str
    line: int
    plugin: str
    method: str
    text: str

    @property
    def name(self) -> str:
        request = json.loads(self.text)["request"]
        what = request.get("type", "").rsplit(":", 1)[-1]
        return f"{self.file}:{self.line} {self.method} {what} {request.get('name', '')}".strip()

    @property
    def on_engine(self) -> bool:
        preview = json.loads(self.text)["request"].get("preview", False)
        return self.method in {"Create", "Read", "Update", "Delete"} and not preview


def recorded() -> list[Exchange]:
    exchanges = []
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        plugin = "docker"
        for line, text in enumerate(path.read_text().splitlines(), 1):
            exchange = json.loads(text)
            request = exchange["request"]
            if exchange["method"] == "Handshake":
                plugin = request["rootDirectory"].split("resource-")[1].split("-")[0]
            kind = request.get("type", "")
            of = kind.split(":")[2] if kind.startswith("pulumi:") else kind.split(":")[0] if kind else plugin
            exchanges.append(Exchange(path.stem, line, of, exchange["method"], text))
    return exchanges


EXCHANGES = recorded()
PURE = [exchange for exchange in EXCHANGES if not exchange.on_engine]
# What a failure left behind was removed before the next failure was recorded.
ON_ENGINE = sorted(
    (exchange for exchange in EXCHANGES if exchange.on_engine),
    key=lambda exchange: (exchange.file.replace("11-after-", "10-"), exchange.file, exchange.line),
)
BY_NAME = {exchange.name: exchange for exchange in EXCHANGES}


@pytest.fixture(scope="module")
def plugins() -> Iterator[dict[str, Any]]:
    """A connection to each of the lab's plug-ins."""
    servers, channels, stubs = [], [], {}
    for name in PLUGINS:
        server, port = start(load(name))
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        servers.append(server)
        channels.append(channel)
        stubs[name] = provider_pb2_grpc.ResourceProviderStub(channel)
    yield stubs
    for channel in channels:
        channel.close()
    for server in servers:
        server.stop(grace=None).wait()
    for name in PLUGINS:
        load(name).close()


def ask(stub: Any, method: str, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What the plug-in answers, in the recordings' form, and the state of a resource that is there although it failed."""
    try:
        response = getattr(stub, method)(json_format.ParseDict(request, REQUESTS[method]()))
    except grpc.RpcError as error:
        answer = {"errors": [f"rpc error: code = {error.code().name.title()} desc = {error.details()}"]}
        return answer, unfinished_resource(error)
    return {"response": json_format.MessageToDict(response)}, None


def unfinished_resource(error: Any) -> dict[str, Any] | None:
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            detail = provider_pb2.ErrorResourceInitFailed()
            assert status.details[0].Unpack(detail)
            return json_format.MessageToDict(detail)
    return None


def expected(exchange: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in exchange.items() if name in {"response", "errors"}}


@pytest.mark.parametrize("name", [exchange.name for exchange in PURE])
def test_the_lab_answers_without_an_engine_as_the_genuine_plugin_did(plugins: dict[str, Any], name: str) -> None:
    exchange = BY_NAME[name]
    recording = json.loads(exchange.text)
    answer, _ = ask(plugins[exchange.plugin], exchange.method, recording["request"])
    assert differences(answer, expected(recording)) == []


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = False
    for name, part in parts:
        found = True
        yield from leaves(part, f"{path}/{name}")
    if not found:
        yield path, value


def differences(answer: Any, recording: Any) -> list[str]:
    """Where the answer is not as recorded, one line for each place."""
    got, wanted = dict(leaves(answer)), dict(leaves(recording))
    return [
        f"{path}: answered {got.get(path, 'nothing')!r}, recorded {wanted.get(path, 'nothing')!r}"
        for path in sorted({*got, *wanted})
        if got.get(path, "nothing") != wanted.get(path, "nothing")
    ]


@dataclass
class Story:
    """The recorded work, done again on this machine's engine."""

    api: docker.APIClient
    stub: Any
    replacements: dict[str, str]
    outcomes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    unfinished: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    broken: str = ""

    def translated(self, text: str) -> dict[str, Any]:
        for old, new in self.replacements.items():
            text = text.replace(old, new)
        translation: dict[str, Any] = json.loads(text)
        return translation

    def learn(self, old_id: str, new_id: str) -> None:
        self.replacements[old_id] = new_id
        # A container without a hostname is named after its id.
        self.replacements[f'"{old_id[:12]}"'] = f'"{new_id[:12]}"'

    def play(self, exchange: Exchange) -> None:
        self.before(exchange)
        recording = self.translated(exchange.text)
        answer, unfinished = ask(self.stub, exchange.method, recording["request"])
        if exchange.method == "Create" and "response" in answer and "response" in recording:
            self.learn(recording["response"]["id"], answer["response"]["id"])
            recording = self.translated(exchange.text)
        if unfinished is not None:
            self.keep_unfinished(exchange, unfinished)
        self.outcomes[exchange.name] = (comparable(answer), comparable(expected(recording)))

    def keep_unfinished(self, exchange: Exchange, unfinished: dict[str, Any]) -> None:
        # The recorded state of what was left behind is in the request that removed it.
        later = next(other for other in ON_ENGINE if other.file == exchange.file.replace("10-failure", "11-after-failure"))
        self.learn(json.loads(later.text)["request"]["id"], unfinished["id"])
        request = self.translated(later.text)["request"]
        self.unfinished[exchange.file] = (unfinished["properties"], request["properties"])

    def before(self, exchange: Exchange) -> None:
        """Do by hand what was done by hand before this part of the recording."""
        if exchange != next(other for other in ON_ENGINE if other.file == exchange.file):
            return
        container = f"{PREFIX}-c"
        if exchange.file == "05-up-refresh-after-container-removed":
            self.api.remove_container(container, force=True)
        if exchange.file == "06-up-refresh-after-container-stopped":
            self.api.stop(container)


ADDRESSES = {"gateway", "ipAddress", "ipPrefixLength", "macAddress", "subnet"}


def comparable(value: Any) -> Any:
    """The answer without what differs from machine to machine."""
    if isinstance(value, dict):
        return {name: "an address" if name in ADDRESSES and part else comparable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [comparable(part) for part in value]
    if isinstance(value, str):
        value = re.sub(r"\(\w{64}\)", "(an endpoint)", value)
        # What the daemon says of a registry depends on the network that it is in.
        return re.sub(r"(error pulling image \S+: Error response from daemon: ).*", r"\1...", value, flags=re.DOTALL)
    return value


def tiny_image(api: docker.APIClient, repository: str) -> str:
    """An image of four of this machine's programs and the libraries that they need."""
    programs = [path for name in ("env", "false", "sleep", "true") if (path := shutil.which(name)) is not None]
    listed = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    libraries = set(re.findall(r"(/\S+) \(0x", listed))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for path in sorted({*programs, *libraries}):
            archive.add(path, arcname=path.lstrip("/"))
        users = b"root:x:0:0::/:/bin/false\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(users)
        archive.addfile(entry, io.BytesIO(users))
    api.import_image_from_data(buffer.getvalue(), repository=repository, tag="tiny")
    return str(api.inspect_image(f"{repository}:tiny")["Id"])


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def remove_all(api: docker.APIClient) -> None:
    for container in api.containers(all=True, filters={"name": PREFIX}):
        api.remove_container(container["Id"], force=True, v=True)
    for network in api.networks(names=[PREFIX]):
        api.remove_network(network["Id"])
    for volume in api.volumes(filters={"name": PREFIX})["Volumes"] or []:
        api.remove_volume(volume["Name"], force=True)


@pytest.fixture(scope="module")
def story(plugins: dict[str, Any]) -> Iterator[Story]:
    """All exchanges that need an engine, played in order; the tests look at their outcomes."""
    api = docker.APIClient(version="auto", base_url=os.environ.get("DOCKER_HOST"))
    image = tiny_image(api, PREFIX)
    replacements = {
        "sha256:ca1682a39a4ab042e3b9aec378a4194ccb7ab3b49cc8def7c84b72fdc32612cb": image,
        "debian:bookworm-slim": f"{PREFIX}:tiny",
        "/etc/machine-id": "/etc/passwd",
        "18080": str(free_port()),
        "2525,": f"{free_port()},",
        "kopano-net": f"{PREFIX}-kopano-net",
        "web-net": f"{PREFIX}-web-net",
        "kopano-data": f"{PREFIX}-kopano-data",
        **{f"probe-{name}": f"{PREFIX}-{name}" for name in ("c", "seed", "bad")},
    }
    told = Story(api, plugins["docker"], replacements)
    try:
        for exchange in ON_ENGINE:
            told.play(exchange)
    except Exception as error:
        told.broken = f"the story ended at {exchange.name}: {error}"
    remove_all(api)
    yield told
    api.remove_image(f"{PREFIX}:tiny", force=True)
    api.close()


@pytest.mark.parametrize("name", [exchange.name for exchange in ON_ENGINE])
def test_the_lab_does_on_the_engine_what_the_genuine_plugin_did(story: Story, name: str) -> None:
    assert name in story.outcomes, story.broken
    answer, recording = story.outcomes[name]
    assert differences(answer, recording) == []


@pytest.mark.parametrize("case", ["port", "unhealthy", "upload"])
def test_a_container_that_failed_is_left_to_the_engine_in_the_recorded_state(story: Story, case: str) -> None:
    answer, recording = story.unfinished[f"10-failure-{case}"]
    assert differences(answer, recording) == []
