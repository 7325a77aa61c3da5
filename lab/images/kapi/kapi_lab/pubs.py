"""Pubs: topics that browsers subscribe to over a websocket, and that anybody with a webhook's address publishes to."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from itsdangerous import BadSignature, URLSafeSerializer
from kopano_lab.errors import Refusal

MAX_EVENT = 5 * 1024
KEY_SECONDS = 30
_BASE = "/api/pubs/v1"


class Pubs:
    """All topics; they live in memory, as with kapi."""

    def __init__(self, key_file: Path | None) -> None:
        self._signer = URLSafeSerializer(_secret(key_file), salt="pubs-webhook")
        self._keys: dict[str, float] = {}
        self._topics: dict[str, set[web.WebSocketResponse]] = {}

    def add_routes(self, router: web.UrlDispatcher, allowed: Callable[[Any], Any]) -> None:
        """The routes; `allowed` wraps those that need a token."""
        router.add_post(f"{_BASE}/webhook", allowed(self._register))
        router.add_post(f"{_BASE}/webhook/{{id}}/{{token}}", self._publish)
        router.add_post(f"{_BASE}/webhook/{{id}}/{{token}}/{{envelope}}", self._publish)
        router.add_get(f"{_BASE}/stream/connect", allowed(self._connect))
        router.add_get(f"{_BASE}/stream/websocket/{{key}}", self._stream)

    async def _register(self, request: web.Request) -> web.Response:
        topic = request.query.get("topic") or secrets.token_urlsafe(24)
        identifier = secrets.token_urlsafe(24)
        token = self._signer.dumps([identifier, topic])
        return web.json_response({"id": identifier, "topic": topic, "pubUrl": f"{_BASE}/webhook/{identifier}/{token}"})

    async def _publish(self, request: web.Request) -> web.Response:
        try:
            identifier, topic = self._signer.loads(request.match_info["token"])
        except BadSignature:
            return web.Response(status=422)
        if identifier != request.match_info["id"]:
            return web.Response(status=422)
        if shown := request.query.get("validationToken"):
            return web.Response(text=shown)
        body = await request.content.read(MAX_EVENT + 1)
        if len(body) > MAX_EVENT:
            raise web.HTTPRequestEntityTooLarge(MAX_EVENT, len(body))
        try:
            data = json.loads(body)
        except ValueError as problem:
            raise web.HTTPBadRequest(text="the body must be JSON\n") from problem
        if envelope := request.match_info.get("envelope"):
            data = {"type": envelope, "data": data}
        await self._send([topic], data, identifier)
        return web.Response(status=204)

    async def _connect(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        self._keys = {key: until for key, until in self._keys.items() if until > now}
        key = secrets.token_urlsafe(24)
        self._keys[key] = now + KEY_SECONDS
        return web.json_response({"streamUrl": f"{_BASE}/stream/websocket/{key}"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        # The address is good once: it stands for the token that fetched it.
        if self._keys.pop(request.match_info["key"], 0) < time.monotonic():
            return web.Response(status=404)
        stream = web.WebSocketResponse(heartbeat=50, max_msg_size=64 * 1024)
        await stream.prepare(request)
        reference = secrets.token_urlsafe(24)
        await stream.send_json({"type": "hello", "info": {"ref": reference}})
        try:
            async for message in stream:
                if message.type is not WSMsgType.TEXT or not await self._taken(stream, reference, message.data):
                    break
        finally:
            for topic in list(self._topics):
                self._leave(topic, stream)
        return stream

    async def _taken(self, stream: web.WebSocketResponse, reference: str, text: str) -> bool:
        """One message of a browser; False ends the stream."""
        try:
            message = json.loads(text)
            kind, info = message["type"], message.get("info") or message.get("data") or {}
            topics = [str(topic) for topic in info.get("topics", [])]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        if kind == "sub":
            for topic in topics:
                self._topics.setdefault(topic, set()).add(stream)
        elif kind == "unsub":
            for topic in topics:
                self._leave(topic, stream)
        elif kind == "closeTopic":
            for topic in topics:
                self._topics.pop(topic, None)
        elif kind == "pub":
            await self._send(topics, message.get("data"), reference)
        else:
            return False
        if state := message.get("state"):
            await stream.send_json({"type": "ack", "state": state})
        return True

    async def _send(self, topics: list[str], data: Any, reference: str) -> None:
        for topic in topics:
            event = {"type": "event", "data": data, "info": {"ref": reference, "topics": [topic]}}
            for stream in list(self._topics.get(topic, ())):
                try:
                    await stream.send_json(event)
                except ConnectionError:
                    self._leave(topic, stream)

    def _leave(self, topic: str, stream: web.WebSocketResponse) -> None:
        streams = self._topics.get(topic, set())
        streams.discard(stream)
        if not streams:
            self._topics.pop(topic, None)


def _secret(path: Path | None) -> bytes:
    if not path:
        # Addresses of webhooks then end with this process, as with kapi.
        return secrets.token_bytes(64)
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as problem:
        raise Refusal(
            f"DEFAULT_PLUGIN_PUBS_SECRET_KEY_FILE names {path}, which cannot be read: {problem.strerror}.", 64
        ) from problem
    except ValueError as problem:
        raise Refusal(
            f"DEFAULT_PLUGIN_PUBS_SECRET_KEY_FILE names {path}, which must have hexadecimal digits only.", 64
        ) from problem
    if len(key) < 32:
        raise Refusal(f"DEFAULT_PLUGIN_PUBS_SECRET_KEY_FILE names {path}, which is too short: give 64 random bytes in hex.", 64)
    return key
