"""The whole program under Pulumi's mocks: what it registers, without an engine."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import gc
import json
import os
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import yaml
from google.protobuf import json_format
from pulumi.runtime import mocks
from pulumi.runtime.settings import SETTINGS

from tools.places import ROOT, stack_file


@dataclass
class Registered:
    """A resource as the program registered it. Inputs and outputs that are secret are wrapped as the engine would see them."""

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    options: Any
    urn: str
    answer: Any

    @property
    def outputs(self) -> dict[str, Any]:
        """What the plug-in answered."""
        return _structure(self.answer.object)


SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"  # noqa: S105
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105


def is_secret(value: Any) -> bool:
    """Whether a serialised value is a secret itself."""
    return isinstance(value, dict) and value.get(SECRET_SIGNATURE) == SECRET


def plain(value: Any) -> Any:
    """The value with all secrets opened."""
    if is_secret(value):
        return plain(value["value"])
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def visible(value: Any) -> Any:
    """The value with all secrets cut out: what a preview may show."""
    if is_secret(value):
        return "[secret]"
    if isinstance(value, dict):
        return {key: visible(inner) for key, inner in value.items()}
    return [visible(inner) for inner in value] if isinstance(value, list) else value


@dataclass
class Graph:
    """What a run of the program registered."""

    resources: list[Registered] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of_type(self, token: str) -> list[Registered]:
        """The resources of a type, such as docker:index/network:Network."""
        return [resource for resource in self.resources if resource.type == token]

    def containers(self) -> dict[str, Registered]:
        """Block -> its container."""
        return {
            next(label["value"] for label in plain(box.inputs["labels"]) if label["label"] == "kopano.block"): box
            for box in self.of_type("docker:index/container:Container")
        }


PLANTED = "planted-secret"
"""Begins every secret that the mocks hand out, so that tests can look for it."""


class _RecordingMonitor(mocks.MockMonitor):
    """Pulumi's mock monitor, which also keeps what the engine would be asked for: options and secrets included."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(_Outputs())
        self.graph = graph

    def RegisterResource(self, request: Any) -> Any:
        # Called on a worker thread, where Pulumi's mock would make an event loop and leave it open.
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        inputs = _structure(request.object)
        self.graph.resources.append(Registered(request.type, request.name, inputs, request.parent, request, answer.urn, answer))
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if "pulumi:pulumi:Stack" in request.urn:
            self.graph.outputs = _structure(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def _structure(message: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message))


class _Outputs(mocks.Mocks):
    """Outputs as the plug-ins give them, secrets marked so that they can be found again."""

    COMPUTED: Mapping[str, tuple[str, ...]] = {
        "random:index/randomPassword:RandomPassword": ("result",),
        "random:index/randomBytes:RandomBytes": ("base64", "hex"),
        "tls:index/privateKey:PrivateKey": ("privateKeyPem", "privateKeyPemPkcs8"),
    }
    PUBLIC: Mapping[str, tuple[str, ...]] = {
        "tls:index/privateKey:PrivateKey": ("publicKeyPem",),
        "tls:index/selfSignedCert:SelfSignedCert": ("certPem",),
        "tls:index/certRequest:CertRequest": ("certRequestPem",),
        "tls:index/locallySignedCert:LocallySignedCert": ("certPem",),
    }

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        for name in self.COMPUTED.get(args.typ, ()):
            outputs[name] = {SECRET_SIGNATURE: SECRET, "value": f"{PLANTED}-{args.name}-{name}"}
        if args.typ == "docker:index/network:Network":
            outputs.setdefault("ipamConfigs", [{"gateway": "172.30.0.1", "subnet": "172.30.0.0/16"}])
        if args.typ == "tls:index/privateKey:PrivateKey" and args.name.startswith("ssl-meet-key"):
            # Its numbers are read: 138 bytes as an elliptic key has them.
            outputs["privateKeyPem"] = {SECRET_SIGNATURE: SECRET, "value": base64.b64encode(f"{PLANTED:-<138}".encode()).decode()}
        for name in self.PUBLIC.get(args.typ, ()):
            outputs[name] = f"{args.name}-{name}"
        if args.typ == "docker:index/remoteImage:RemoteImage":
            outputs["imageId"] = f"sha256:{args.name}"
        return f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(f"the program calls {args.token}, which no test expects")


def settings_of(stack_name: str) -> dict[str, Any]:
    """The settings in a stack file of the repository."""
    content: dict[str, Any] = yaml.safe_load(stack_file(stack_name).read_text(encoding="utf-8"))
    return dict(content.get("config") or {})


Run = Callable[..., Graph]


def run(stack_name: str, values: Mapping[str, Any], secret: Sequence[str] = ()) -> Graph:
    """The graph of the program in stack `stack_name` with the settings `values`, those named in `secret` as secrets."""
    config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    graph = Graph()
    try:
        # Pulumi keeps the stack under way in context variables: in a context of its own, no run sees another.
        contextvars.copy_context().run(_run_into, graph, stack_name, config, list(secret))
    finally:
        gc.enable()  # the program, whose process ends with it elsewhere, switches the collector off
    return graph


def _run_into(graph: Graph, stack_name: str, config: dict[str, str], secret: list[str]) -> None:
    async def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
        # Pulumi waits for its outputs in a loop that looks at all of them whenever one is ready: half the time of a run.
        while pending := list(SETTINGS.outputs):
            await asyncio.wait(pending)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        monitor = _RecordingMonitor(graph)
        features = set(monitor.GetDeploymentInfo(None).supportedFeatures)  # type: ignore[no-untyped-call]
        pulumi.runtime.configure(
            mocks.MockSettings(  # type: ignore[no-untyped-call]
                monitor=monitor,
                monitor_features=features,
                engine=mocks.MockEngine(None),
                project="kopano",
                stack=stack_name,
                dry_run=False,
                organization=None,
                callbacks=None,
            )
        )
        pulumi.runtime.set_all_config(config, secret)
        os.environ["PULUMI_CONFIG"] = json.dumps(config)
        loop.run_until_complete(pulumi.runtime.run_in_stack(program))
    finally:
        os.environ.pop("PULUMI_CONFIG", None)
        asyncio.set_event_loop(None)
        loop.close()
