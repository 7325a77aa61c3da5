"""What a value in a stack file may be. Each parser returns the typed value or raises `RefusedError` with what is allowed."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
import zoneinfo
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cronsim import CronSim, CronSimError

Parser = Callable[[Any], Any]

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"^(?=.{{4,253}}$){LABEL}(\.{LABEL})+$")
SELECTOR = re.compile(rf"^{LABEL}$")
DN = re.compile(r"^[A-Za-z]+=[^,=\\]+(,[A-Za-z]+=[^,=\\]+)*$")
TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
IMAGE_REFERENCE = re.compile(r"^[a-z0-9][a-z0-9._:/-]*?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$")
LDAP_URI = re.compile(r"^ldaps?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?/?$")
ATTRIBUTE = re.compile(r"^[A-Za-z][A-Za-z0-9-]*$")
MAIL = re.compile(r"^[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")
REGISTRY = re.compile(rf"^{LABEL}(\.{LABEL})*(:[0-9]{{1,5}})?$")
DOCKER_HOST = re.compile(r"^(ssh://([a-z_][a-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?|unix://(/[A-Za-z0-9._-]+)+)$")
PLUG_IN = re.compile(r"^(?!kopano-)[a-z0-9]+(-[a-z0-9]+)*$")
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
CLIENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
REDIRECT = re.compile(
    r"^(https://(?!localhost\b|127\.|\[)[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?|http://localhost:[0-9]{1,5})(/[A-Za-z0-9._~/-]*)$"
)
HTTPS_URL = re.compile(r"^https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$")
SCHEDULE = re.compile(r"^[0-9*/,-]+( [0-9*/,-]+){4}$")
FOLDER = re.compile(r"^(/[A-Za-z0-9._-]+)+$")
KCCONF = re.compile(r"^KCCONF_([A-Z]+)_([A-Z0-9_]+)$")

# Variables that the program computes from other settings or from another block's outputs. A second value for one of them
# would silently disconnect blocks, so the setting that drives it must be used instead.
WIRED_VARIABLES = re.compile(
    r"^(SERVICE_TO_START|FQDN|DOCKER_HOST|INSECURE|SSL_CERT_FILE|DEFAULTREDIRECT|HTTPS_PORT|TLS_\w+|EMAIL|TZ"
    r"|ADDITIONAL_KOPANO_WEBAPP_PLUGINS|LEGO_CA_CERTIFICATES"
    r"|(MYSQL|MARIADB)_\w+|LDAP_(ADMIN_PASSWORD|BASE_DN|DOMAIN|ORGANISATION|READONLY_\w+|BIND_\w+|BINDDN|BINDPASS|SERVER\w*)"
    r"|KCCONF_SERVER_(MYSQL_\w+|USER_PLUGIN\w*|ATTACHMENT_PATH|KCOIDC_ISSUER_IDENTIFIER|\w+_SSL_(CA|KEY)_FILE|SSLKEYS_PATH)"
    r"|KCCONF_[A-Z]+_(\w+_LISTEN(_TLS)?|SERVER_SOCKET|SSLKEY_FILE|OIDC_ISSUER_IDENTIFIER)"
    r"|KCCONF_LDAP_LDAP_(URI|BIND_\w+|SEARCH_BASE)|POSTFIX_DAGENT|(DEFAULT_)?RELAY_\w+|SASLAUTHD_\w+|SSL_(TYPE|CERT_PATH|KEY_PATH))$"
)


GAPS_LOOKED_AT = 400
"""Runs of a schedule among which the longest gap is looked for: a daily one is followed for more than a year."""


class RefusedError(ValueError):
    """A value that is not allowed. `allowed` says what is; `item` names the entry of a map that is wrong, `shown` its value."""

    def __init__(self, allowed: str, item: str = "", shown: object = None) -> None:
        super().__init__(allowed)
        self.allowed, self.item, self.shown = allowed, item, shown


def text(value: Any) -> str:
    """A line that the images' entry points can take (they substitute it into files with regular expressions)."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise RefusedError("must be a text")
    line = str(value)
    if "\\" in line:
        raise RefusedError("must not contain a backslash: the images' entry points cannot take one")
    if any(character in line for character in "\n\r\0"):
        raise RefusedError("must be one line")
    return line


def required_text(value: Any) -> str:
    """A line that is not empty."""
    line = text(value).strip()
    if not line:
        raise RefusedError("must not be empty")
    return line


