"""The commands' own logic, without Docker and without a network beyond this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import platform
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.settings import validate
from lab.engine import build as engine
from lab.plugins.docker_engine import registry
from lab.plugins.docker_plugin import DockerPlugin
from tools import cli, docker_engine, packages, pulumi, up, words
from tools.places import ROOT
from tools.words import FailureError


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A download site on this machine: its address and its folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def publish(folder: Path, checksum: str | None = None) -> None:
    """Put a release on the site: an archive as the official one, and its checksums."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    name = f"pulumi-v{cli.release()}-linux-{machine}.tar.gz"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("pulumi/pulumi")
        entry.size, entry.mode = 4, 0o755
        tar.addfile(entry, io.BytesIO(b"true"))
    (folder / name).write_bytes(packed.getvalue())
    digest = checksum or hashlib.sha256(packed.getvalue()).hexdigest()
    (folder / f"pulumi-{cli.release()}-checksums.txt").write_text(f"{digest}  {name}\n", encoding="utf-8")


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cli, "LOCAL", tmp_path)
    return tmp_path


def test_the_official_release_is_taken_where_its_site_answers(site: tuple[str, Path], local: Path) -> None:
    publish(site[1])
    assert cli.download(local / "bin", site[0]) is True
    assert (local / "bin" / "pulumi").read_bytes() == b"true"


def test_a_download_that_does_not_match_its_checksum_is_refused_and_leaves_nothing(site: tuple[str, Path], local: Path) -> None:
    publish(site[1], checksum="0" * 64)
    with pytest.raises(FailureError, match="does not match its checksum"):
        cli.download(local / "bin", site[0])
    assert not (local / "bin").exists()


def test_where_no_site_answers_the_download_says_so_quickly(local: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert cli.download(local / "bin", f"http://127.0.0.1:{silent.getsockname()[1]}") is False


def test_the_release_of_the_cli_is_that_of_the_go_module() -> None:
    assert f"github.com/pulumi/pulumi/pkg/v3 v{cli.release()}" in (Path(engine.__file__).parent / "cli" / "go.mod").read_text()
    assert engine.version("language", engine.SDK) == "v3.68.0"
    with pytest.raises(LookupError, match="requires no example"):
        engine.version("cli", "example")


def test_an_engine_elsewhere_that_does_not_answer_is_never_replaced_by_a_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    monkeypatch.setattr(docker_engine, "GIVEN", "tcp://192.0.2.1:2375")
    monkeypatch.setattr(docker_engine, "trouble", lambda: "no answer")
    with pytest.raises(FailureError, match=r"no Docker Engine answers at DOCKER_HOST = tcp://192\.0\.2\.1:2375"):
        docker_engine.ensure()
    assert not docker_engine.is_local()


def test_an_engine_that_may_have_no_firewall_for_ipv6_is_named_where_the_networks_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ipv6 = {"ipv6": {"prefix": "fd12:3456:789a::/48", "ipv4": "10.89.0.0/22"}}
    for version, settings, told in (("20.10.24+dfsg1", ipv6, True), ("28.1.1", ipv6, False), ("20.10.24", {}, False)):
        monkeypatch.setattr(up.stack, "docker", lambda *_, version=version: [version])
        up.check_ipv6(validate("dev", {**DEV, **settings}))
        said = capsys.readouterr().out
        assert (f"Docker Engine {version} keeps networks apart over IPv6" in said and '"ip6tables": true' in said) is told


def test_a_stack_is_stopped_where_its_networks_get_other_addresses_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []

    def network(*subnets: str) -> dict[str, Any]:
        configs = [{"subnet": subnet} for subnet in subnets]
        return {"type": up.stack.NETWORK, "outputs": {"ipv6": len(subnets) > 1, "ipamConfigs": configs}}

    monkeypatch.setattr(up.down, "stop", stopped.append)
    pairs = [("10.89.0.0/24", "fd00::/64"), ("10.89.1.0/24", "fd00:0:0:1::/64"), ("10.89.2.0/24", "fd00:0:0:2::/64")]
    before, after = [network("172.18.0.0/16")], [network(*pair) for pair in reversed(pairs)] + [network("172.18.0.0/16")]
    off, on = ({**DEV, "ipv6": setting} for setting in ({}, {"prefix": "fd00::/48", "ipv4": "10.89.0.0/22"}))
    other = {**DEV, "ipv6": {"prefix": "fd01::/48", "ipv4": "10.89.0.0/22"}}
    for made, settings, stops in (
        ([], on, False),
        (before, off, False),
        (before, on, True),
        (after, on, False),
        (after, other, True),
        (after, off, True),
    ):
        monkeypatch.setattr(up.stack, "resources", lambda _, made=made: made)
        up.clear_networks("dev", validate("dev", settings))
        assert bool(stopped) is stops
        stopped.clear()


def test_a_port_on_any_of_several_addresses_is_found_taken() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as holder:
        port = holder.getsockname()[1]
        assert up._taken("::1", port)
        assert up._taken("::", port)
        assert not up._taken("127.0.0.1", port)


def test_who_may_not_install_packages_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "can_install", lambda: False)
    with pytest.raises(FailureError, match=r"there is no Docker Engine: install it .*apt-get install docker.io"):
        packages.install("there is no Docker Engine", "docker.io")


