"""What the recordings do not show: keys, certificates and random values, refusals, secrets, and the plug-in process."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bcrypt
import docker
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from test_recordings import tiny_image, unfinished_resource

from lab.plugins import durations
from lab.plugins import install as installer
from lab.plugins.serve import PLUGINS, load, start

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET_MARK = "4dabf18193072939515e22adb298388d"


class Asked:
    """Asks one plug-in in plain values."""

    def __init__(self, plugin: str, stub: Any) -> None:
        self.plugin = plugin
        self.stub = stub

    def urn(self, kind: str) -> str:
        module = kind[0].lower() + kind[1:]
        return f"urn:pulumi:dev::test::{self.plugin}:index/{module}:{kind}::one"

    def check(self, kind: str, olds: dict[str, Any] | None = None, **news: Any) -> dict[str, Any]:
        request = provider_pb2.CheckRequest(urn=self.urn(kind), olds=struct(olds or {}), news=struct(news))
        answer: dict[str, Any] = json_format.MessageToDict(self.stub.Check(request))
        return answer

    def create(self, kind: str, **inputs: Any) -> dict[str, Any]:
        checked = self.check(kind, **inputs)
        assert "failures" not in checked
        made = self.stub.Create(provider_pb2.CreateRequest(urn=self.urn(kind), properties=struct(checked["inputs"])))
        properties: dict[str, Any] = json_format.MessageToDict(made.properties)
        return {**properties, "id": made.id}

    def diff(self, kind: str, state: dict[str, Any], **inputs: Any) -> dict[str, Any]:
        inputs = self.check(kind, **inputs)["inputs"]
        request = provider_pb2.DiffRequest(urn=self.urn(kind), id=state["id"], olds=struct(state), news=struct(inputs))
        answer: dict[str, Any] = json_format.MessageToDict(self.stub.Diff(request))
        return answer

    def read(self, kind: str, state: dict[str, Any]) -> dict[str, Any]:
        request = provider_pb2.ReadRequest(urn=self.urn(kind), id=state["id"], properties=struct(state))
        properties: dict[str, Any] = json_format.MessageToDict(self.stub.Read(request).properties)
        return properties

    def delete(self, kind: str, state: dict[str, Any]) -> None:
        self.stub.Delete(provider_pb2.DeleteRequest(urn=self.urn(kind), id=state["id"], properties=struct(state)))


def struct(values: dict[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(values)
    return made


@pytest.fixture(scope="module")
def asked() -> Iterator[dict[str, Asked]]:
    servers, channels, all_asked = [], [], {}
    for name in PLUGINS:
        server, port = start(load(name))
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        servers.append(server)
        channels.append(channel)
        all_asked[name] = Asked(name, provider_pb2_grpc.ResourceProviderStub(channel))
    yield all_asked
    for channel in channels:
        channel.close()
    for server in servers:
        server.stop(grace=None).wait()
    for name in PLUGINS:
        load(name).close()


@pytest.fixture
def tls(asked: dict[str, Asked]) -> Asked:
    return asked["tls"]


@pytest.fixture
def rand(asked: dict[str, Asked]) -> Asked:
    return asked["random"]


@pytest.mark.parametrize(
    ("inputs", "kind", "size", "header"),
    [
        ({"algorithm": "RSA"}, rsa.RSAPrivateKey, 2048, "RSA PRIVATE KEY"),
        ({"algorithm": "RSA", "rsaBits": 3072}, rsa.RSAPrivateKey, 3072, "RSA PRIVATE KEY"),
        ({"algorithm": "ECDSA"}, ec.EllipticCurvePrivateKey, 224, "EC PRIVATE KEY"),
        ({"algorithm": "ECDSA", "ecdsaCurve": "P256"}, ec.EllipticCurvePrivateKey, 256, "EC PRIVATE KEY"),
        ({"algorithm": "ECDSA", "ecdsaCurve": "P384"}, ec.EllipticCurvePrivateKey, 384, "EC PRIVATE KEY"),
        ({"algorithm": "ECDSA", "ecdsaCurve": "P521"}, ec.EllipticCurvePrivateKey, 521, "EC PRIVATE KEY"),
        ({"algorithm": "ED25519"}, ed25519.Ed25519PrivateKey, None, "PRIVATE KEY"),
    ],
)
def test_a_private_key_is_one_key_in_all_its_forms(
    tls: Asked, inputs: dict[str, Any], kind: type[Any], size: int | None, header: str
) -> None:
    state = tls.create("PrivateKey", **inputs)
    key = serialization.load_pem_private_key(state["privateKeyPem"].encode(), None)
    assert isinstance(key, kind)
    assert state["privateKeyPem"].startswith(f"-----BEGIN {header}-----\n")
    assert getattr(key, "key_size", None) == size
    public = serialization.load_pem_public_key(state["publicKeyPem"].encode())
    assert key.public_key() == public
    pkcs8 = serialization.load_pem_private_key(state["privateKeyPemPkcs8"].encode(), None)
    assert pkcs8.public_key() == public
    if size == 224:
        assert state["privateKeyOpenssh"] == state["publicKeyOpenssh"] == state["publicKeyFingerprintMd5"] == ""
        return
    openssh = serialization.load_ssh_private_key(state["privateKeyOpenssh"].encode(), None)
    assert openssh.public_key() == public
    assert state["publicKeyOpenssh"].endswith("\n")
    blob = base64.b64decode(state["publicKeyOpenssh"].split()[1])
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    assert state["publicKeyFingerprintSha256"] == f"SHA256:{fingerprint}"


def authority(tls: Asked, **settings: Any) -> dict[str, Any]:
    key = tls.create("PrivateKey", algorithm="ECDSA", ecdsaCurve="P384")
    return tls.create(
        "SelfSignedCert",
        privateKeyPem=key["privateKeyPem"],
        isCaCertificate=True,
        allowedUses=["cert_signing", "crl_signing"],
        validityPeriodHours=1000,
        subject={"commonName": "Authority", "organization": "Test"},
        **settings,
    )


def certificate_inputs(tls: Asked, **settings: Any) -> dict[str, Any]:
    ca = authority(tls)
    key = tls.create("PrivateKey", algorithm="ED25519")
    request = tls.create(
        "CertRequest",
        privateKeyPem=key["privateKeyPem"],
        dnsNames=["a.example", "b.example"],
        ipAddresses=["192.0.2.1", "2001:db8::1"],
        uris=["https://a.example/"],
        subject={"commonName": "a.example", "organizationalUnit": "unit"},
    )
    return {
        "caCertPem": ca["certPem"],
        "caPrivateKeyPem": ca["privateKeyPem"],
        "certRequestPem": request["certRequestPem"],
        "allowedUses": ["digital_signature", "server_auth"],
        "validityPeriodHours": 100,
        **settings,
    }


def test_a_locally_signed_certificate_verifies_against_its_authority(tls: Asked) -> None:
    inputs = certificate_inputs(tls)
    state = tls.create("LocallySignedCert", **inputs)
    certificate = x509.load_pem_x509_certificate(state["certPem"].encode())
    ca = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
    certificate.verify_directly_issued_by(ca)
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "a.example"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example", "b.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert issuer == own
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(hours=100)
    assert state["caKeyAlgorithm"] == "ECDSA"
    assert state["readyForRenewal"] is False


def test_a_self_signed_authority_may_sign_and_limits_its_path(tls: Asked) -> None:
    ca = x509.load_pem_x509_certificate(authority(tls, maxPathLength=1)["certPem"].encode())
    ca.verify_directly_issued_by(ca)
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 1)
    assert ca.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_an_unchanged_certificate_is_not_renewed_before_its_time(tls: Asked) -> None:
    inputs = certificate_inputs(tls, earlyRenewalHours=99)
    state = tls.create("LocallySignedCert", **inputs)
    assert tls.diff("LocallySignedCert", state, **inputs)["changes"] == "DIFF_NONE"


def test_a_certificate_that_is_due_is_replaced_without_a_change_in_the_program(tls: Asked) -> None:
    inputs = certificate_inputs(tls, earlyRenewalHours=10)
    state = tls.create("LocallySignedCert", **inputs)
    state["validityEndTime"] = (datetime.now(UTC) + timedelta(hours=9)).isoformat()
    answer = tls.diff("LocallySignedCert", state, **inputs)
    assert answer["replaces"] == ["readyForRenewal"]
    assert tls.read("LocallySignedCert", state)["readyForRenewal"] is True


def test_longer_early_renewal_alone_changes_a_certificate_in_place(tls: Asked) -> None:
    inputs = certificate_inputs(tls, earlyRenewalHours=1)
    state = tls.create("LocallySignedCert", **inputs)
    answer = tls.diff("LocallySignedCert", state, **{**inputs, "earlyRenewalHours": 2})
    assert answer["diffs"] == ["earlyRenewalHours"]
    assert "replaces" not in answer


def test_a_broken_key_is_reported_without_being_shown(tls: Asked) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        tls.create("CertRequest", privateKeyPem="not-a-key-but-secret")
    assert "Failed to parse private key PEM" in failure.value.details()
    assert "not-a-key-but-secret" not in failure.value.details()


def test_a_password_keeps_to_its_minima_and_matches_its_hash(rand: Asked) -> None:
    state = rand.create("RandomPassword", length=12, minNumeric=3, minUpper=4, minSpecial=2, overrideSpecial="_")
    password = state["result"]
    assert len(password) == 12
    assert sum(letter.isdigit() for letter in password) >= 3
    assert sum(letter.isupper() for letter in password) >= 4
    assert password.count("_") >= 2
    assert bcrypt.checkpw(password.encode(), state["bcryptHash"].encode())
    assert state["id"] == "none"


def test_a_text_has_only_the_kinds_of_characters_that_are_allowed(rand: Asked) -> None:
    state = rand.create("RandomString", length=200, special=False, upper=False, number=False)
    assert state["result"].islower()
    assert state["result"].isalpha()
    assert state["numeric"] is False


def test_two_random_values_differ(rand: Asked) -> None:
    first, second = (rand.create("RandomPassword", length=20) for _ in range(2))
    assert first["result"] != second["result"]


def test_an_identifier_is_the_same_bytes_in_all_its_forms(rand: Asked) -> None:
    state = rand.create("RandomId", byteLength=5, prefix="p-")
    raw = bytes.fromhex(state["hex"].removeprefix("p-"))
    assert len(raw) == 5
    assert state["b64Std"] == "p-" + base64.b64encode(raw).decode()
    assert state["b64Url"] == "p-" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert state["dec"] == f"p-{int.from_bytes(raw)}"


def test_secret_bytes_do_not_show_in_their_id(rand: Asked) -> None:
    state = rand.create("RandomBytes", length=32)
    assert len(base64.b64decode(state["base64"])) == 32
    assert bytes.fromhex(state["hex"]) == base64.b64decode(state["base64"])
    assert state["base64"] not in state["id"]


def test_an_integer_stays_in_its_range_and_a_uuid_is_one(rand: Asked) -> None:
    assert {rand.create("RandomInteger", min=3, max=4)["result"] for _ in range(40)} == {3, 4}
    assert len(rand.create("RandomUuid")["result"]) == 36


def test_a_changed_keeper_replaces_a_password_and_nothing_else_does(rand: Asked) -> None:
    state = rand.create("RandomPassword", length=9, keepers={"round": "1"})
    assert rand.diff("RandomPassword", state, length=9, keepers={"round": "1"})["changes"] == "DIFF_NONE"
    answer = rand.diff("RandomPassword", state, length=9, keepers={"round": "2"})
    assert answer["replaces"] == ["keepers"]
    assert answer["detailedDiff"] == {"keepers.round": {"kind": "UPDATE_REPLACE"}}


def test_what_is_secret_is_marked_for_an_engine_that_understands_the_mark(asked: dict[str, Asked]) -> None:
    server, port = start(load("random"))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        marked = Asked("random", provider_pb2_grpc.ResourceProviderStub(channel))
        marked.stub.Configure(provider_pb2.ConfigureRequest(acceptSecrets=True))
        state = marked.create("RandomPassword", length=9)
    server.stop(grace=None).wait()
    assert SECRET_MARK in state["result"]
    assert SECRET_MARK in state["bcryptHash"]
    assert state["length"] == 9


def test_an_input_that_the_lab_lacks_is_refused_by_name_and_never_by_value(asked: dict[str, Asked]) -> None:
    answer = asked["docker"].check("Container", name="x", image="y", devices=[{"hostPath": "/dev/secret"}])
    (failure,) = answer["failures"]
    assert failure == {
        "reason": "the lab's docker plug-in does not implement the input 'devices' of docker:index/container:Container: "
        "leave it out or use the genuine plug-in"
    }


def test_all_mistakes_in_the_inputs_are_reported_together(asked: dict[str, Asked]) -> None:
    answer = asked["docker"].check(
        "Container", name="x", restart="never", memory="64", healthcheck={"interval": "1 s"}, nonsense=1
    )
    reasons = " ".join(failure["reason"] for failure in answer["failures"])
    for part in ("'restart' must be one of no,", "'memory' must be a whole number", "10s or 1m30s", "'nonsense'", "'image'"):
        assert part in reasons


def test_a_resource_type_that_the_lab_lacks_is_refused_in_one_sentence(asked: dict[str, Asked]) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        asked["docker"].check("Service", name="x")
    assert failure.value.details() == (
        "the lab's docker plug-in does not implement the resource type docker:index/service:Service; "
        "implemented are Container, Network, RemoteImage, Volume"
    )


@pytest.mark.parametrize("setting", ["sshOpts", "certPath", "context"])
def test_a_provider_setting_that_the_lab_lacks_is_refused(asked: dict[str, Asked], setting: str) -> None:
    request = provider_pb2.CheckRequest(news=struct({setting: "s3cret", "host": "unix:///x"}))
    (failure,) = asked["docker"].stub.CheckConfig(request).failures
    assert f"does not implement the provider setting '{setting}'" in failure.reason
    assert "s3cret" not in failure.reason + failure.property


def test_a_call_to_a_function_is_refused(asked: dict[str, Asked]) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        asked["docker"].stub.Invoke(provider_pb2.InvokeRequest(tok="docker:index/getNetwork:getNetwork"))
    assert failure.value.details() == ("the lab's docker plug-in does not implement Invoke (docker:index/getNetwork:getNetwork)")


def test_a_name_that_is_not_given_is_made_and_then_kept(asked: dict[str, Asked]) -> None:
    first = asked["docker"].check("Network")["inputs"]
    assert first["name"].startswith("one-")
    assert first["__defaults"] == ["ipamDriver", "name"]
    assert asked["docker"].check("Network", olds=first)["inputs"]["name"] == first["name"]


def test_an_engine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    server, port = start(type(load("docker"))())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        unreachable = Asked("docker", provider_pb2_grpc.ResourceProviderStub(channel))
        with pytest.raises(grpc.RpcError) as failure:
            unreachable.create("Network", name="x")
    server.stop(grace=None).wait()
    assert "Cannot connect to the Docker daemon at tcp://127.0.0.1:1" in failure.value.details()


@pytest.fixture
def api() -> Iterator[docker.APIClient]:
    client = docker.APIClient(version="auto", base_url=os.environ.get("DOCKER_HOST"))
    yield client
    client.close()


@pytest.fixture
def name(api: docker.APIClient) -> Iterator[str]:
    """A name for what a test makes; whatever carries it afterwards is removed."""
    own = f"lacking-{os.getpid()}"
    yield own
    for remove in (
        lambda: api.remove_container(own, force=True),
        lambda: api.remove_volume(own, force=True),
        lambda: api.remove_image(f"{own}:tiny", force=True),
    ):
        with suppress(docker.errors.NotFound):
            remove()


def test_an_existing_volume_is_adopted_as_it_is(asked: dict[str, Asked], api: docker.APIClient, name: str) -> None:
    api.create_volume(name, labels={"owner": "somebody"})
    inputs = {"name": name, "labels": [{"label": "owner", "value": "us"}]}
    state = asked["docker"].create("Volume", **inputs)
    assert api.inspect_volume(name)["Labels"] == {"owner": "somebody"}
    assert state["labels"] == inputs["labels"]
    refreshed = {**asked["docker"].read("Volume", state), "id": name}
    assert asked["docker"].diff("Volume", refreshed, **inputs)["replaces"] == ["labels"]
    asked["docker"].delete("Volume", state)
    with pytest.raises(docker.errors.NotFound):
        api.inspect_volume(name)


@pytest.fixture
def image(api: docker.APIClient) -> Iterator[str]:
    """An image with nothing in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    repository = f"empty-{os.getpid()}"
    api.import_image_from_data(buffer.getvalue(), repository=repository, tag="image")
    yield f"{repository}:image"
    api.remove_image(f"{repository}:image")


