"""Typed, validated settings: the only reader of the stack's configuration.

Every key stands once in `KEYS`, with the description that `Pulumi.yaml` repeats (a test compares the two) and the parser that
says what is allowed. All mistakes of a stack are found before the first resource is registered and are reported together.
"""

from __future__ import annotations

import ipaddress
import json
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pulumi

from components.blocks import BLOCKS

NAMESPACE = "kopano"
PUBLISHABLE = {"ldap": 389, "server": 236, "serverTls": 237}
"""What `kopano:publish` can open on the Docker host beside HTTP and HTTPS -> the port inside the container."""

# Variables that the program computes from other settings or from another block's outputs. A second value for one of them
# would silently disconnect blocks, so the setting that drives it must be used instead.
WIRED_VARIABLES = re.compile(
    r"^(SERVICE_TO_START|FQDN|DEFAULTREDIRECT|HTTPS_PORT|TLS_\w+|EMAIL|TZ"
    r"|(MYSQL|MARIADB)_\w+|LDAP_(ADMIN_PASSWORD|BASE_DN|DOMAIN|ORGANISATION|READONLY_\w+)"
    r"|KCCONF_SERVER_(MYSQL_\w+|USER_PLUGIN\w*|ATTACHMENT_PATH|\w+_LISTEN(_TLS)?|\w+_SSL_(CA|KEY)_FILE|SSLKEYS_PATH)"
    r"|KCCONF_LDAP_LDAP_(URI|BIND_\w+|SEARCH_BASE))$"
)
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
KCCONF = re.compile(r"^KCCONF_([A-Z]+)_([A-Z0-9_]+)$")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"^(?=.{{4,253}}$){LABEL}(\.{LABEL})+$")
IMAGE_REFERENCE = re.compile(r"^[a-z0-9][a-z0-9._:/-]*?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$")
DN = re.compile(r"^[A-Za-z]+=[^,=\\]+(,[A-Za-z]+=[^,=\\]+)*$")


class SettingsError(pulumi.RunError):
    """All wrong settings of a stack in one message. A `RunError`, so that Pulumi prints it without a traceback."""


class RefusedError(ValueError):
    """A value that is not allowed. `allowed` says what is; `item` names the entry of a map that is wrong."""

    def __init__(self, allowed: str, item: str = "", shown: object = None) -> None:
        super().__init__(allowed)
        self.allowed, self.item, self.shown = allowed, item, shown


@dataclass(frozen=True)
class Key:
    """One configuration key of the stack file.

    `type` is the type in Pulumi's project schema, `default` the value when the stack file is silent (in the stack file's own
    form), `example` a value that is allowed, `parse` turns the raw value into the typed one or raises `RefusedError`.
    """

    name: str
    type: str
    description: str
    default: Any
    example: Any
    parse: Callable[[Any], Any]


