"""The server that a plug-in process runs; lab.plugins.launch starts it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import wraps
from importlib import import_module, metadata
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from lab.plugins.bookkeeping import with_notes, with_preview_notes
from lab.plugins.checking import Naming, check
from lab.plugins.difference import difference
from lab.plugins.planning import explicit, has_unknown, plan_create, plan_update, settled, unfinished
from lab.plugins.refreshing import refreshed_inputs
from lab.plugins.resource import Plugin, Refusal, ResourceError, ResourceType
from lab.plugins.schema import UNKNOWN, Properties, ResourceSchema
from lab.plugins.wire import Unsupported, decode, encode

PLUGINS = {
    "docker": "lab.plugins.docker_plugin",
    "tls": "lab.plugins.tls_plugin",
    "random": "lab.plugins.random_plugin",
}

# A container that is waited for holds a thread; the engine may be told to run many operations at a time.
_THREADS = 128
_NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def load(name: str) -> Plugin:
    """The plug-in of that name."""
    plugin: Plugin = import_module(PLUGINS[name]).PLUGIN
    return plugin


class _Answered(Exception):
    """The failure of a call has been told to the engine."""


class _Status(grpc.Status):
    """An answer that reports a failure, with details for the engine."""

    def __init__(self, message: str, detail: provider_pb2.ErrorResourceInitFailed) -> None:
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message)
        status.details.add().Pack(detail)
        self.code = grpc.StatusCode.UNKNOWN
        self.details = message
        self.trailing_metadata = (("grpc-status-details-bin", status.SerializeToString()),)


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn whatever goes wrong into one text for the user; values never take part, they may be secret."""

    @wraps(method)
    def guarded(self: Server, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except (Refusal, Unsupported) as refusal:
            self.fail(context, f"the lab's {self.plugin.name} plug-in does not implement {refusal}")
        except ResourceError as error:
            self.fail(context, self.plugin.error_form.format(error))
        except _Answered:
            raise
        except Exception as error:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
            self.fail(
                context,
                f"the lab's {self.plugin.name} plug-in has a fault: {type(error).__name__} at {place} in {method.__name__}",
            )

    return guarded


class Server(provider_pb2_grpc.ResourceProviderServicer):
    """Answers the engine for one plug-in."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._version = metadata.version(f"pulumi-{plugin.name}")
        self._secrets_accepted = False

    def fail(self, context: grpc.ServicerContext, message: str) -> NoReturn:
        """End the call with a failure."""
        # Aborting raises an exception that cannot be told from any other.
        with suppress(Exception):
            context.abort(grpc.StatusCode.UNKNOWN, message)
        raise _Answered

    def _resource(self, urn: str) -> ResourceType:
        token = urn.split("::")[2].rsplit("$", 1)[-1]
        resource = self.plugin.resources.get(token)
        if resource is None:
            known = ", ".join(sorted(name.rsplit(":", 1)[-1] for name in self.plugin.resources))
            raise Refusal(f"the resource type {token}; implemented are {known}")
        return resource

    def _encode(self, schema: ResourceSchema, properties: Properties) -> Any:
        sensitive = frozenset(name for name, fld in schema.fields.items() if fld.sensitive)
        return encode(properties, sensitive if self._secrets_accepted else frozenset())

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refused in the genuine plug-in's words; the engine then uses the older calls."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, self.plugin.handshake_refusal)

    @_guarded
    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The version for which this plug-in stands in."""
        return plugin_pb2.PluginInfo(version=self._version)

    @_guarded
    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Check the provider's configuration."""
        failures = self.plugin.check_config(decode(request.news))
        return provider_pb2.CheckResponse(inputs=request.news, failures=_check_failures(failures))

    @_guarded
    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A change of the configuration never asks for a new provider."""
        return provider_pb2.DiffResponse()

    @_guarded
    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Take over the provider's configuration."""
        self._secrets_accepted = request.acceptSecrets
        self.plugin.configure(decode(request.args))
        return provider_pb2.ConfigureResponse(
            acceptResources=self.plugin.accepts_resources, supportsPreview=True, supports_autonaming_configuration=True
        )

    @_guarded
    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Check a resource's inputs and fill in defaults."""
        resource = self._resource(request.urn)
        naming = Naming(request.urn.rsplit("::", 1)[-1], request.randomSeed)
        if request.HasField("autonaming"):
            disabled = request.autonaming.mode == provider_pb2.CheckRequest.AutonamingOptions.DISABLE
            naming = Naming(naming.resource_name, naming.seed, request.autonaming.proposed_name, disabled)
        checked = check(self.plugin.name, resource.schema, decode(request.olds), decode(request.news), naming)
        failures = checked.failures or resource.check(checked.inputs)
        return provider_pb2.CheckResponse(
            inputs=self._encode(resource.schema, checked.inputs), failures=_check_failures(failures)
        )

    @_guarded
    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tell what the new inputs change."""
        resource = self._resource(request.urn)
        prior, inputs = decode(request.olds), decode(request.news)
        planned = plan_update(resource.schema, prior, inputs, _ignored(request.ignoreChanges))
        resource.complete_plan(planned, inputs)
        found = difference(resource.schema, prior, planned, inputs)
        resource.complete_difference(planned, found)
        kinds = provider_pb2.PropertyDiff.Kind
        changes = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(
            changes=changes.DIFF_SOME if found.detailed else changes.DIFF_NONE,
            diffs=found.changed,
            replaces=found.replaces,
            stables=found.stables,
            deleteBeforeReplace=found.delete_before_replace,
            detailedDiff={path: provider_pb2.PropertyDiff(kind=kinds.Value(kind)) for path, kind in found.detailed.items()},
            hasDetailedDiff=True,
        )

    @_guarded
    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Make a resource, or tell what it would look like."""
        resource = self._resource(request.urn)
        schema = resource.schema
        inputs = decode(request.properties)
        planned = plan_create(schema, inputs)
        resource.complete_plan(planned, inputs)
        if request.preview:
            preview = {**with_preview_notes(schema, planned), "id": UNKNOWN}
            return provider_pb2.CreateResponse(properties=self._encode(schema, preview))
        try:
            resource_id, actual = resource.create(planned)
        except ResourceError as error:
            if error.resource_id is None:
                raise
            state = {**with_notes(schema, unfinished(schema, planned), was_read=False), "id": error.resource_id}
            self._abort_unfinished(context, f"creating {request.urn}: ", error, error.resource_id, schema, state)
        state = with_notes(schema, settled(schema, planned, actual), was_read=False)
        return provider_pb2.CreateResponse(id=resource_id, properties=self._encode(schema, {**state, "id": resource_id}))

    def _abort_unfinished(
        self,
        context: grpc.ServicerContext,
        doing: str,
        error: ResourceError,
        resource_id: str,
        schema: ResourceSchema,
        state: Properties,
    ) -> NoReturn:
        message = doing + self.plugin.error_form.format(error)
        detail = provider_pb2.ErrorResourceInitFailed(id=resource_id, properties=self._encode(schema, state), reasons=[message])
        with suppress(Exception):
            context.abort_with_status(_Status(message, detail))
        raise _Answered

    @_guarded
    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tell what a resource looks like now."""
        resource = self._resource(request.urn)
        schema = resource.schema
        state = decode(request.properties)
        if not state:
            raise Refusal(f"importing or looking up an existing {schema.token}")
        found = resource.read(request.id, _own(schema, state))
        if found is None:
            return provider_pb2.ReadResponse()
        # An image's id changes when its name comes to mean another image.
        resource_id = str(found.get("id", request.id))
        found = explicit(schema, found)
        properties = {**with_notes(schema, found, was_read=True), "id": resource_id}
        inputs = refreshed_inputs(schema, decode(request.inputs), properties)
        return provider_pb2.ReadResponse(
            id=resource_id, properties=self._encode(schema, properties), inputs=self._encode(schema, inputs)
        )

    @_guarded
    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Change a resource in place."""
        resource = self._resource(request.urn)
        schema = resource.schema
        prior, inputs = decode(request.olds), decode(request.news)
        planned = plan_update(schema, prior, inputs, _ignored(request.ignoreChanges))
        resource.complete_plan(planned, inputs)
        if not (request.preview or has_unknown(planned)):
            try:
                resource.update(request.id, prior, planned)
            except ResourceError as error:
                state = {**with_notes(schema, _own(schema, prior), was_read=False), "id": request.id}
                self._abort_unfinished(context, f"updating {request.urn}: ", error, request.id, schema, state)
        state = {**with_notes(schema, explicit(schema, planned), was_read=False), "id": request.id}
        return provider_pb2.UpdateResponse(properties=self._encode(schema, state))

    @_guarded
    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Remove a resource."""
        resource = self._resource(request.urn)
        try:
            resource.delete(request.id, decode(request.properties))
        except ResourceError as error:
            self.fail(context, f"deleting {request.urn}: " + self.plugin.error_form.format(error))
        return empty_pb2.Empty()

    @_guarded
    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """End the work under way."""
        self.plugin.cancel()
        return empty_pb2.Empty()


def _ignored(paths: Any) -> frozenset[str]:
    return frozenset(path for path in paths if "." not in path and "[" not in path)


def _own(schema: ResourceSchema, state: Properties) -> Properties:
    return {name: state.get(name) for name in schema.fields}


def _check_failures(failures: list[tuple[str, str]]) -> list[Any]:
    # The engine shows the value of a property that it is given, and the value may be secret: the sentence names it.
    return [provider_pb2.CheckFailure(reason=sentence) for _, sentence in failures]


def _refuse(call: str) -> Callable[..., Any]:
    def refusal(self: Server, request: Any, context: grpc.ServicerContext) -> Any:
        what = getattr(request, "tok", "") or getattr(request, "type", "") or call
        code = grpc.StatusCode.UNKNOWN if what != call else grpc.StatusCode.UNIMPLEMENTED
        context.abort(code, f"the lab's {self.plugin.name} plug-in does not implement {call} ({what})")

    return refusal


for _call in ("Parameterize", "GetSchema", "Invoke", "Call", "Construct", "Attach", "GetMapping", "GetMappings"):
    setattr(Server, _call, _refuse(_call))


def start(plugin: Plugin) -> tuple[Any, int]:
    """Start a server for the plug-in; the server and its port."""
    server = grpc.server(ThreadPoolExecutor(max_workers=_THREADS), options=_NO_LIMIT)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Server(plugin), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main(arguments: list[str]) -> int:
    """Serve until the engine ends this process or goes away itself."""
    if not arguments or arguments[0] not in PLUGINS:
        print(f"Say which plug-in to serve: {', '.join(PLUGINS)}.", file=sys.stderr)
        return 2
    plugin = load(arguments[0])
    ended = threading.Event()
    # The engine ends a plug-in with an interrupt and waits for it; while work is under way it calls Cancel instead.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    parent = os.getppid()
    server, port = start(plugin)
    print(port, flush=True)
    while not ended.wait(2) and os.getppid() == parent:
        pass
    plugin.cancel()
    server.stop(grace=2).wait()
    plugin.close()
    return 0