def test_a_port_that_something_holds_is_named_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "is_local", lambda: True)
    monkeypatch.setattr(up.stack, "docker", lambda *_: [])
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        values = {
            "fqdn": "mail.example.org",
            "imageSource": "lab",
            "bindAddress": "127.0.0.1",
            "httpPort": 65533,
            "httpsPort": taken,
        }
        with pytest.raises(FailureError, match=rf"kopano:httpsPort = {taken}: the port is in use on 127\.0\.0\.1"):
            up.check_ports("dev", validate("dev", values))
        # Held by this stack's own proxy, it is no obstacle.
        monkeypatch.setattr(up.stack, "docker", lambda *_: [f"127.0.0.1:{taken}->443/tcp, 127.0.0.1:65533->80/tcp"])
        up.check_ports("dev", validate("dev", values))


MYSQL_URN = (
    "urn:pulumi:dev::kopano::kopano:volumes:DataVolumes$kopano:volumes:DataVolume$docker:index/volume:Volume::data-mysql-volume"
)


def on_host(monkeypatch: pytest.MonkeyPatch, *volumes: str, users: str = "") -> None:
    """The volumes on the Docker host, and what `docker ps` says of the containers that have them."""
    said = {"volume": list(volumes), "ps": [users] if users else []}
    monkeypatch.setattr(up.stack, "docker", lambda *words: said[words[0]])
    monkeypatch.setattr(up.stack, "volumes", lambda _: [volume for volume in volumes if volume.startswith("kopano-dev-")])
    monkeypatch.setattr(up.stack, "restored", lambda _: [])


def in_state(monkeypatch: pytest.MonkeyPatch, volume: str = "", container: str = "") -> None:
    entries: list[dict[str, object]] = []
    if volume:
        entries.append({"type": up.stack.VOLUME, "id": volume, "urn": MYSQL_URN, "outputs": {"name": volume}})
    if container:
        entries.append({"type": up.stack.CONTAINER, "id": container, "urn": "", "outputs": {}})
    monkeypatch.setattr(up.stack, "resources", lambda _: entries)


DEV = {"fqdn": "mail.example.org", "imageSource": "lab"}
ADOPTING = {**DEV, "volumes": {"mysql": "old_mysql"}}


@pytest.mark.parametrize(("values", "volume"), [(DEV, "kopano-dev-mysql"), (ADOPTING, "old_mysql")])
def test_data_that_the_state_does_not_know_is_taken_over_unless_something_else_works_on_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], values: dict[str, object], volume: str
) -> None:
    config = validate("dev", values)
    in_state(monkeypatch)
    on_host(monkeypatch, volume, "somebody-elses", users="abc\tanother-db")
    with pytest.raises(FailureError, match=rf"container another-db, which is not of this stack, works on the data in {volume}"):
        up.check_volumes("dev", config)
    on_host(monkeypatch, volume, "somebody-elses")
    up.check_volumes("dev", config)
    assert f"takes over the data in {volume};" in capsys.readouterr().out
    # The database of this very state, of which a killed run knew the volume not yet.
    in_state(monkeypatch, container="abc")
    on_host(monkeypatch, volume, users="abc\tkopano-dev-db")
    up.check_volumes("dev", config)
    in_state(monkeypatch, volume)
    capsys.readouterr()
    up.check_volumes("dev", config)
    assert capsys.readouterr().out == ""


