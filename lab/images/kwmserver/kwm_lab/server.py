"""The addresses of the meeting server."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
import time

from aiohttp import WSMsgType, web
from kapi_lab.issuer import Bearer, Denied, Issuer, TooLittle
from kopano_lab.errors import Refusal

from kwm_lab import guests
from kwm_lab.rooms import Connection, Rooms, User
from kwm_lab.settings import Settings

PORT = 8778
PATIENCE = 360
KEY_SECONDS = 30
SCOPES = ("kopano/kwm",)
BASE = "/api/kwm/v2"


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(stream=sys.stdout, level=settings.level, format="kwmserver: [%(levelname)s] %(message)s")
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    issuer = Issuer(settings.issuer, settings.insecure)
    waiting = asyncio.create_task(issuer.wait(PATIENCE, "oidc_issuer_identifier"))
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        return
    waiting.result()
    runner = web.AppRunner(Door(settings, issuer).application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", PORT, shutdown_timeout=5).start()
    except OSError as problem:
        raise Refusal(f"port {PORT} cannot be listened on: {problem.strerror}.") from problem
    logging.info("Ready on port %d; guests: %s", PORT, "yes" if settings.guests else "no")
    await stopped.wait()
    await runner.cleanup()


class Door:
    """Lets in who has a token, and hands messages to the rooms."""

    def __init__(self, settings: Settings, issuer: Issuer) -> None:
        self._settings = settings
        self._issuer = issuer
        self._rooms = Rooms()
        self._keys: dict[str, tuple[User, float]] = {}
        self._open: set[web.WebSocketResponse] = set()

    def application(self) -> web.Application:
        """All routes."""
        app = web.Application(client_max_size=64 * 1024)
        app.on_response_prepare.append(_headers)
        app.on_shutdown.append(self._close)
        app.router.add_get("/health-check", _healthy)
        for method in ("GET", "POST"):
            app.router.add_route(method, f"{BASE}/rtm/connect", self._connect)
            app.router.add_route(method, f"{BASE}/rtm/turn", self._turn)
        app.router.add_get(f"{BASE}/rtm/websocket/{{key}}", self._websocket)
        if self._settings.guests:
            app.router.add_post(f"{BASE}/guest/logon", self._logon)
        app.router.add_route("*", f"{BASE}/admin{{path:.*}}", _no_admin)
        app.router.add_route("*", f"{BASE}/mcu{{path:.*}}", _no_bridge)
        return app

    async def _user(self, request: web.Request) -> User:
        try:
            bearer = await self._issuer.bearer(request.headers.get("Authorization", ""), SCOPES)
        except (Denied, TooLittle) as problem:
            logging.info("%s: denied: %s", request.path, problem)
            raise web.HTTPForbidden(text="auth failed\n") from problem
        form = {**request.query, **(await request.post())}
        mode = str(form.get("auth", ""))
        if mode not in ("", "0", "1"):
            raise web.HTTPForbidden(text="auth failed\n")
        # In mode 1 a user is known by the log-in name, by which the groupware API knows users too.
        identifier = bearer.username if mode == "1" and bearer.username else bearer.subject
        if form.get("user", identifier) not in (identifier, bearer.subject):
            raise web.HTTPForbidden(text="user does not match auth\n")
        if bearer.guest:
            return self._guest(bearer, identifier, mode)
        return User(identifier, bearer.name, mode)

    def _guest(self, bearer: Bearer, identifier: str, mode: str) -> User:
        room = guests.room(bearer.claims)
        if not self._settings.guests or not room:
            raise web.HTTPForbidden(text="auth failed\n")
        return User(identifier, bearer.name, mode, room, self._settings.guest_only_channels)

    async def _connect(self, request: web.Request) -> web.Response:
        user = await self._user(request)
        now = time.monotonic()
        self._keys = {key: entry for key, entry in self._keys.items() if entry[1] > now}
        answer = {"ok": True, "self": {"id": user.id, "name": user.name, "auth": user.auth}}
        if self._settings.turn:
            config = await self._settings.turn.config(user.id)
            if not config:
                raise web.HTTPServiceUnavailable(text="TURN config failed\n")
            answer["turn"] = config
        key = secrets.token_urlsafe(24)
        self._keys[key] = (user, now + KEY_SECONDS)
        return web.json_response(answer | {"url": f"{BASE}/rtm/websocket/{key}"})

    async def _turn(self, request: web.Request) -> web.Response:
        user = await self._user(request)
        config = await self._settings.turn.config(user.id) if self._settings.turn else None
        if not config:
            raise web.HTTPNotFound
        return web.json_response({"ok": True, "turn": config})

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        # The address is good once: it stands for the token that fetched it.
        user, until = self._keys.pop(request.match_info["key"], (None, 0.0))
        if not user or until < time.monotonic():
            raise web.HTTPNotFound
        socket = web.WebSocketResponse(heartbeat=50, max_msg_size=1024 * 1024)
        await socket.prepare(request)
        connection = Connection(user, socket)
        self._open.add(socket)
        try:
            await self._rooms.enter(connection)
            async for message in socket:
                if message.type is not WSMsgType.TEXT or not await self._rooms.handle(connection, message.data):
                    break
        finally:
            self._open.discard(socket)
            await self._rooms.leave(connection)
        return socket

    async def _logon(self, request: web.Request) -> web.Response:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        if not self._settings.guests:
            raise web.HTTPNotFound
        try:
            return web.json_response(self._settings.guests.logon(form))
        except ValueError as problem:
            raise web.HTTPBadRequest(text=f"{problem}\n") from problem
        except PermissionError as problem:
            raise web.HTTPForbidden(text="guest access denied\n") from problem

    async def _close(self, app: web.Application) -> None:
        for socket in list(self._open):
            try:
                await socket.send_json({"type": "goodbye"})
                await socket.close(code=1001)
            except (ConnectionError, RuntimeError):
                continue


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="OK\n")


async def _no_admin(request: web.Request) -> web.Response:
    return web.Response(status=403, text="the lab gives out no tokens of its own: those of the OpenID provider are enough\n")


async def _no_bridge(request: web.Request) -> web.Response:
    return web.Response(status=501, text="the lab has no media bridge\n")


async def _headers(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers["Server"] = "kopano-lab kwmserver"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