def test_an_environment_entry_that_the_engine_rejects_is_not_shown(asked: dict[str, Asked], image: str) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        asked["docker"].create("Container", name="x", image=image, command=["/x"], envs=["A=b", "=topsecret"])
    assert "invalid environment variable" in failure.value.details()
    assert "topsecret" not in failure.value.details()


def test_a_container_with_a_name_of_its_own_making_is_removed_before_its_replacement_too(asked: dict[str, Asked]) -> None:
    inputs = asked["docker"].check("Container", image="a")["inputs"]
    request = provider_pb2.DiffRequest(
        urn=asked["docker"].urn("Container"), olds=struct(inputs), news=struct({**inputs, "image": "b"})
    )
    assert asked["docker"].stub.Diff(request).deleteBeforeReplace


def test_memory_without_swap_shows_for_ever_what_the_engine_made_of_it(asked: dict[str, Asked]) -> None:
    inputs = {"name": "x", "image": "a", "memory": 64}
    state = {**asked["docker"].check("Container", **inputs)["inputs"], "memorySwap": 128, "id": "x"}
    answer = asked["docker"].diff("Container", state, **inputs)
    assert answer["detailedDiff"]["memorySwap"] == {"kind": "DELETE"}


def test_a_cancelled_wait_ends_at_once_and_leaves_the_container_to_the_engine(api: docker.APIClient, name: str) -> None:
    image = tiny_image(api, name)
    plugin = type(load("docker"))()
    server, port = start(plugin)
    threading.Timer(2, plugin.cancel).start()
    began = time.monotonic()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        cancelled = Asked("docker", provider_pb2_grpc.ResourceProviderStub(channel))
        with pytest.raises(grpc.RpcError) as failure:
            cancelled.create(
                "Container",
                name=name,
                image=image,
                command=["sleep", "60"],
                wait=True,
                healthcheck={"tests": ["CMD", "false"], "interval": "1s"},
            )
    took = time.monotonic() - began
    server.stop(grace=None).wait()
    plugin.close()
    left = unfinished_resource(failure.value)
    assert "the work was cancelled" in failure.value.details()
    assert left is not None
    assert left["properties"]["name"] == name
    assert took < 30