def matching(pattern: re.Pattern[str], allowed: str, *, empty: bool = False) -> Parser:
    """A line that matches `pattern`, or, if `empty`, none."""

    def parse(value: Any) -> str:
        line = text(value)
        if not (pattern.match(line) or (empty and not line)):
            raise RefusedError(allowed)
        return line

    return parse


def host_name(value: Any) -> str:
    """A fully qualified host name."""
    line = text(value)
    if not HOST_NAME.match(line) or re.fullmatch(r"[0-9.]+", line):
        raise RefusedError("must be a host name in lower case with at least one dot, without a port and not an address")
    return line


def port(value: Any) -> int:
    """A TCP port."""
    line = str(value)
    if isinstance(value, bool) or not line.isascii() or not line.isdigit() or not 1 <= int(line) <= 65535:
        raise RefusedError("must be a port number from 1 to 65535")
    return int(line)


def megabytes(value: Any) -> int:
    """A memory limit."""
    line = str(value)
    if isinstance(value, bool) or not line.isdigit() or not 32 <= int(line) <= 1_048_576:
        raise RefusedError("must be a whole number of megabytes, at least 32")
    return int(line)


def whole(least: int, most: int) -> Parser:
    """A whole number within bounds."""

    def parse(value: Any) -> int:
        line = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", line) or not least <= int(line) <= most:
            raise RefusedError(f"must be a whole number from {least} to {most}")
        return int(line)

    return parse


def boolean(value: Any) -> bool:
    """A switch."""
    if str(value).lower() not in ("true", "false"):
        raise RefusedError("must be true or false")
    return str(value).lower() == "true"


def choice(*choices: str) -> Parser:
    """One of some words."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise RefusedError(f"must be one of {', '.join(choices)}")
        return str(value)

    return parse


def address(value: Any) -> str:
    """An IP address."""
    try:
        if "%" in str(value):  # a zone, with which the engine cannot do anything
            raise ValueError
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise RefusedError("must be an IP address of the Docker host") from None


def addresses(value: Any) -> str:
    """IP addresses of the Docker host, separated by one blank. None twice, and none beside the one that means all of its kind."""
    allowed = "must be IP addresses of the Docker host, separated by blanks, each once, and 0.0.0.0 or :: alone of its kind"
    try:
        found = [ipaddress.ip_address(address(item)) for item in text(value).split()]
    except RefusedError:
        raise RefusedError(allowed) from None
    kinds = [[each for each in found if each.version == version] for version in (4, 6)]
    if not found or any(
        len(kind) > len(set(kind)) or (len(kind) > 1 and any(each.is_unspecified for each in kind)) for kind in kinds
    ):
        raise RefusedError(allowed)
    return " ".join(map(str, found))


def network_within(outer: Sequence[str], shortest: int, longest: int, allowed: str) -> Parser:
    """A network with a prefix of `shortest` to `longest` bits within one of some others."""

    def parse(value: Any) -> str:
        try:
            network = ipaddress.ip_network(text(value))
        except ValueError:
            raise RefusedError(allowed) from None
        known = [ipaddress.ip_network(each) for each in outer]
        inside = any(network.version == each.version and network.subnet_of(each) for each in known)  # type: ignore[arg-type]
        if not inside or not shortest <= network.prefixlen <= longest:
            raise RefusedError(allowed)
        return str(network)

    return parse


def networks(*words: str) -> Parser:
    """Addresses and networks, separated by blanks or commas, none of them everybody's; `words` may stand among them."""

    def parse(value: Any) -> tuple[str, ...]:
        found = []
        for item in re.split(r"[ ,]+", text(value).strip()):
            try:
                network = ipaddress.ip_network(item)
                if network.prefixlen < (8 if network.version == 4 else 32):
                    raise ValueError
                found.append(str(network) if "/" in item else item)
            except ValueError:
                if item not in words:
                    allowed = ", ".join([f"the word {word}" for word in words])
                    raise RefusedError(f"must be IP addresses and networks of at most a /8 (IPv6: /32), or {allowed}") from None
                found.append(item)
        return tuple(found)

    return parse


def https_url(value: Any) -> str:
    """An address that begins with https:// and has nothing in it that a configuration file would read as more than it."""
    line = text(value)
    if not HTTPS_URL.match(line):
        raise RefusedError("must be an address https://host/path, with a port if need be and nothing after the path")
    return line


