"""The image's entry point: checks the settings and the directory, then serves the page."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Mapping

import ldap
import ldap.dn
import waitress

from self_service import Refusal, page, say
from self_service.directory import Directory
from self_service.policy import Policy

PORT = 80
PATIENCE = 360
ONLY = {"WHO_CAN_CHANGE_PASSWORD": "user", "QUESTIONS_ENABLED": "false"}
"""Settings of which the lab has one value alone."""
WITHOUT_EFFECT = ("BACKGROUND", "MAIL_FROM", "PASSWORD_HASH", "SMTP_HOST", "SSP_VERSION")
"""No mail is sent, and the directory hashes passwords itself."""


def main(command: list[str], environ: Mapping[str, str]) -> int:
    """Entry point of the container."""
    if command:
        os.execvp(command[0], command)
    try:
        for name, value in ONLY.items():
            if environ.get(name, value) != value:
                raise Refusal(f"{name} is '{environ[name]}': the lab has only '{value}'.")
        policy = Policy.of_variables(environ)
        directory = directory_of(environ)
        key = needed(environ, "SECRETEKEY")
        if len(key) < 16:
            raise Refusal("SECRETEKEY has fewer than 16 characters: give a long random text.")
        say("This is the Kopano lab, a stand-in for tests and closed networks; it is not Kopano. Page to change passwords.")
        if idle := [name for name in WITHOUT_EFFECT if environ.get(name)]:
            say(f"without effect here: {', '.join(idle)}.")
        wait_for(directory)
        logging.basicConfig(format="password_self_service: %(message)s", level=logging.WARNING)
    except Refusal as refusal:
        say(str(refusal))
        return 64
    waitress.serve(page.make(directory, policy, key), listen=f"*:{PORT}", threads=4, ident="kopano-lab")
    return 0


def directory_of(environ: Mapping[str, str]) -> Directory:
    """Read the LDAP_ variables."""
    uri = needed(environ, "LDAP_SERVER")
    if not re.fullmatch(r"ldaps?://[A-Za-z0-9_][A-Za-z0-9._-]*(:[0-9]{1,5})?/?", uri):
        raise Refusal(f"LDAP_SERVER is '{uri}': give an address such as ldap://ldap:389.")
    attribute = environ.get("LDAP_LOGIN_ATTRIBUTE") or "uid"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", attribute):
        raise Refusal(f"LDAP_LOGIN_ATTRIBUTE is '{attribute}': give the name of an attribute such as uid.")
    starttls = environ.get("LDAP_STARTTLS") or "false"
    if starttls not in ("true", "false"):
        raise Refusal(f"LDAP_STARTTLS is '{starttls}': give true or false.")
    base, account = needed(environ, "LDAP_BASE_SEARCH"), needed(environ, "LDAP_BINDDN")
    for name, value in (("LDAP_BASE_SEARCH", base), ("LDAP_BINDDN", account)):
        if not ldap.dn.is_dn(value):
            raise Refusal(f"{name} is '{value}', which is no DN: give one such as dc=kopano,dc=demo.")
    return Directory(uri, base, account, needed(environ, "LDAP_BINDPASS"), attribute, starttls == "true")


def needed(environ: Mapping[str, str], name: str) -> str:
    """A variable that must have a value."""
    if not environ.get(name):
        raise Refusal(f"{name} is missing or empty: set it in the container's environment.")
    return environ[name]


def wait_for(directory: Directory) -> None:
    """Wait until the directory answers; what it refuses now it would refuse for ever."""
    started = time.monotonic()
    told = False
    while True:
        try:
            directory.check()
            return
        except (ldap.SERVER_DOWN, ldap.TIMEOUT, ldap.UNAVAILABLE, ldap.CONNECT_ERROR) as problem:
            if time.monotonic() - started > PATIENCE:
                raise Refusal(f"LDAP_SERVER: {directory.uri} does not answer, also after {PATIENCE} seconds.") from problem
        except ldap.LDAPError as problem:
            reason = problem.args[0].get("desc", "no reason") if problem.args else "no reason"
            raise Refusal(f"LDAP_BINDDN and LDAP_BINDPASS: the directory refuses them: {reason}.") from problem
        if not told:
            say(f"waiting for {directory.uri} ...")
            told = True
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
