"""Looks at the blocks of a Kopano stack again and again, and serves what it saw: `/metrics` for Prometheus, `/` for people."""

from __future__ import annotations

import contextlib
import html
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import WSGIRequestHandler, make_server

from probes import OUT_OF_SIGHT, PROBES, Presence, Stack, certificate_end, look
from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

PORT = 9236
registry = CollectorRegistry()
UP = Gauge("kopano_block_up", "Whether the block does its work (1) or not (0).", ["block", "check"], registry=registry)
TOOK = Gauge("kopano_block_check_seconds", "How long the last look at the block took.", ["block"], registry=registry)
LOOKED = Gauge("kopano_last_check_timestamp_seconds", "When all blocks were looked at last.", registry=registry)
ENDS = Gauge("kopano_certificate_end_timestamp_seconds", "When the certificate of the proxy ends.", registry=registry)

STYLE = "body{font:16px sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:left}.up{color:#060}.down{color:#b00}"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


class Watch:
    """What was seen of the blocks, kept up to date by a thread of its own: asking for it costs the blocks nothing."""

    def __init__(self, blocks: list[str], stack: Stack) -> None:
        self.stack = stack
        self.blocks = [block for block in blocks if block not in OUT_OF_SIGHT]
        self.hidden = {block: OUT_OF_SIGHT[block] for block in blocks if block in OUT_OF_SIGHT}
        self.troubles: dict[str, str] = {}
        self.since: dict[str, float] = {}

    def look(self) -> None:
        """Look at all blocks at the same time."""
        with ThreadPoolExecutor(max_workers=len(self.blocks) or 1) as pool:
            list(pool.map(self._look_at, self.blocks))
        with contextlib.suppress(OSError):  # what is wrong with the proxy is said of its block
            ENDS.set(certificate_end(self.stack))
        LOOKED.set_to_current_time()

    def _look_at(self, block: str) -> None:
        started = time.monotonic()
        trouble = look(block, self.stack)
        TOOK.labels(block).set(time.monotonic() - started)
        UP.labels(block, PROBES.get(block, Presence()).what).set(not trouble)
        if bool(self.troubles.get(block)) != bool(trouble) or block not in self.since:
            self.since[block] = time.time()
            if trouble or block in self.troubles:
                print(f"{block}: {trouble or 'is up again'}", flush=True)
        self.troubles[block] = trouble

    def forever(self, seconds: int) -> None:
        """Look every so many seconds."""
        while True:
            self.look()
            time.sleep(seconds)

    def page(self) -> str:
        """All blocks as a page."""
        rows = [
            _row(block, "down" if trouble else "up", trouble or PROBES.get(block, Presence()).what, self.since[block])
            for block, trouble in sorted(self.troubles.items(), key=lambda item: (not item[1], item[0]))
        ]
        rows += [_row(block, "out of sight", why, None) for block, why in sorted(self.hidden.items())]
        down = sum(bool(trouble) for trouble in self.troubles.values())
        summary = f"{len(self.troubles) - down} blocks up, {down} down"
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="15">'
            f"<title>{summary}: {html.escape(self.stack.fqdn)}</title><style>{STYLE}</style></head><body>"
            f"<h1>{html.escape(self.stack.fqdn)}: {summary}</h1><table><tr><th>Block<th>State<th>What<th>Since</tr>"
            f"{''.join(rows)}</table></body></html>"
        )


def _row(block: str, state: str, what: str, since: float | None) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since)) if since else ""
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in (state, what, when))
    return f'<tr id="{html.escape(block)}" class="{state}"><td>{html.escape(block)}</td>{cells}</tr>'


def application(watch: Watch) -> Callable[..., Iterable[bytes]]:
    """The exporter's site."""
    metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)
    pages: Mapping[str, Callable[[], str]] = {"/": watch.page, "/health-check": lambda: "ok"}

    def site(environ: dict[str, object], start: Callable[..., object]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start)
        known = pages.get(str(path))
        kind = "text/html" if path == "/" else "text/plain"
        headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Security-Policy", POLICY), ("Cache-Control", "no-store")]
        start("200 OK" if known else "404 Not Found", headers)
        return [(known() if known else "not found").encode()]

    return site


class _Quiet(WSGIRequestHandler):
    """Prometheus asks all day: no line for each time."""

    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until the container is stopped."""
    try:
        authority = ssl.create_default_context(cadata=os.environ["KOPANO_CA"])
        watch = Watch(os.environ["KOPANO_BLOCKS"].split(), Stack(os.environ["KOPANO_FQDN"], authority))
        seconds = int(os.environ.get("KOPANO_SECONDS", "15"))
    except (KeyError, ValueError, ssl.SSLError) as problem:
        sys.exit(
            f"KOPANO_CA, KOPANO_BLOCKS and KOPANO_FQDN come from the stack's outputs, KOPANO_SECONDS is a number: {problem!r}"
        )
    watch.look()
    threading.Thread(target=watch.forever, args=[seconds], daemon=True).start()
    with make_server("0.0.0.0", PORT, application(watch), ThreadingWSGIServer, handler_class=_Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
