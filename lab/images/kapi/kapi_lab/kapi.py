"""kapi: the door to the REST services. It lets in who has a token, and hands on to grapi, the key value store and pubs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp import web
from kopano_lab.errors import Refusal

from kapi_lab.issuer import Bearer, Denied, Issuer, TooLittle
from kapi_lab.kvs import Store
from kapi_lab.pubs import Pubs
from kapi_lab.settings import Kapi

PATIENCE = 360
MAX_BODY = 10 * 1024 * 1024
GC_SCOPES = ("profile", "email", "kopano/gc")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BEARER = "bearer"


async def serve(settings: Kapi) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(stream=sys.stdout, level=settings.level, format="kapi: [%(levelname)s] %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    issuer = Issuer(settings.issuer, settings.insecure)
    pubs = Pubs(settings.pubs_key)
    store = Store(settings.database)
    stopped = _stopping()
    waiting = asyncio.create_task(issuer.wait(PATIENCE, "KCCONF_KAPID_OIDC_ISSUER_IDENTIFIER"))
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        return
    waiting.result()
    await _run(application(issuer, settings.grapi, store, pubs), settings, stopped)


def application(issuer: Issuer, grapi: Path, store: Store, pubs: Pubs) -> web.Application:
    """All routes."""
    app = web.Application(client_max_size=MAX_BODY)
    app.on_response_prepare.append(_headers)
    app.router.add_get("/health-check", _healthy)
    app.router.add_route("*", "/api/gc/v1/{path:.*}", _allowed(issuer, GC_SCOPES, Forward(grapi)))
    app.router.add_route("*", "/api/kvs/v1/kv/user/{key:.+}", _allowed(issuer, ("kopano/kvs",), store.handle))
    pubs.add_routes(app.router, lambda handler: _allowed(issuer, ("kopano/pubs",), handler))
    return app


class Forward:
    """Hands a request on to grapi, with the name of the user in place of the token."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, request: web.Request) -> web.Response:
        """The answer of grapi."""
        bearer: Bearer = request[BEARER]
        if not bearer.username:
            return error(403, "ErrorAccessDenied", "a guest has no mailbox")
        sockets = sorted(self._folder.glob("rest*.sock")) if self._folder.is_dir() else []
        if not sockets:
            return error(502, "ErrorServiceUnavailable", "grapi is not there")
        headers = {"X-Kopano-Username": bearer.username, "X-Kopano-UserEntryID": bearer.user_id}
        if kind := request.headers.get("Content-Type"):
            headers["Content-Type"] = kind
        body = await request.read()
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(sockets[0])), timeout=aiohttp.ClientTimeout(total=60)
                ) as session,
                session.request(request.method, f"http://grapi{request.rel_url}", data=body, headers=headers) as answer,
            ):
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            logging.error("grapi does not answer: %s", problem)
            return error(502, "ErrorServiceUnavailable", "grapi does not answer")


def error(status: int, code: str, message: str) -> web.Response:
    """An answer that is an error, in the form of the groupware API."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def _allowed(issuer: Issuer, scopes: tuple[str, ...], handler: Handler) -> Handler:
    async def checked(request: web.Request) -> web.StreamResponse:
        try:
            request[BEARER] = await issuer.bearer(request.headers.get("Authorization", ""), scopes)
        except Denied as problem:
            logging.info("%s %s: denied: %s", request.method, request.path, problem)
            answer = error(401, "InvalidAuthenticationToken", str(problem))
            # Without a token there is nothing yet that could be wrong with it.
            answer.headers["WWW-Authenticate"] = (
                'Bearer error="invalid_token"' if "Authorization" in request.headers else "Bearer"
            )
            return answer
        except TooLittle as problem:
            answer = error(403, "ErrorAccessDenied", f"the token must be for {problem}")
            answer.headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{problem}"'
            return answer
        return await handler(request)

    return checked


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="OK\n")


async def _headers(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers["Server"] = "kopano-lab kapi"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"


def _stopping() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


async def _run(app: web.Application, settings: Kapi, stopped: asyncio.Event) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, shutdown_timeout=5).start()
    except OSError as problem:
        raise Refusal(
            f"KCCONF_KAPID_LISTEN: {settings.host}:{settings.port} cannot be listened on: {problem.strerror}."
        ) from problem
    logging.info("Ready on %s:%s", settings.host, settings.port)
    await stopped.wait()
    await runner.cleanup()