def test_volumes_to_take_over_that_are_not_there_or_come_too_late_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = validate("dev", ADOPTING)
    in_state(monkeypatch)
    on_host(monkeypatch, "old_mysq1")
    with pytest.raises(FailureError, match=r"kopano:volumes.mysql = old_mysql: there is no such volume on the Docker host"):
        up.check_volumes("dev", config)
    in_state(monkeypatch, "kopano-dev-mysql")
    on_host(monkeypatch, "old_mysql", "kopano-dev-mysql")
    with pytest.raises(FailureError, match=r"the data of stack dev is in kopano-dev-mysql since its first deployment"):
        up.check_volumes("dev", config)


def test_volumes_that_a_restore_has_filled_are_deployed_on_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_state(monkeypatch)
    on_host(monkeypatch, "kopano-dev-mysql")
    monkeypatch.setattr(up.stack, "restored", lambda _: ["kopano-dev-mysql"])
    up.check_volumes("dev", validate("dev", DEV))
    assert capsys.readouterr().out == ""


def test_a_failed_deployment_is_explained_by_block_and_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    core = f"registry.example.org:5000/core@sha256:{'a' * 64}"
    images = {"webapp": "registry.example.net/webapp:1", "gateway": core, "ical": core}
    logins = {"registry.example.org:5000": {"user": "puller", "password": "the-password"}}
    values = {"fqdn": "mail.example.org", "imageSource": "lab", "images": images, "registries": logins}
    config = validate("dev", values, frozenset({"registries"}))
    sick = up.stack.Container("kopano-dev-server", "server", "Restarting (255) 3 seconds ago")
    well = up.stack.Container("kopano-dev-db", "db", "Up 9 seconds (healthy)")
    monkeypatch.setattr(up.stack, "present_images", lambda asked: set(asked) - set(images.values()))
    monkeypatch.setattr(up.stack, "containers", lambda _: [sick, well])
    monkeypatch.setattr(up.stack, "last_words", lambda _: "server: the database refuses user kopano")
    monkeypatch.setattr(up.stack, "failed_check", lambda _: "no socket")
    up.explain("dev", config)
    unknown, refused, server = capsys.readouterr().out.splitlines()
    assert unknown == (
        "==> block webapp: the image registry.example.net/webapp:1 is not on the Docker host and could not be pulled from the"
        " registry registry.example.net; kopano:registries has no log-in for it: has it that image, and does it want one?"
    )
    assert refused == (
        f"==> blocks gateway, ical: the image {core} is not on the Docker host and could not be pulled from the registry"
        " registry.example.org:5000; there puller logs in with the password of kopano:registries: has it that image, and are"
        " these right?"
    )
    assert server == (
        "==> block server (kopano-dev-server) is 'Restarting (255) 3 seconds ago'"
        " and said last: server: the database refuses user kopano; its health check: no socket"
    )


FAILED = """\
Diagnostics:
  pulumi:pulumi:Stack (kopano-dev):
    error: update failed
    error: Program failed with an unhandled exception:
    Traceback (most recent call last):
      File "resource.py", line 1, in do_rpc_call
    {between}
    Traceback (most recent call last):
      File "settings.py", line 2, in handle_grpc_error
    {raised}

  docker:index:RemoteImage (images-webapp):
    error: no such image
"""


@pytest.mark.parametrize(
    ("raised", "told"),
    [("Exception: context canceled", ""), ("KeyError: 'smtp'", "    error: the program failed: KeyError: 'smtp'\n")],
)
def test_a_traceback_of_the_engine_becomes_what_was_raised_or_nothing(raised: str, told: str) -> None:
    lines = FAILED.format(raised=raised, between="").splitlines(keepends=True)
    assert "".join(pulumi.without_tracebacks(lines)) == (
        "Diagnostics:\n  pulumi:pulumi:Stack (kopano-dev):\n    error: update failed\n"
        f"{told}  docker:index:RemoteImage (images-webapp):\n    error: no such image\n"
    )


