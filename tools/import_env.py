"""Make a stack file from the .env of a kopano-docker (Docker Compose) deployment: `python -m tools.import_env FOLDER`.

Changes nothing on the Docker host and nothing of that deployment. Secrets are encrypted before they are in the stack file, and
no value is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from components import parsers, settings
from components.blocks import BLOCKS
from components.parsers import RefusedError
from tools import docker_engine, stack, stack_files
from tools.compose_variables import Imported, translate
from tools.places import stack_file
from tools.words import FailureError, main, say

NO_BLOCK = {"kopano_ssl.env": "kopano_ssl runs the program's own script, which needs no variables"}


def read(path: Path) -> dict[str, str]:
    """The variables of an env file, those that are empty left out. Raises FailureError with the first line that is none."""
    try:
        with path.open(encoding="utf-8") as stream:
            for binding in parse_stream(stream):
                if binding.error:
                    raise FailureError(f"{path}, line {binding.original.line}: this is no NAME=VALUE: mend or remove the line")
        values = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise FailureError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    return {name: value for name, value in values.items() if value}


def main_file(source: Path) -> Path:
    """The .env file that the command line means. Raises FailureError when there is none."""
    path = source / ".env" if source.is_dir() else source
    if not path.is_file():
        raise FailureError(f"{path} is not there: name the folder of the kopano-docker deployment, or its .env file")
    return path


def extra(found: Imported, file: Path) -> None:
    """The variables of one service (`kopano_server.env`) as entries of kopano:environment, or a reason for each."""
    for variable, value in read(file).items():
        label = f"{file.name}: {variable}"
        block = file.name.removesuffix(".env").removeprefix("kopano_")
        if file.name in NO_BLOCK or block not in BLOCKS:
            found.left_out[label] = NO_BLOCK.get(file.name, "is for no block of this program")
            continue
        if variable in ("KCCONF_SPOOLER_SMTP_SERVER", "KCCONF_SPOOLER_SMTP_PORT"):
            _smtp(found, label, variable, value)
            continue
        try:
            parsers.variables(BLOCKS)({block: {variable: value}})
        except RefusedError as error:
            found.left_out[label] = error.allowed
            continue
        path = f"environment.{block}.{variable}"
        (found.hide if stack_files.is_secret(variable) else found.set)(label, path, value)


def _smtp(found: Imported, label: str, variable: str, value: str) -> None:
    if found.config.get("blocks", {}).get("mail", True):
        found.left_out[label] = "the spooler sends through the block mail"
        return
    host, _, port = found.config.get("smtpServer", ":25").rpartition(":")
    server = (value, port) if variable.endswith("SERVER") else (host, value)
    found.set(label, "smtpServer", ":".join(server))


def import_folder(source: Path) -> Imported:
    """What the files of a deployment become. Raises FailureError where one cannot be read."""
    path = main_file(source)
    variables = read(path)
    found = translate(variables, set(stack.docker("volume", "ls", "--quiet")))
    for file in sorted(path.parent.glob("*.env")):
        if file.is_file() and file != path:
            extra(found, file)
    found.config = {setting: value for setting, value in found.config.items() if value != {}}
    return found


def mistakes(found: Imported, name: str) -> str:
    """What of the settings still has to be mended by hand, in words."""
    hidden = frozenset(path.partition(".")[0] for path in found.secrets)
    values: dict[str, Any] = {setting: value for setting, value in found.config.items() if setting not in hidden}
    try:
        settings.validate(name, values, hidden)
    except settings.SettingsError as error:
        return str(error)
    return ""


def report(found: Imported, name: str) -> None:
    """Print what became of each variable, without its value."""
    for variable, setting in sorted(found.mapped.items()):
        say(f"{variable}: {setting}")
    for variable, reason in sorted(found.left_out.items()):
        say(f"{variable}: left out, {reason}")
    volumes = found.config.get("volumes", {})
    say(f"data that is taken over: {', '.join(volumes.values()) or 'none, no volume of that name is on the Docker host'}")
    if trouble := mistakes(found, name):
        say(f"{trouble}\n  Mend this in {stack_file(name).name} before you go on.")
    say(f"{stack_file(name).name} is written; stop the old deployment (docker-compose down), then: make up STACK={name}")


def _command() -> int:
    words = argparse.ArgumentParser(prog="scripts/import-env", description="Make a stack file from a kopano-docker deployment.")
    words.add_argument("source", type=Path, help="the folder of the deployment, or its .env file")
    words.add_argument("--stack", help="name of the stack (otherwise the deployment's COMPOSE_PROJECT_NAME)")
    arguments = words.parse_args()
    source = arguments.source.expanduser()
    name = arguments.stack or read(main_file(source)).get("COMPOSE_PROJECT_NAME", "").lower()
    stack_files.check_name(name, " --stack")
    stack_files.check_free(stack_file(name), "choose another name with --stack")
    docker_engine.ensure()
    found = import_folder(source)
    comment = "Made by scripts/import-env from a kopano-docker deployment."
    stack_files.write(stack_file(name), name, comment, found.config, found.secrets)
    report(found, name)
    return 0


if __name__ == "__main__":
    main(_command)