def pem(pattern: re.Pattern[str], allowed: str) -> Parser:
    """Text in PEM, of many lines; what is wrong is not shown, since it may be a key."""

    def parse(value: Any) -> str:
        found = value.replace("\r\n", "\n").strip() + "\n" if isinstance(value, str) else ""
        if not pattern.search(found):
            raise RefusedError(allowed, shown="[not shown]")
        return found

    return parse


def plug_ins(value: Any) -> tuple[str, ...]:
    """Names of plug-ins of Kopano's WebApp, separated by blanks."""
    names = text(value).split()
    if not all(PLUG_IN.match(name) for name in names) or len(names) > len(set(names)):
        raise RefusedError(
            "must be names of packages kopano-webapp-plugin-NAME without what they begin with, separated by blanks, each once"
        )
    return tuple(names)


def ldap_filter(value: Any) -> str:
    """An LDAP filter in brackets. A percent sign is Postfix' own, which puts addresses in its place."""
    line = text(value)
    depths = list(itertools.accumulate({"(": 1, ")": -1}.get(character, 0) for character in line))
    # One pair of brackets from the first to the last character.
    if "%" in line or "=" not in line or not line.startswith("(") or depths[-1] or not all(depths[:-1]) or min(depths) < 0:
        raise RefusedError("must be one LDAP filter in brackets, without a percent sign, such as (memberOf=cn=mail,dc=example)")
    return line


def timezone(value: Any) -> str:
    """A time zone by name."""
    if value not in zoneinfo.available_timezones():
        raise RefusedError("must be a name of the time zone database")
    return str(value)


def image(value: Any) -> str:
    """An image reference that says which release it means."""
    allowed = "must be an image reference in lower case, with a tag or a digest"
    line = str(matching(IMAGE_REFERENCE, allowed)(value))
    if "@" not in line and ":" not in line.rsplit("/", 1)[-1]:
        raise RefusedError(allowed)
    return line


