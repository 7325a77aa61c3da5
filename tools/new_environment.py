"""Write the stack file of a new environment: `python -m tools.new_environment NAME`.

Asks the few questions that matter, or takes the answers as options. The result has passed the program's own validation before
anything is written; secrets are encrypted before they are in the stack file, and are never taken from the command line.
"""

from __future__ import annotations

import argparse
import copy
import getpass
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components import settings
from components.blocks import enabled
from components.images import missing_tags
from components.parsers import RefusedError
from components.settings import KEYS, NAMESPACE
from tools import cli, configuration, stack, stack_files
from tools.places import stack_file
from tools.stack_files import is_secret
from tools.words import FailureError, main, say

BY_NAME = {key.name: key for key in KEYS}
DATABASE = re.compile(r"^(?P<user>[^@/:]+)@(?P<host>[^@/:]+)(:(?P<port>[0-9]+))?/(?P<name>[^@/:]+)$")
DATABASE_FORM = "must be USER@HOST/NAME or USER@HOST:PORT/NAME, for example kopano@db.example.org/kopano"

PLAIN_OPTIONS = {
    "fqdn": "fqdn",
    "organisation": "organisation",
    "timezone": "timezone",
    "image_source": "imageSource",
    "registry": "imageRepository",
    "http_port": "httpPort",
    "https_port": "httpsPort",
    "bind_address": "bindAddress",
}
"""Option -> the setting that takes its value as it is."""

Entry = tuple[str, ...]
"""A setting, or an entry of one: (publish, imaps)."""


@dataclass
class Draft:
    """The settings of the environment so far: `config` (setting -> value), `secrets` (path -> value)."""

    config: dict[str, Any] = field(default_factory=dict)
    secrets: dict[Entry, str] = field(default_factory=dict, repr=False)

    def set(self, path: Entry, value: Any) -> None:
        """Give a setting, or an entry of one, a value."""
        _place(self.config, path, value)

    def complete(self) -> dict[str, Any]:
        """The settings with their secrets, to be validated and never shown."""
        values = copy.deepcopy(self.config)
        for path, value in self.secrets.items():
            _place(values, path, value)
        return values

    def blocks_off(self, block: str) -> None:
        """Switch a block off whose place something else takes."""
        self.set(("blocks", block), False)


def _place(values: dict[str, Any], path: Entry, value: Any) -> None:
    *folders, last = path
    for entry in folders:
        values = values.setdefault(entry, {})
        if not isinstance(values, dict):
            raise FailureError(f"{NAMESPACE}:{'.'.join(path)} is given, and {entry} as a whole as well: give one of the two")
    values[last] = value


def split_path(text: str) -> Entry:
    """A path such as publish.imaps. Names of entries may have dots where the setting's map is flat (dkim.example.org)."""
    setting, _, rest = text.partition(".")
    if setting not in BY_NAME:
        raise FailureError(f"{NAMESPACE}:{setting}: there is no such setting, docs/configuration.md lists those that there are")
    example = configuration.example(BY_NAME[setting])
    if not rest:
        return (setting,)
    if not isinstance(example, dict):
        raise FailureError(f"{NAMESPACE}:{text}: {setting} has no entries, for example {setting}={example}")
    nested = isinstance(next(iter(example.values())), dict)
    return (setting, *rest.split(".", 1 if nested else 0))


def cli_path(path: Entry) -> str:
    """A path as the CLI writes it."""
    return path[0] + "".join(f'["{entry}"]' if "." in entry else f".{entry}" for entry in path[1:])


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise FailureError(f"{option} {name}: must be NAME=VALUE, see scripts/new-environment --help")
    return name, value


def given(draft: Draft, text: str) -> None:
    """Take a value from `--set`. Raises FailureError for one that is a secret."""
    name, raw = _pair("--set", text)
    path = split_path(name)
    value: Any = raw
    if len(path) == 1 and BY_NAME[path[0]].type in ("object", "array"):
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError:
            raise FailureError(f"--set {name}: is no YAML, for example {path[0]}='{BY_NAME[path[0]].example}'") from None
    _, hidden = configuration.split_secrets(value, name)
    if hidden or (len(path) > 1 and is_secret(path[-1])):
        secret = hidden[0] if hidden else name
        raise FailureError(f"{secret} is a secret, which others see on a command line: use --secret {secret}=FILE")
    draft.set(path, value)


