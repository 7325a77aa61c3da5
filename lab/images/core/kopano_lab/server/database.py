"""Connections to MariaDB, and what its errors mean."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import DictCursor

from kopano_lab.config import Config
from kopano_lab.errors import Refusal
from kopano_lab.wire import RpcError

Cursor: TypeAlias = DictCursor
_CONNECTIONS = 8
_ATTEMPTS = 10
_PAUSE = 10


class Database:
    """A few connections, made when needed and made anew when the database was away."""

    def __init__(self, config: Config) -> None:
        self.name = config.text("mysql_database")
        self._user = config.text("mysql_user")
        self._where: dict[str, Any]
        if config.text("mysql_socket"):
            self._where = {"unix_socket": config.text("mysql_socket")}
            self.place = config.text("mysql_socket")
        else:
            self._where = {"host": config.text("mysql_host"), "port": config.number("mysql_port")}
            self.place = f"{config.text('mysql_host')}:{config.text('mysql_port')}"
        self._password = config.text("mysql_password")
        self._idle: queue.LifoQueue[pymysql.Connection[Cursor] | None] = queue.LifoQueue()
        for _ in range(_CONNECTIONS):
            self._idle.put(None)

    def log_in(self) -> None:
        """The first log-in: tried ten times, ten seconds apart, then the server ends."""
        told = reason = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE)
            try:
                self._first()
                return
            except pymysql.MySQLError as problem:
                reason = self.explain(problem)
            if reason != told:
                logging.error("%s; trying again every %d s", reason, _PAUSE)
                told = reason
        raise Refusal(f"{reason}.", 255)

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """One transaction; it is undone when the block raises."""
        try:
            connection = self._idle.get(timeout=30)
        except queue.Empty:
            raise RpcError("unavailable", "all connections to the database are busy: try again later") from None
        try:
            if connection is None:
                connection = self._connect(self.name)
            connection.ping(reconnect=True)
            connection.begin()
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()
        except pymysql.MySQLError as problem:
            _close(connection)
            connection = None
            logging.error("%s", self.explain(problem))
            raise RpcError("unavailable", self.explain(problem)) from problem
        except BaseException:
            connection = _rolled_back(connection)
            raise
        finally:
            self._idle.put(connection)

    def explain(self, problem: pymysql.MySQLError) -> str:
        """The error in one sentence, with the variables to look at."""
        number = problem.args[0] if problem.args else 0
        if number == ER.ACCESS_DENIED_ERROR:
            return (
                f"The database at {self.place} refuses account '{self._user}': check KCCONF_SERVER_MYSQL_USER and "
                "KCCONF_SERVER_MYSQL_PASSWORD against the accounts of block db"
            )
        if number == ER.DBACCESS_DENIED_ERROR:
            return (
                f"The database at {self.place} does not let account '{self._user}' into database '{self.name}': "
                "check KCCONF_SERVER_MYSQL_DATABASE and the rights of the account"
            )
        if number in (CR.CR_CONN_HOST_ERROR, CR.CR_CONNECTION_ERROR, CR.CR_SERVER_LOST, CR.CR_SERVER_GONE_ERROR, 0):
            return f"The database at {self.place} does not answer (KCCONF_SERVER_MYSQL_HOST, block db)"
        return f"The database at {self.place} reports error {number}: {problem.args[-1]}"

    def _first(self) -> None:
        try:
            connection = self._connect(self.name)
        except pymysql.MySQLError as problem:
            if problem.args[:1] != (ER.BAD_DB_ERROR,):
                raise
            connection = self._connect(None)
            with connection.cursor() as cursor:
                quoted = self.name.replace("`", "``")
                cursor.execute(f"CREATE DATABASE `{quoted}` CHARACTER SET utf8mb4")
        connection.close()

    def _connect(self, name: str | None) -> pymysql.Connection[Cursor]:
        return pymysql.connect(
            **self._where,
            user=self._user,
            password=self._password,
            database=name,
            charset="utf8mb4",
            cursorclass=Cursor,
            connect_timeout=5,
            read_timeout=60,
            write_timeout=60,
            init_command="SET time_zone = '+00:00'",
        )


def _close(connection: pymysql.Connection[Cursor] | None) -> None:
    if connection is not None and connection.open:
        connection._force_close()


def _rolled_back(connection: pymysql.Connection[Cursor] | None) -> pymysql.Connection[Cursor] | None:
    try:
        if connection is not None:
            connection.rollback()
    except pymysql.MySQLError:
        return None
    return connection
