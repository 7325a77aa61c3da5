"""Starts the server: settings, sockets, OpenID provider, database, then calls."""

from __future__ import annotations

import logging
import os
import pwd
import signal
import threading
from pathlib import Path

from kopano_lab import VERSION, log
from kopano_lab.config import Config
from kopano_lab.errors import Refusal, told
from kopano_lab.log import notice
from kopano_lab.server import accounts, listeners, oidc, schema, settings
from kopano_lab.server.database import Database
from kopano_lab.server.directory import Directory
from kopano_lab.server.feed import Feed
from kopano_lab.server.folders import Folders
from kopano_lab.server.http import Listener, Serving, SocketListener, TlsListener
from kopano_lab.server.lookup import Lookup
from kopano_lab.server.mail import Mail
from kopano_lab.server.mailcalls import Stores
from kopano_lab.server.outgoing import Outgoing
from kopano_lab.server.quota import LEVELS, Quota
from kopano_lab.server.rpc import Server
from kopano_lab.server.sessions import Sessions
from kopano_lab.wire import RpcError


def main(arguments: list[str]) -> int:
    """Entry point of kopano-server."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return told("kopano-server", _run)


def _ended(*_: object) -> None:
    raise SystemExit(0)


def _run() -> int:
    config, plugin = settings.load()
    log.setup(config.number("log_level"), config.flag("log_timestamp"))
    notice("Starting kopano-server %s, a stand-in and not Kopano (pid %d uid %d)", VERSION, os.getpid(), os.getuid())
    for file in (config, plugin):
        if idle := file.without_effect():
            notice("%s: accepted, but without effect in the lab: %s", file.file, ", ".join(idle))
    context = listeners.tls(
        config.text("server_ssl_key_file"), config.text("server_ssl_key_pass"), config.text("server_ssl_ca_file")
    )
    plain = listeners.tcp(listeners.Address.parse(config.text("server_listen"), "server_listen"))
    secure = listeners.tcp(listeners.Address.parse(config.text("server_listen_tls"), "server_listen_tls"))
    files = {Path(config.text("server_pipe_name")): 0o666, Path(config.text("server_pipe_priority")): 0o660}
    try:
        local = [listeners.unix(path, mode) for path, mode in files.items()]
        issuer = None
        if config.text("kcoidc_issuer_identifier"):
            issuer = oidc.Issuer(config.text("kcoidc_issuer_identifier"), config.flag("kcoidc_insecure_skip_verify"))
            issuer.wait(config.number("kcoidc_initialize_timeout"))
        serve = Serving(
            _server(config, plugin, issuer),
            threading.Semaphore(config.number("thread_limit")),
            config.number("server_recv_timeout"),
            config.number("server_read_timeout"),
        )
        keys, admins = Path(config.text("sslkeys_path")), _admins(config)
        everything = [
            *(Listener(one, serve) for one in plain),
            *(TlsListener(one, serve, context, keys) for one in secure),
            *(SocketListener(one, serve, admins) for one in local),
        ]
        for listener in everything:
            threading.Thread(target=listener.serve_forever, daemon=True).start()
        notice("Server is ready")
        while True:
            signal.pause()
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def _server(config: Config, plugin: Config, issuer: oidc.Issuer | None) -> Server:
    database = Database(config)
    database.log_in()
    notice("Connection to database '%s' at %s succeeded", database.name, database.place)
    try:
        schema.populate(database)
        with database.transaction() as cursor:
            accounts.prepare(cursor)
    except RpcError as problem:
        raise Refusal(f"{problem}.", 255) from problem
    folder = Path(config.text("attachment_path"))
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
    except OSError as problem:
        raise Refusal(f"attachment_path {folder} cannot be made ({problem.strerror}): mount a volume there.", 255) from problem
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refusal(f"attachment_path {folder} cannot be written by uid {os.getuid()}: give it to that user.", 255)
    stores = _stores(config, database, folder)
    return Server(
        stores,
        Directory(plugin),
        Sessions(config.number("session_timeout")),
        realtime=config.flag("sync_gab_realtime"),
        safe_mode=config.flag("user_safe_mode"),
        disabled_features=frozenset(config.text("disabled_features").lower().split()),
        issuer=issuer if config.flag("enable_sso") else None,
    )


def _stores(config: Config, database: Database, folder: Path) -> Stores:
    feed = Feed(database)
    embedded = 1024 * config.number("embedded_attachment_limit")
    mail = Mail(database, feed, folder, embedded, config.flag("attachment_files_fsync"))
    search = config.text("search_socket") if config.flag("search_enabled") else ""
    return Stores(
        database,
        feed,
        Folders(database, feed),
        mail,
        Outgoing(database, mail),
        Quota(database, {level: 1024 * 1024 * config.number(f"quota_{level}") for level in LEVELS}),
        Lookup(database, mail, search, config.number("search_timeout")),
    )


def _admins(config: Config) -> frozenset[int]:
    names = [*config.text("local_admin_users").split(), "kopano"]
    known = {user.pw_name: user.pw_uid for user in pwd.getpwall()}
    for name in names:
        if name not in known:
            logging.warning("local_admin_users: there is no user '%s'", name)
    return frozenset(known[name] for name in names if name in known)