def read_secret(name: str, source: str) -> str:
    """The secret in a file, or, for `-`, on the standard input; the end of the line is no part of it."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise FailureError(f"--secret {name}: {source} cannot be read: {why}") from None
    return text.rstrip("\r\n")


def database(text: str) -> dict[str, Any]:
    """The settings of an external database, without its password."""
    match = DATABASE.match(text)
    if not match:
        raise FailureError(f"{NAMESPACE}:database = {text}: {DATABASE_FORM}")
    return {"host": match["host"], "port": int(match["port"] or 3306), "name": match["name"], "user": match["user"]}


def from_options(options: argparse.Namespace) -> Draft:
    """What the command line says."""
    draft = Draft()
    for option, setting in PLAIN_OPTIONS.items():
        if (value := getattr(options, option)) is not None:
            draft.set((setting,), value)
    if options.demo_users:
        draft.set(("demoUsers",), True)
    for text in options.tag:
        image, tag = _pair("--tag", text)
        draft.set(("imageTags", image), tag)
    if options.database:
        external_database(draft, options.database)
    if options.directory:
        external_directory(draft, options.directory, options.directory_base_dn or "", options.directory_bind_dn or "")
    if options.smtp_server:
        external_mail(draft, options.smtp_server)
    for text in options.set:
        given(draft, text)
    sources = [_pair("--secret", text) for text in options.secret]
    if [source for _, source in sources].count("-") > 1:
        raise FailureError("--secret: only one secret can come from the standard input, put the others into files")
    for name, source in sources:
        draft.secrets[split_path(name)] = read_secret(name, source)
    return draft


def external_database(draft: Draft, text: str) -> None:
    """Use a database elsewhere."""
    draft.blocks_off("db")
    draft.set(("database",), database(text))


def external_directory(draft: Draft, uri: str, base_dn: str, bind_dn: str) -> None:
    """Use a directory elsewhere."""
    draft.blocks_off("ldap")
    draft.set(("directory",), {"uri": uri, "baseDn": base_dn, "bindDn": bind_dn})


def external_mail(draft: Draft, server: str) -> None:
    """Hand outgoing mail to a server elsewhere."""
    draft.blocks_off("mail")
    draft.set(("smtpServer",), server)


def refusal(setting: str, value: Any) -> str:
    """Why a setting cannot have a value, in one sentence; empty where it can."""
    key = BY_NAME[setting]
    try:
        key.parse(value)
    except RefusedError as error:
        return f"{NAMESPACE}:{setting}: {error.allowed}, for example {key.example}"
    return ""


def ask(question: str, default: str, check: Callable[[str], str]) -> str:
    """A line from the person, asked for again until `check` has nothing to say against it."""
    while True:
        try:
            answer = input(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
        except EOFError:
            raise FailureError(
                "a question was not answered, and nothing was written: give the answers as options and --non-interactive, see"
                " scripts/new-environment --help"
            ) from None
        if not (trouble := check(answer)):
            return answer
        say(trouble)


def ask_secret(question: str) -> str:
    """A secret from the person, which is not shown while it is typed."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{question} (not shown): ")
    return sys.stdin.readline().rstrip("\r\n")


def ask_setting(draft: Draft, setting: str, question: str) -> None:
    """Ask for a setting that no option gave."""
    if setting not in draft.config:
        default = str(BY_NAME[setting].default).lower() if BY_NAME[setting].type == "boolean" else str(BY_NAME[setting].default)
        answer = ask(question, default, lambda line: refusal(setting, line))
        if answer != default:
            draft.set((setting,), answer)


def optional(check: Callable[[str], str]) -> Callable[[str], str]:
    """A check that takes an empty line."""
    return lambda line: check(line) if line else ""


def database_trouble(text: str) -> str:
    """Why an answer names no database; empty where it does."""
    return "" if DATABASE.match(text) else DATABASE_FORM


def required(text: str) -> str:
    """A check that takes any line but an empty one."""
    return "" if text else "must not be empty"


def questions(draft: Draft) -> None:
    """Ask for what the options leave open and what matters."""
    switched = draft.config.get("blocks", {})
    ask_setting(draft, "fqdn", "Host name under which users reach it")
    ask_setting(draft, "organisation", "Name of the organisation")
    ask_setting(draft, "timezone", "Time zone")
    ask_setting(draft, "imageSource", "Images: published, or lab (stand-ins, not Kopano)")
    if "database" not in draft.config and "db" not in switched:
        question = "External database as USER@HOST/NAME, empty for the bundled one"
        if text := ask(question, "", optional(database_trouble)):
            external_database(draft, text)
    if "directory" not in draft.config and "ldap" not in switched:
        question = "External directory, its URI (ldaps://HOST), empty for the bundled one"
        if uri := ask(question, "", lambda _: ""):
            base = ask("Base of that directory (dc=example,dc=org)", "", required)
            external_directory(draft, uri, base, ask("Name of the account that reads it (cn=...)", "", required))
    if "smtpServer" not in draft.config and "mail" not in switched:
        question = "Mail server for outgoing mail as HOST:PORT, empty for the bundled one"
        if server := ask(question, "", optional(lambda line: refusal("smtpServer", line))):
            external_mail(draft, server)
    if draft.config.get("imageSource") == "lab":
        if draft.config.get("blocks", {}).get("ldap", True):
            ask_setting(draft, "demoUsers", "Demo users, whose passwords everybody knows: true or false")
        return
    ask_setting(draft, "imageRepository", "Registry and repository of the kopano_* images")
    needed = enabled(draft.config.get("blocks", {})) - frozenset(draft.config.get("images", {}))
    for image in missing_tags(draft.config.get("imageTags", {}), needed, demo_users=bool(draft.config.get("demoUsers"))):
        question = f"Release of the image kopano_{image} (a tag)"
        draft.set(("imageTags", image), ask(question, "", lambda tag: refusal("imageTags", {"tag": tag})))