def _text(value: Any) -> str:
    """A string that the images' entry points can take (they substitute it into files with regular expressions)."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise RefusedError("must be a text")
    text = str(value)
    if "\\" in text:
        raise RefusedError("must not contain a backslash: the images' entry points cannot take one")
    if any(character in text for character in "\n\r\0"):
        raise RefusedError("must be one line")
    return text


def _required_text(value: Any) -> str:
    text = _text(value).strip()
    if not text:
        raise RefusedError("must not be empty")
    return text


def _matching(pattern: re.Pattern[str], allowed: str, *, empty: bool = False) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = _text(value)
        if not (pattern.match(text) or (empty and not text)):
            raise RefusedError(allowed)
        return text

    return parse


def _fqdn(value: Any) -> str:
    text = _text(value)
    if not HOST_NAME.match(text) or re.fullmatch(r"[0-9.]+", text):
        raise RefusedError("must be a host name in lower case with at least one dot, without a port and not an address")
    return text


def _port(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise RefusedError("must be a port number from 1 to 65535")
    return int(text)


def _boolean(value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise RefusedError("must be true or false")
    return str(value).lower() == "true"


def _choice(*choices: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in choices:
            raise RefusedError(f"must be one of {', '.join(choices)}")
        return str(value)

    return parse


def _address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise RefusedError("must be an IP address of the Docker host") from None


def _timezone(value: Any) -> str:
    if value not in zoneinfo.available_timezones():
        raise RefusedError("must be a name of the time zone database")
    return str(value)


def _map(keys: Mapping[str, Any] | None, parse: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """A map whose keys are among `keys` (any if None) and whose values `parse` takes."""

    def parse_map(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise RefusedError("must be a map")
        parsed = {}
        for item, raw in value.items():
            if keys is not None and item not in keys:
                raise RefusedError(f"has an unknown name, allowed are {', '.join(sorted(keys))}", item, raw)
            try:
                parsed[item] = parse(raw)
            except RefusedError as error:
                raise RefusedError(error.allowed, f"{item}.{error.item}".rstrip("."), error.shown or raw) from None
        return parsed

    return parse_map


def _memory(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdigit() or not 32 <= int(text) <= 1_048_576:
        raise RefusedError("must be a whole number of megabytes, at least 32")
    return int(text)


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
    match = KCCONF.match(name)
    if name.startswith("KCCONF_") and not match:
        raise RefusedError("must have the form KCCONF_FILE_OPTION in capitals", name)
    if match:
        file, option = match[1].lower(), match[2].lower()
        if file not in kopano_options():
            raise RefusedError(
                f"names no configuration file of Kopano, known are {', '.join(sorted(kopano_options())).upper()}", name
            )
        options = kopano_options()[file]
        if options is not None and option not in options:
            raise RefusedError(f"names no option of Kopano's {file} (an unknown option stops the service)", name)


def _environment(value: Any) -> dict[str, dict[str, str]]:
    blocks: dict[str, dict[str, str]] = _map(BLOCKS, _map(None, _text))(value)
    for block, variables in blocks.items():
        for name, text in variables.items():
            try:
                _variable_name(name)
            except RefusedError as error:
                raise RefusedError(error.allowed, f"{block}.{error.item}", text) from None
    return blocks


_IMAGE = "must be an image reference in lower case, with a tag or a digest"


def _image(value: Any) -> str:
    text = _matching(IMAGE_REFERENCE, _IMAGE)(value)
    if "@" not in text and ":" not in text.rsplit("/", 1)[-1]:
        raise RefusedError(_IMAGE)
    return text


TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")

KEYS: tuple[Key, ...] = (
    Key(
        "fqdn",
        "string",
        "Host name under which users reach the deployment, without a port. Required.",
        "",
        "mail.example.org",
        _fqdn,
    ),
    Key(
        "organisation",
        "string",
        "Name of the organisation, shown in the directory.",
        "Kopano",
        "Example Ltd",
        _required_text,
    ),
    Key(
        "ldapBaseDn",
        "string",
        "Base of the directory. Empty: made from fqdn (mail.example.org becomes dc=mail,dc=example,dc=org).",
        "",
        "dc=example,dc=org",
        _matching(DN, "must be a distinguished name", empty=True),
    ),
    Key(
        "demoUsers",
        "boolean",
        "Fill the directory with demo users (user1, user2, ...; password = user name). Never for production.",
        False,
        "false",
        _boolean,
    ),
    Key("timezone", "string", "Time zone of all blocks.", "Etc/UTC", "Europe/Berlin", _timezone),
    Key(
        "mailboxLocale",
        "string",
        "Locale of new mailboxes: the names of their folders.",
        "en_US.UTF-8",
        "de_DE.UTF-8",
        _matching(re.compile(r"^[a-z]{2,3}_[A-Z]{2}\.UTF-8$"), "must have the form ll_CC.UTF-8"),
    ),
    Key("httpPort", "integer", "Port on the Docker host for HTTP, which redirects to HTTPS.", 80, "80", _port),
    Key("httpsPort", "integer", "Port on the Docker host for HTTPS.", 443, "443", _port),
    Key(
        "bindAddress",
        "string",
        "Address of the Docker host on which all ports are published. 0.0.0.0: on every IPv4 address.",
        "0.0.0.0",
        "127.0.0.1",
        _address,
    ),
    Key(
        "publish",
        "object",
        "Further ports to publish on the Docker host, service -> port. Services: ldap, server (Kopano over HTTP), "
        "serverTls (Kopano over HTTPS). Nothing is published unless named.",
        {},
        "{serverTls: 237}",
        _map(PUBLISHABLE, _port),
    ),
    Key(
        "imageSource",
        "string",
        "Where images come from: published (imageRepository and the third parties' own), or lab (stand-ins built on this "
        "machine: not Kopano).",
        "published",
        "published",
        _choice("published", "lab"),
    ),
    Key(
        "imageRepository",
        "string",
        "Registry and repository of the kopano_* images when imageSource is published.",
        "docker.io/zokradonh",
        "registry.example.org/kopano",
        _matching(re.compile(r"^[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9._-]+)*$"), "must be a registry and path in lower case"),
    ),
    Key(
        "imageTags",
        "object",
        "Tags of the kopano_* images when imageSource is published, image -> tag, for example core or webapp. Images "
        "whose release is pinned by the program can be left out; latest is used only where it is written here.",
        {},
        "{core: 11.0.2, webapp: 6.0.0}",
        _map(None, _matching(TAG, "must be an image tag")),
    ),
    Key(
        "images",
        "object",
        "Image of single blocks, block -> reference with tag or digest. Wins over imageSource.",
        {},
        "{server: registry.example.org/kopano_core:11.0.2}",
        _map(BLOCKS, _image),
    ),
    Key(
        "memory",
        "object",
        "Memory limit of single blocks in megabytes, block -> number.",
        {},
        "{db: 2048}",
        _map(BLOCKS, _memory),
    ),
    Key(
        "environment",
        "object",
        "Extra variables of single blocks, block -> variable -> value. KCCONF_* names must be options that Kopano knows.",
        {},
        '{server: {KCCONF_SERVER_LOG_LEVEL: "4"}}',
        _environment,
    ),
    Key(
        "protectData",
        "boolean",
        "Refuse every plan that would delete a data volume or a secret that opens it.",
        True,
        "true",
        _boolean,
    ),
)


@dataclass(frozen=True)
class Settings:
    """The validated settings of one stack; `stack` is its name, the rest are the keys of `KEYS` in the same order."""

    stack: str
    fqdn: str
    organisation: str
    ldap_base_dn: str
    demo_users: bool
    timezone: str
    mailbox_locale: str
    http_port: int
    https_port: int
    bind_address: str
    publish: Mapping[str, int]
    image_source: str
    image_repository: str
    image_tags: Mapping[str, str]
    images: Mapping[str, str]
    memory: Mapping[str, int]
    environment: Mapping[str, Mapping[str, str]]
    environment_is_secret: bool
    protect_data: bool

    @property
    def prefix(self) -> str:
        """What the names of this stack's containers, networks and volumes begin with, so that stacks can share a host."""
        return f"kopano-{self.stack}"

    @property
    def origin(self) -> str:
        """The URL of the deployment without a path; the port only where it is not HTTPS's own."""
        return f"https://{self.fqdn}" + ("" if self.https_port == 443 else f":{self.https_port}")


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def _problem(key: Key, item: str, value: object, allowed: str) -> str:
    where = f"{NAMESPACE}:{key.name}" + (f".{item}" if item else "")
    if not isinstance(value, str) or not value.isprintable():
        value = json.dumps(value)
    return f"{where} = {value or '(empty)'}: {allowed}, for example {key.example}"