def map_of(names: Collection[str] | None, parse: Parser) -> Parser:
    """A map whose names are among `names` (any if None) and whose values `parse` takes."""

    def parse_map(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise RefusedError("must be a map")
        parsed = {}
        for item, raw in value.items():
            if names is not None and item not in names:
                raise RefusedError(f"has an unknown name, allowed are {', '.join(sorted(names))}", item, raw)
            try:
                parsed[item] = parse(raw)
            except RefusedError as error:
                shown = raw if error.shown is None else error.shown
                raise RefusedError(error.allowed, f"{item}.{error.item}".rstrip("."), shown) from None
        return parsed

    return parse_map


def selectors(value: Any) -> dict[str, str]:
    """A map from mail domains to DKIM selectors."""
    parsed: dict[str, str] = map_of(
        None, matching(SELECTOR, "must be a DKIM selector of lower-case letters, digits and hyphens")
    )(value)
    for domain, selector in parsed.items():
        if not HOST_NAME.match(domain):
            raise RefusedError("is no mail domain in lower case with at least one dot", domain, selector)
    return parsed


def registries(parse: Parser) -> Parser:
    """A map from registries, as they begin the names of images, to what `parse` takes."""

    def parse_registries(value: Any) -> dict[str, Any]:
        parsed: dict[str, Any] = map_of(None, parse)(value)
        for registry, login in parsed.items():
            if not REGISTRY.match(registry):
                raise RefusedError("is no registry: it must be host or host:port in lower case", registry, "[secret]")
            if login is None:
                raise RefusedError("must have a value for each of user, password", registry, "")
        return parsed

    return parse_registries


def openid_clients(value: Any) -> dict[str, str]:
    """A map from OpenID clients' ids to the address to which each one's users come back."""
    parsed: dict[str, str] = map_of(None, redirect)(value)
    for client, address in parsed.items():
        # `dyn.` and `kpop-` begin the ids that Konnect and Kopano's own programs make.
        if not CLIENT.match(client) or client.startswith(("dyn.", "kpop-")):
            raise RefusedError(
                "is no client id of at most 64 letters, digits and . _ -, or begins with dyn. or kpop- as Kopano's own do",
                client,
                address,
            )
    return parsed


def redirect(value: Any) -> str:
    """An address to which users come back from a log-in: one that Konnect takes, since it leaves out a client with another."""
    line = text(value)
    if not REDIRECT.match(line):
        raise RefusedError("must be https:// or http://localhost:PORT with a path and nothing after it: Konnect takes no other")
    return line


def schedule(value: Any) -> str:
    """Times in the five fields of a crontab, in the form that every cron understands: numbers, lists, ranges and steps."""
    allowed = "must be minute, hour, day, month and weekday as in a crontab, in numbers, and come at least twice"
    line = text(value)
    if not SCHEDULE.match(line):
        raise RefusedError(allowed)
    try:
        longest_gap(line)
    except (CronSimError, StopIteration):
        raise RefusedError(allowed) from None
    return line


def longest_gap(times: str) -> timedelta:
    """The longest time between two runs of a schedule, by clocks that are never changed."""
    runs = list(itertools.islice(CronSim(times, datetime(2024, 1, 1)), GAPS_LOOKED_AT + 1))
    return max(after - before for before, after in itertools.pairwise(runs))


def folder(value: Any) -> str:
    """A folder of the Docker host."""
    line = text(value)
    if not FOLDER.match(line) or ".." in line.split("/"):
        raise RefusedError("must be the absolute path of a folder on the Docker host, of letters, digits and . _ - only")
    return line


def camel(name: str) -> str:
    """A field's name as stack files write it: bind_dn becomes bindDn."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def record(kind: Any, parse: Mapping[str, Parser]) -> Parser:
    """A map with exactly the fields of the dataclass `kind`, each a line unless `parse` says otherwise; empty means None. Fields
    that have a default may be left out."""
    names = {camel(entry.name): entry.name for entry in fields(kind)}
    needed = [camel(entry.name) for entry in fields(kind) if entry.default is MISSING]

    def parse_record(value: Any) -> Any:
        given = map_of(names, str)(value)
        if not given:
            return None
        if missing := sorted(set(needed) - {name for name, line in given.items() if line}):
            raise RefusedError(f"must have a value for each of {', '.join(needed)}", missing[0], "")
        parsed = {}
        for name, line in given.items():
            try:
                parsed[names[name]] = parse.get(name, text)(line)  # type: ignore[no-untyped-call]
            except RefusedError as error:
                raise RefusedError(error.allowed, name, line if error.shown is None else error.shown) from None
        return kind(**parsed)

    return parse_record


@cache
def kopano_options() -> Mapping[str, frozenset[str] | None]:
    """Configuration file of Kopano (`server`, `ldap`, ...) -> its known options, or None where no list is known.

    Source: the manual pages and example configuration files of Kopano Groupware Core.
    """
    raw = json.loads((Path(__file__).parent / "kopano_options.json").read_text(encoding="utf-8"))
    return {file: None if options is None else frozenset(options) for file, options in raw.items()}


def _variable_name(name: str) -> None:
    if not VARIABLE.match(name):
        raise RefusedError("must be named with letters, digits and underscores", name)
    if WIRED_VARIABLES.match(name):
        raise RefusedError("is set by the program from another setting and cannot be set here", name)
    match = KCCONF.match(name.upper() if name.startswith("KCCONF_MEET_") else name)
    if name.startswith("KCCONF_") and not match:
        raise RefusedError("must have the form KCCONF_FILE_OPTION in capitals", name)
    if match:
        file, option = match[1].lower(), match[2].lower()
        # Each plug-in of the WebApp has a file, whose options are no closed list either.
        file = "webapp" if file == "webappplugin" else file
        if file not in kopano_options():
            known = ", ".join(sorted(kopano_options())).upper()
            raise RefusedError(f"names no configuration file of Kopano, known are {known}", name)
        options = kopano_options()[file]
        if options is not None and option not in options:
            raise RefusedError(f"names no option of Kopano's {file} (an unknown option stops the service)", name)


def variables(blocks: Collection[str]) -> Parser:
    """Block -> variable -> value, of blocks that exist and variables that their images take."""

    def parse(value: Any) -> dict[str, dict[str, str]]:
        parsed: dict[str, dict[str, str]] = map_of(blocks, map_of(None, text))(value)
        for block, lines in parsed.items():
            for name, line in lines.items():
                try:
                    _variable_name(name)
                except RefusedError as error:
                    raise RefusedError(error.allowed, f"{block}.{error.item}", line) from None
        return parsed

    return parse