def missing_secret(draft: Draft) -> str:
    """The path of a secret that a setting lacks; empty where none does."""
    for setting, value in draft.complete().items():
        if setting in BY_NAME:
            try:
                BY_NAME[setting].parse(value)
            except RefusedError as error:
                if error.item and is_secret(error.item) and error.allowed.startswith(configuration.NEEDED):
                    return f"{setting}.{error.item}"
    return ""


def add_secrets(draft: Draft, *, interactive: bool) -> None:
    """Ask for the secrets that settings lack. Raises FailureError where nobody can be asked."""
    while name := missing_secret(draft):
        if not interactive:
            raise FailureError(
                f"{NAMESPACE}:{name} is missing: put it into a file and add --secret {name}=FILE, or {name}=- to read it from the"
                " standard input"
            )
        value = ask_secret(f"{NAMESPACE}:{name}")
        if not value:
            raise FailureError(f"{NAMESPACE}:{name} must not be empty, and nothing was written: run the command again")
        draft.secrets[split_path(name)] = value


def check(draft: Draft, name: str) -> None:
    """Raise FailureError with what the program itself would refuse."""
    hidden = frozenset(path[0] for path in draft.secrets)
    try:
        settings.validate(name, draft.complete(), hidden)
    except settings.SettingsError as error:
        mistakes = "; ".join(line.removeprefix("  - ") for line in str(error).splitlines()[1:])
        raise FailureError(f"{stack_file(name).name} is not written: {mistakes}") from None


def check_state(name: str) -> None:
    """Raise FailureError where the state knows a stack of that name, whose data another stack file would then be for."""
    if cli.present() and stack.exists(name):
        raise FailureError(
            f"the state has a stack {name} already: choose another name, or remove that one with all its data:"
            f" make purge STACK={name}"
        )


def _options() -> argparse.Namespace:
    words = argparse.ArgumentParser(
        prog="scripts/new-environment",
        description="Write the stack file of a new environment. What is not given is asked for.",
        epilog="Every setting: docs/configuration.md.",
    )
    words.add_argument("name", help="name of the stack, for example prod")
    words.add_argument("--fqdn", help="host name under which users reach it")
    words.add_argument("--organisation", help="name of the organisation")
    words.add_argument("--timezone", help="for example Europe/Berlin")
    words.add_argument("--image-source", help="published or lab")
    words.add_argument("--registry", help="registry and repository of the kopano_* images")
    words.add_argument("--tag", action="append", default=[], metavar="IMAGE=TAG", help="release of an image; may be repeated")
    words.add_argument(
        "--database", metavar="USER@HOST[:PORT]/NAME", help="external database; password: --secret database.password=FILE"
    )
    words.add_argument("--directory", metavar="URI", help="external directory; password: --secret directory.bindPassword=FILE")
    words.add_argument("--directory-base-dn", metavar="DN", help="base of that directory")
    words.add_argument("--directory-bind-dn", metavar="DN", help="account that reads it")
    words.add_argument("--smtp-server", metavar="HOST:PORT", help="external mail server for outgoing mail")
    words.add_argument("--http-port", metavar="PORT")
    words.add_argument("--https-port", metavar="PORT")
    words.add_argument("--bind-address", metavar="ADDRESS", help="address of the Docker host on which ports are published")
    words.add_argument("--demo-users", action="store_true", help="fill the directory with demo users")
    words.add_argument(
        "--set", action="append", default=[], metavar="KEY[.ENTRY]=VALUE", help="any other setting; may be repeated"
    )
    words.add_argument(
        "--secret", action="append", default=[], metavar="KEY.ENTRY=FILE", help="a secret from a file, - for stdin"
    )
    words.add_argument("--non-interactive", action="store_true", help="ask nothing")
    return words.parse_args()


def _command() -> int:
    options = _options()
    name: str = options.name
    stack_files.check_name(name)
    stack_files.check_free(stack_file(name))
    draft = from_options(options)
    check_state(name)
    if not options.non_interactive:
        questions(draft)
    add_secrets(draft, interactive=not options.non_interactive)
    check(draft, name)
    secrets = {cli_path(path): value for path, value in draft.secrets.items()}
    comment = "Made by scripts/new-environment. Every setting: docs/configuration.md"
    stack_files.write(stack_file(name), name, comment, draft.config, secrets)
    if secrets:
        say(f"encrypted in {stack_file(name).name}: {', '.join(f'{NAMESPACE}:{path}' for path in secrets)}")
    say(f"{stack_file(name).name} is written; what it makes: make preview STACK={name}; deploy it: make up STACK={name}")
    return 0


if __name__ == "__main__":
    main(_command)