def test_uploads_arrive_on_a_mounted_volume_with_their_permissions(
    asked: dict[str, Asked], api: docker.APIClient, image: str, name: str
) -> None:
    state = asked["docker"].create(
        "Container",
        name=name,
        image=image,
        command=["/none"],
        start=False,
        mustRun=False,
        volumes=[{"containerPath": "/data", "volumeName": name}],
        uploads=[
            {"file": "/data/deep/key", "content": "words", "permissions": "0600"},
            {"file": "/data/run", "contentBase64": base64.b64encode(b"\x00\xff").decode(), "executable": True},
        ],
    )
    stream, _ = api.get_archive(name, "/data")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        found = {
            entry.name: (entry.mode & 0o777, archive.extractfile(entry).read())  # type: ignore[union-attr]
            for entry in archive
            if entry.isfile()
        }
    asked["docker"].delete("Container", state)
    assert found == {"data/deep/key": (0o600, b"words"), "data/run": (0o744, b"\x00\xff")}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("1m", "1m0s"), ("90s", "1m30s"), ("1.5s", "1.5s"), ("500ms", "500ms"), ("0s", "0s"), ("2h", "2h0m0s")],
)
def test_a_duration_is_written_as_the_engine_writes_it(text: str, canonical: str) -> None:
    assert durations.written(durations.nanoseconds(text)) == canonical


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_plugin_process_tells_its_port_and_ends_at_once_when_asked_to(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "lab.plugins.launch", "docker", "127.0.0.1:1"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    started = time.monotonic()
    process.send_signal(number)
    _, words = process.communicate(timeout=10)
    assert process.returncode == 0
    assert words == ""
    # The engine waits for five seconds.
    assert time.monotonic() - started < 5


def test_a_plugin_process_starts_without_the_docker_library_and_the_sdk() -> None:
    code = (
        "import sys; from lab.plugins.launch import leave_out_the_sdk as light; light(); "
        "from lab.plugins.serve import load; load('docker'); "
        "print([name for name in ('docker', 'pulumi.resource', 'cryptography', 'bcrypt') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_launcher_that_is_as_wanted_is_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    assert not installer.is_installed("tls")
    folder = tmp_path / "plugins" / f"resource-tls-v{installer.version('tls')}"
    folder.mkdir(parents=True)
    (folder / "pulumi-resource-tls").write_text(installer.launcher("tls"))
    assert installer.is_installed("tls")
    (folder / "pulumi-resource-tls").write_text(installer.launcher("random"))
    assert not installer.is_installed("tls")
