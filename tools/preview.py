"""Show what a deployment would change: `python -m tools.preview STACK`."""

from __future__ import annotations

from tools import cli, pulumi, stack
from tools.words import main


def _command() -> int:
    name = stack.name_from_arguments()
    cli.ensure()
    cli.ensure_plugins()
    stack.ensure(name)
    stack.load_settings(name)
    return pulumi.run("preview", "--stack", name, "--diff", "--non-interactive", check=False).returncode


if __name__ == "__main__":
    main(_command)