def validate(stack: str, values: Mapping[str, Any], secret_keys: frozenset[str] = frozenset()) -> Settings:
    """Turn the raw values of a stack file into `Settings`.

    Arguments: the stack's name; key without namespace -> raw value (strings, or decoded JSON for maps); the keys whose values
    are secret and must not be shown. Raises `SettingsError` with every mistake in it.
    """
    problems: list[str] = []
    parsed: dict[str, Any] = {}
    known = {key.name for key in KEYS}
    for name in sorted(set(values) - known):
        problems.append(f"{NAMESPACE}:{name}: there is no such setting, there are {', '.join(sorted(known))}")
    for key in KEYS:
        raw = values.get(key.name, key.default)
        try:
            parsed[_snake(key.name)] = key.parse(raw)
        except RefusedError as error:
            shown = "[secret]" if key.name in secret_keys else (raw if error.shown is None else error.shown)
            problems.append(_problem(key, error.item, shown, error.allowed))
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,39}", stack):
        problems.append(
            f"stack name {stack}: must be at most 40 lower-case letters, digits and hyphens, since containers carry it,"
            " for example prod"
        )
    problems += _contradictions(parsed)
    if problems:
        raise SettingsError(
            f"The settings of stack {stack} cannot be used (nothing was changed):\n"
            + "\n".join(f"  - {problem}" for problem in problems)
        )
    if not parsed["ldap_base_dn"]:
        parsed["ldap_base_dn"] = ",".join(f"dc={label}" for label in parsed["fqdn"].split("."))
    return Settings(stack=stack, environment_is_secret="environment" in secret_keys, **parsed)


