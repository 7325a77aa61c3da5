"""`docker exec CONTAINER COMMAND ...`, and nothing else of the docker command: output and exit code are the command's own."""

from __future__ import annotations

import os
import sys

import docker  # type: ignore[import-untyped]
from docker.errors import APIError, DockerException  # type: ignore[import-untyped]
from requests.exceptions import RequestException

USAGE = "the lab has only 'docker exec CONTAINER COMMAND ...', without options: a job has no input and no terminal."


def main(arguments: list[str]) -> int:
    """Entry point."""
    if len(arguments) < 3 or arguments[0] != "exec" or arguments[1].startswith("-"):
        return _failed(f"'docker {' '.join(arguments[:2])}' is refused: {USAGE}")
    try:
        return run(arguments[1], arguments[2:])
    except APIError as problem:
        return _failed(str(problem.explanation or problem))
    except (DockerException, RequestException, OSError) as problem:
        return _failed(f"{os.environ.get('DOCKER_HOST', '')} does not answer: {problem}")


def run(container: str, command: list[str]) -> int:
    """Run the command there; gives its exit code."""
    engine = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")
    created = engine.exec_create(container, command)
    for out, err in engine.exec_start(created["Id"], stream=True, demux=True):
        for stream, part in ((sys.stdout, out), (sys.stderr, err)):
            if part:
                stream.buffer.write(part)
                stream.flush()
    code = engine.exec_inspect(created["Id"])["ExitCode"]
    return _failed("the connection ended before the command did") if code is None else int(code)


def _failed(sentence: str) -> int:
    print(f"docker: {sentence}", file=sys.stderr)
    return 1
