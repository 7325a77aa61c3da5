"""The page."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

import ldap
from flask import Flask, Response, render_template, request
from flask_wtf.csrf import CSRFError, CSRFProtect

from self_service.directory import Directory, Refused, WrongLogin
from self_service.policy import Policy

TRIES, WINDOW = 5, 300
"""So many wrong passwords for one name in so many seconds, and the page takes no more for it."""
FIELDS = ("login", "old", "new", "again")
LONGEST = 1024


class Guesses:
    """Counts wrong passwords for each name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[str, deque[float]] = {}

    def too_many(self, login: str) -> bool:
        """Whether the name has to wait."""
        with self._lock:
            now = time.monotonic()
            self._failed = {name: times for name, times in self._failed.items() if times and times[-1] > now - WINDOW}
            times = self._failed.get(login.lower(), deque())
            return len(times) == TRIES and times[0] > now - WINDOW

    def count(self, login: str) -> None:
        """One wrong password more."""
        with self._lock:
            self._failed.setdefault(login.lower(), deque(maxlen=TRIES)).append(time.monotonic())


def make(directory: Directory, policy: Policy, key: str) -> Flask:
    """The page as a WSGI application; `key` signs what keeps other sites from sending the form."""
    page = Flask(__name__)
    page.config.update(
        SECRET_KEY=key,
        MAX_CONTENT_LENGTH=16 * LONGEST,
        SESSION_COOKIE_NAME="password_page",
        SESSION_COOKIE_SAMESITE="Strict",
        WTF_CSRF_TIME_LIMIT=3600,
    )
    CSRFProtect(page)
    guesses = Guesses()

    def shown(problem: str = "", status: int = 200, done: bool = False) -> tuple[str, int]:
        login = request.form.get("login", "")[:LONGEST]
        return render_template("page.html", rules=policy.rules(), problem=problem, login=login, done=done), status

    @page.get("/")
    def form() -> tuple[str, int]:
        return shown()

    @page.post("/")
    def change() -> tuple[str, int]:
        login, old, new, again = (request.form.get(field, "") for field in FIELDS)
        if not all((login, old, new, again)) or max(map(len, (login, old, new))) > LONGEST:
            return shown("Fill in all four fields.", 422)
        if new != again:
            return shown("The new password and its repetition differ: type both again.", 422)
        if broken := policy.broken(old, new):
            return shown(f"The new password breaks these rules: {'; '.join(broken)}.", 422)
        if guesses.too_many(login):
            return shown("Too many wrong passwords for this user name: try again in a few minutes.", 429)
        try:
            directory.change(login, old, new)
        except WrongLogin:
            guesses.count(login)
            logging.warning("Wrong user name or old password for '%s'", login)
            return shown("User name or old password is wrong.", 403)
        except Refused as refused:
            return shown(f"The directory does not take the new password: {refused}.", 422)
        except ldap.LDAPError:
            logging.exception("The directory does not answer")
            return shown("The directory does not answer: try again later.", 503)
        logging.warning("The password of '%s' was changed by its owner", login)
        return shown(done=True)

    @page.get("/status")
    def status() -> tuple[str, int]:
        try:
            directory.check()
        except ldap.LDAPError:
            return "the directory does not answer\n", 503
        return "ok\n", 200

    @page.errorhandler(CSRFError)
    def foreign(_: CSRFError) -> tuple[str, int]:
        return shown("This form is too old, or cookies are off: fill it in again.", 400)

    @page.after_request
    def guard(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    return page