def _contradictions(parsed: Mapping[str, Any]) -> list[str]:
    """Mistakes that only show between settings that are fine by themselves."""
    problems = []
    ports: dict[int, str] = {}
    published = {"httpPort": parsed.get("http_port"), "httpsPort": parsed.get("https_port")}
    published |= {f"publish.{service}": port for service, port in parsed.get("publish", {}).items()}
    for name, port in published.items():
        if port is None:
            continue
        if port in ports:
            problems.append(
                f"{NAMESPACE}:{name} = {port}: is taken by {NAMESPACE}:{ports[port]}, each needs a port of its own,"
                f" for example {port + 1}"
            )
        ports.setdefault(port, name)
    if parsed.get("image_source") == "published":
        from components.images import missing_tags, unused_tags

        overridden = frozenset(parsed.get("images", {}))
        tags = parsed.get("image_tags", {})
        for image in missing_tags(tags, overridden, demo_users=bool(parsed.get("demo_users"))):
            problems.append(
                f"{NAMESPACE}:imageTags.{image} = (empty): the release of kopano_{image} must be named, or latest to"
                f" take what is newest, for example {{{image}: 11.0.2}}"
            )
        for image, allowed in unused_tags(tags).items():
            problems.append(f"{NAMESPACE}:imageTags.{image}: no such image, there are {allowed}, for example core")
    return problems


def load() -> Settings:
    """The settings of the stack that is being deployed, from Pulumi's configuration. Raises `SettingsError`."""
    config = pulumi.Config(NAMESPACE)
    set_keys = {
        name.removeprefix(f"{NAMESPACE}:") for name in pulumi.runtime.config.get_config_env() if name.startswith(f"{NAMESPACE}:")
    }
    types = {key.name: key.type for key in KEYS}
    values: dict[str, Any] = {}
    for name in set_keys | set(types):
        raw = config.get(name)
        if raw is not None:
            values[name] = _decoded(raw) if types.get(name) == "object" else raw
    secret = frozenset(name for name in values if pulumi.runtime.is_config_secret(f"{NAMESPACE}:{name}"))
    return validate(pulumi.get_stack(), values, secret)


def _decoded(raw: str) -> Any:
    try:
        return json.loads(raw)
    except json.JSONDecodeError:
        return raw