def raiser(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FailureError("what, where, what to do"), "error: what, where, what to do"),
        (KeyboardInterrupt(), "error: interrupted; run the same command again to go on"),
        (
            subprocess.CalledProcessError(7, ["docker", "ps"], stderr="no engine"),
            "error: 'docker ps ...' failed with exit code 7: no engine",
        ),
    ],
)
def test_a_failed_command_ends_in_one_line(error: BaseException, said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        words.main(lambda: raiser(error))
    assert ended.value.code == said


@pytest.fixture
def stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack file, of a stack that the commands take for any."""
    file = tmp_path / "Pulumi.there.yaml"
    monkeypatch.setattr(docker_engine, "stack_file", lambda _: file)
    monkeypatch.setattr(docker_engine, "GIVEN", None)
    # Set first, so that it is put back whatever becomes of it.
    monkeypatch.setenv("DOCKER_HOST", "")
    monkeypatch.delenv("DOCKER_HOST")
    return file


def test_the_commands_speak_with_the_engine_that_the_stack_file_names(stack_file: Path) -> None:
    stack_file.write_text("config:\n  kopano:dockerHost: ssh://kopano@docker.example.org\n", encoding="utf-8")
    docker_engine.of_stack("there")
    assert os.environ["DOCKER_HOST"] == "ssh://kopano@docker.example.org"
    assert not docker_engine.is_local()
    assert not docker_engine.is_given()
    # Another stack, with this machine's engine.
    stack_file.write_text("config:\n  kopano:fqdn: mail.example.org\n", encoding="utf-8")
    docker_engine.of_stack("there")
    assert "DOCKER_HOST" not in os.environ
    assert docker_engine.is_given()


def test_an_engine_that_contradicts_the_stack_file_is_refused(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack_file.write_text("config:\n  kopano:dockerHost: ssh://kopano@docker.example.org\n", encoding="utf-8")
    monkeypatch.setattr(docker_engine, "GIVEN", "unix:///elsewhere.sock")
    with pytest.raises(FailureError, match=r"contradicts DOCKER_HOST, which is unix:///elsewhere.sock"):
        docker_engine.of_stack("there")


def test_an_engine_that_does_not_answer_is_named_with_the_setting_and_the_reason(
    stack_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack_file.write_text("config:\n  kopano:dockerHost: ssh://kopano@docker.example.org\n", encoding="utf-8")
    docker_engine.of_stack("there")
    monkeypatch.setattr(docker_engine, "trouble", lambda: "Host key verification failed.")
    monkeypatch.setattr(docker_engine.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(FailureError) as failure:
        docker_engine.ensure()
    assert "kopano:dockerHost = ssh://kopano@docker.example.org (Host key verification failed.)" in str(failure.value)


def test_the_labs_plug_in_takes_log_ins_of_registries_by_name_and_password_and_shows_none() -> None:
    plugin = DockerPlugin()
    login = {"address": "https://registry.example.org", "username": "puller", "password": "s3cret"}
    assert plugin.check_config({"registryAuth": json.dumps([login])}) == []
    plugin.configure({"registryAuth": json.dumps([login])})
    assert plugin.engine.logins == {"registry.example.org": {"username": "puller", "password": "s3cret"}}
    for wrong in ({**login, "configFile": "~/.docker/config.json"}, {"address": "r.example.org", "password": "s3cret"}):
        ((setting, reason),) = plugin.check_config({"registryAuth": json.dumps([wrong])})
        assert setting == "registryAuth"
        assert "s3cret" not in reason
    for image, expected in (
        ("registry.example.org/kopano/core:1", "registry.example.org"),
        ("registry.example.org:5000/core@sha256:0", "registry.example.org:5000"),
        ("localhost/core:1", "localhost"),
        ("library/mariadb:10", "docker.io"),
        ("mariadb:10", "docker.io"),
    ):
        assert registry(image.rpartition("/")[0]) == expected


def test_what_a_command_runs_can_be_interrupted_also_where_a_shell_has_started_it_in_the_background() -> None:
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    call = f"subprocess.call([sys.executable, '-c', {ask!r}])"
    command = f"import subprocess, sys; from tools.words import main; main(lambda: {call})"
    in_background = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", sys.executable, "-c", command]
    assert subprocess.run(in_background, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "False"
