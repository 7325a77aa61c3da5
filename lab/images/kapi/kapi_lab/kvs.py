"""The key value store: small documents of a user, kept for each application in SQLite."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

from aiohttp import web
from kopano_lab.errors import Refusal

MAX_VALUE = 16384
MAX_FOUND = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    owner TEXT NOT NULL,
    client TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (owner, client, name)
) WITHOUT ROWID
"""


class Store:
    """The database and its route."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as problem:
            raise Refusal(
                f"KCCONF_KAPID_PLUGIN_KVS_DB_DATASOURCE: {path} cannot be used ({problem}): "
                "mount a volume there that user kopano (999) can write.",
                64,
            ) from problem
        self._lock = threading.Lock()

    async def handle(self, request: web.Request) -> web.Response:
        """GET, PUT and DELETE of a key; `recurse=1`, `raw=1` and `batch=1` as with kapi."""
        owner = (request["bearer"].subject, request["bearer"].client)
        key = request.match_info["key"]
        if request.method == "GET":
            return await self._get(owner, key, request.query)
        if request.method == "DELETE":
            return web.Response(status=200 if await self._run(self._delete, owner, key) else 404)
        if request.method != "PUT":
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "PUT", "DELETE"])
        body = await request.read()
        if request.query.get("batch") == "1":
            documents = _batch(key, body)
        else:
            documents = [(key, request.headers.get("Content-Type", ""), body)]
        for name, kind, value in documents:
            if len(value) > MAX_VALUE:
                raise web.HTTPRequestEntityTooLarge(MAX_VALUE, len(value))
            if _is_json(kind) and not _valid(value):
                raise web.HTTPBadRequest(text=f"the value of '{name}' must be JSON\n")
        await self._run(self._put, owner, documents)
        return web.Response()

    async def _get(self, owner: tuple[str, str], key: str, query: Any) -> web.Response:
        if query.get("recurse") == "1":
            found = await self._run(self._below, owner, key)
            return _json([_document(*one) for one in found])
        row = await self._run(self._one, owner, key)
        if not row:
            return web.Response(status=404)
        if query.get("raw") == "1":
            return web.Response(body=row[2], headers={"Content-Type": row[1] or "application/octet-stream"})
        return _json(_document(*row))

    async def _run(self, action: Any, *arguments: Any) -> Any:
        def locked() -> Any:
            with self._lock:
                return action(*arguments)

        return await asyncio.to_thread(locked)

    def _one(self, owner: tuple[str, str], key: str) -> Any:
        wanted = "SELECT name, kind, value FROM documents WHERE owner = ? AND client = ? AND name = ?"
        return self._database.execute(wanted, (*owner, key)).fetchone()

    def _below(self, owner: tuple[str, str], key: str) -> list[Any]:
        # Not LIKE, to which % and _ in a key mean something.
        wanted = "SELECT name, kind, value FROM documents WHERE owner = ? AND client = ? AND substr(name, 1, ?) = ? LIMIT ?"
        start = key if "/" in key else f"{key}/"
        return self._database.execute(wanted, (*owner, len(start), start, MAX_FOUND)).fetchall()

    def _put(self, owner: tuple[str, str], documents: list[tuple[str, str, bytes]]) -> None:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)", [(*owner, *document) for document in documents]
            )

    def _delete(self, owner: tuple[str, str], key: str) -> bool:
        done = self._database.execute("DELETE FROM documents WHERE owner = ? AND client = ? AND name = ?", (*owner, key))
        return done.rowcount > 0


def _batch(prefix: str, body: bytes) -> list[tuple[str, str, bytes]]:
    try:
        entries = json.loads(body)
        documents = []
        for entry in entries:
            kind = entry.get("content_type", "")
            value = json.dumps(entry["value"]).encode() if _is_json(kind) else base64.b64decode(entry["value"], validate=True)
            documents.append((f"{prefix}/{entry['key']}", kind, value))
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as problem:
        raise web.HTTPBadRequest(text="the body must be a list of objects with key, value and content_type\n") from problem
    if len(documents) > MAX_FOUND:
        raise web.HTTPRequestEntityTooLarge(MAX_FOUND, len(documents))
    return documents


def _document(name: str, kind: str, value: bytes) -> dict[str, Any]:
    if _is_json(kind):
        return {"key": name, "value": json.loads(value)}
    return {"key": name, "value": base64.b64encode(value).decode(), "content_type": kind}


def _is_json(kind: str) -> bool:
    return kind.startswith("application/json")


def _valid(value: bytes) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _json(content: Any) -> web.Response:
    return web.json_response(content)
