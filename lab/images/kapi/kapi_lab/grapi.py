"""grapi: mail and users as the groupware API shows them, read from the Kopano server."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from kopano_lab.client import Client
from kopano_lab.errors import Refusal
from kopano_lab.wire import RpcError

from kapi_lab import graph

SERVER = "file:///run/kopano/server.sock"
PAGE = 10
MAX_PAGE = 200
_STATUS = {"not_found": 404, "forbidden": 403, "logon_failed": 404, "bad_request": 400}
Answer = dict[str, Any]


async def serve(listening: socket.socket) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="grapi: [%(levelname)s] %(message)s")
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening, shutdown_timeout=5).start()
    logging.info("Ready on %s", listening.getsockname())
    await stopped.wait()
    await runner.cleanup()


def application() -> web.Application:
    """All routes; kapi has checked the token and names the user."""
    app = web.Application()
    app.router.add_get("/health-check", _healthy)
    base = "/api/gc/v1"
    app.router.add_get(f"{base}/me", _of_user(_me))
    app.router.add_get(f"{base}/users", _of_user(_users))
    app.router.add_get(f"{base}/me/mailFolders", _of_user(_folders))
    app.router.add_get(f"{base}/me/messages", _of_user(_messages))
    app.router.add_get(f"{base}/me/mailFolders/{{folder}}/messages", _of_user(_messages))
    app.router.add_get(f"{base}/me/messages/{{message}}", _of_user(_message))
    app.router.add_route("*", "/{path:.*}", _unknown)
    return app


def _of_user(action: Callable[[Client, web.Request], Answer]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Run the action in a thread, logged on as the user whom kapi names."""

    def run(request: web.Request) -> Answer:
        client = Client(SERVER, timeout=30)
        try:
            # By the rights of this service: the provider has authenticated the user.
            client.log_on(request.headers["X-Kopano-Username"])
            return action(client, request)
        finally:
            try:
                client.log_off()
            except (RpcError, Refusal):
                logging.debug("A session could not be ended")
            client.close()

    @functools.wraps(action)
    async def handle(request: web.Request) -> web.Response:
        if not request.headers.get("X-Kopano-Username"):
            return _error(401, "InvalidAuthenticationToken", "kapi has to name the user")
        try:
            return web.json_response(await asyncio.to_thread(run, request))
        except RpcError as problem:
            return _error(_STATUS.get(problem.code, 503), problem.code, str(problem))
        except Refusal as problem:
            logging.error("The server cannot be asked: %s", problem)
            return _error(503, "ErrorServiceUnavailable", "the Kopano server does not answer")
        except ValueError as problem:
            return _error(400, "ErrorInvalidRequest", str(problem))

    return handle


def _me(client: Client, request: web.Request) -> Answer:
    return graph.user(client.user(request.headers["X-Kopano-Username"]))


def _users(client: Client, request: web.Request) -> Answer:
    # A list of all is for administrators, which is what this service is before it is a user.
    client.log_off()
    top, skip = _paging(request)
    names = [row["name"] for row in client.call("user.list")[0] if row["name"] != "SYSTEM"]
    people = (client.user(name) for name in names)
    listed = (graph.user(person) for person in people if person["class"] == "user" and not person["hidden"])
    # Not further than the page, as each user is a call.
    shown = list(itertools.islice(listed, skip, skip + top + 1))
    return _page(request, shown[:top], len(shown) > top, top, skip)


def _folders(client: Client, request: web.Request) -> Answer:
    top, skip = _paging(request)
    found = [graph.folder(one) for one in client.folders()]
    return _page(request, found[skip : skip + top], len(found) > skip + top, top, skip)


def _messages(client: Client, request: web.Request) -> Answer:
    """The messages of a folder, the newest first; without a folder, those of the inbox."""
    top, skip = _paging(request)
    folders = client.folders()
    wanted = request.match_info.get("folder", "inbox")
    folder = next((one for one in folders if wanted in (str(one["id"]), graph.well_known(one))), None)
    if not folder:
        raise RpcError("not_found", f"there is no folder '{wanted}'")
    newest = client.messages(folder["id"], newest=skip + top + 1)[::-1]
    shown = [graph.message(*client.read(one["id"]), one, folder["id"], whole=False) for one in newest[skip : skip + top]]
    return _page(request, shown, len(newest) > skip + top, top, skip)


def _message(client: Client, request: web.Request) -> Answer:
    wanted = request.match_info["message"]
    if not (wanted.isascii() and wanted.isdigit()):
        raise RpcError("not_found", f"there is no message '{wanted}'")
    known, content = client.read(int(wanted))
    return graph.message(known, content, known, known["folder"], whole=True)


def _paging(request: web.Request) -> tuple[int, int]:
    unknown = sorted(set(request.query) - {"$top", "$skip", "$select", "$count"})
    if unknown:
        raise ValueError(f"'{unknown[0]}' is not known here: allowed are $top and $skip")
    found = []
    for name, default, most in (("$top", PAGE, MAX_PAGE), ("$skip", 0, 1_000_000)):
        value = request.query.get(name, str(default))
        if not (value.isascii() and value.isdigit() and int(value) <= most):
            raise ValueError(f"{name} is '{value}': it must be a number up to {most}")
        found.append(int(value))
    return found[0], found[1]


def _page(request: web.Request, shown: list[Answer], more: bool, top: int, skip: int) -> Answer:
    answer: Answer = {"@odata.context": request.path, "@odata.top": top, "@odata.skip": skip, "value": shown}
    if more:
        answer["@odata.nextLink"] = f"{request.path}?$top={top}&$skip={skip + top}"
    return answer


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="OK\n")


async def _unknown(request: web.Request) -> web.Response:
    return _error(501, "NotImplemented", f"the lab does not have {request.method} {request.path}")


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
