"""The examples: how the exporter tells a block that works from one that does not, and what the programs read of the stack."""

from __future__ import annotations

import importlib.util
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.blocks import BLOCKS
from components.outputs import PATHS
from lab.images import catalog

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Speak = Callable[[bytes], int]


def module(path: Path) -> Any:
    """A module of an image, which is no package of this project."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    sys.modules[path.stem] = loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


probes = module(EXAMPLES / "monitoring" / "image" / "probes.py")
STACK = probes.Stack("kopano.example.org", ssl.create_default_context())


@pytest.fixture
def speak() -> Iterator[Speak]:
    """Starts something that says the same to everybody, at once, and gives its port."""
    listeners: list[socket.socket] = []

    def start(said: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(said)
                if said:
                    connection.recv(1024)

        threading.Thread(target=answer, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def seen(monkeypatch: pytest.MonkeyPatch, probe: Any) -> str:
    """What is said of a block that is looked at in this way."""
    monkeypatch.setattr(probes, "PROBES", {"127.0.0.1": probe})
    return str(probes.look("127.0.0.1", STACK))


@pytest.mark.parametrize(
    ("said", "trouble"),
    [(b"220 mail.example.org ESMTP\r\n", ""), (b"421 too busy\r\n", "says b'421"), (b"", "hangs up")],
)
def test_a_greeting_is_what_the_protocol_wants_or_the_block_is_down(
    monkeypatch: pytest.MonkeyPatch, speak: Speak, said: bytes, trouble: str
) -> None:
    seen_of_it = seen(monkeypatch, probes.Greeting(speak(said), rb"220", b"QUIT\r\n"))
    assert trouble in seen_of_it
    assert bool(seen_of_it) == bool(trouble)


@pytest.mark.parametrize(
    ("status", "wanted", "trouble"),
    [(200, 200, ""), (401, 401, ""), (405, None, ""), (200, 401, "with 200"), (502, None, "with 502"), (503, 200, "with 503")],
)
def test_a_page_is_answered_as_it_should_be_or_the_block_is_down(
    monkeypatch: pytest.MonkeyPatch, speak: Speak, status: int, wanted: int | None, trouble: str
) -> None:
    port = speak(f"HTTP/1.1 {status} Some\r\nContent-Length: 0\r\n\r\n".encode())
    seen_of_it = seen(monkeypatch, probes.Http(port, "/", wanted))
    assert trouble in seen_of_it
    assert bool(seen_of_it) == bool(trouble)


def test_what_is_not_encrypted_does_not_pass_for_the_encrypted_service(monkeypatch: pytest.MonkeyPatch, speak: Speak) -> None:
    assert seen(monkeypatch, probes.Greeting(speak(b"* OK ready\r\n"), rb"\* OK", tls=True))


def test_a_port_on_which_nothing_listens_is_down_and_a_host_that_says_so_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "refused" in seen(monkeypatch, probes.Greeting(port, rb"220"))
    assert seen(monkeypatch, probes.Presence()) == ""
    monkeypatch.setattr(probes, "PROBES", {})
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror(-2, "unknown")))
    assert probes.look("kopano_search", STACK) == "is not on the network"


def test_the_exporter_knows_no_block_that_there_is_not() -> None:
    aliases = {block.alias for block in BLOCKS.values()}
    assert set(probes.PROBES) | set(probes.OUT_OF_SIGHT) <= aliases
    assert not set(probes.PROBES) & set(probes.OUT_OF_SIGHT)


@pytest.mark.parametrize("example", ["monitoring", "extra-mailbox-app"])
def test_an_example_reads_outputs_that_there_are_and_describes_the_settings_that_it_reads(example: str) -> None:
    source = (EXAMPLES / example / "__main__.py").read_text(encoding="utf-8")
    exported = set(re.findall(r'pulumi\.export\(\s*"(\w+)"', (EXAMPLES.parent / "components" / "outputs.py").read_text("utf-8")))
    assert set(re.findall(r'require_output\("(\w+)"\)', source)) <= exported
    project = yaml.safe_load((EXAMPLES / example / "Pulumi.yaml").read_text(encoding="utf-8"))
    described = {key.partition(":")[2] for key in project["config"] if key.startswith(f"{project['name']}:")}
    assert set(re.findall(r"config\.(?:get|get_int|require)\(['\"](\w+)['\"]\)", source)) == described
    settings = yaml.safe_load((EXAMPLES / example / "Pulumi.example.yaml").read_text(encoding="utf-8"))["config"]
    assert {key.partition(":")[2] for key in settings} <= described
    assert PATHS["openid"][1] == "/.well-known/openid-configuration"


def test_the_examples_images_stand_on_the_labs_base_and_are_no_part_of_the_lab() -> None:
    assert catalog.examples() == ["extra-mailbox-app", "monitoring"]
    assert not set(catalog.examples()) & set(catalog.names())
    for example in catalog.examples():
        assert catalog.parents(example) == ["base"]


@pytest.mark.parametrize("example", ["monitoring", "extra-mailbox-app"])
def test_an_example_is_made_with_the_program_s_own_releases_of_pulumi(example: str) -> None:
    pins = set((EXAMPLES.parent / "requirements.txt").read_text(encoding="utf-8").splitlines())
    assert set((EXAMPLES / example / "requirements.txt").read_text(encoding="utf-8").splitlines()) <= pins
