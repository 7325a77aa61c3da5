"""Run the whole program for the demo under Pulumi's mocks: `python -m bench.evaluation`. What it takes is the program alone."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
from typing import Any

import pulumi
import yaml
from pulumi.runtime import mocks

from tools.places import ROOT, stack_file

RESOURCES = 150
"""The complete demo asks for more resources than this. A program that ended early would be quick."""


class Answers(mocks.Mocks):
    """Outputs that parts of the program read, in the form in which plug-ins give them."""

    def __init__(self) -> None:
        self.resources = 0

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """The outputs of a resource: its inputs, and what the program reads beside them."""
        self.resources += 1
        outputs = dict(args.inputs)
        if args.typ == "docker:index/network:Network":
            outputs["ipamConfigs"] = [{"gateway": "172.30.0.1", "subnet": "172.30.0.0/16"}]
        if args.typ == "docker:index/remoteImage:RemoteImage":
            outputs["imageId"] = f"sha256:{args.name}"
        if args.typ.startswith(("tls:", "random:")):
            # One reader takes its 138 bytes apart.
            text = "A" * 184
            outputs |= {
                name: text for name in ("privateKeyPem", "privateKeyPemPkcs8", "publicKeyPem", "certPem", "certRequestPem")
            }
            outputs |= {name: text for name in ("result", "base64", "hex")}
        return f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        """The program asks for nothing but resources."""
        raise NotImplementedError(args.token)


def evaluate() -> int:
    """Run the program to its end and return the number of resources that it asked for."""
    config = yaml.safe_load(stack_file("dev").read_text(encoding="utf-8"))["config"]
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    answers = Answers()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    monitor = mocks.MockMonitor(answers)
    pulumi.runtime.configure(
        mocks.MockSettings(  # type: ignore[no-untyped-call]
            monitor=monitor,
            monitor_features=set(monitor.GetDeploymentInfo(None).supportedFeatures),  # type: ignore[no-untyped-call]
            engine=mocks.MockEngine(None),
            project="kopano",
            stack="bench",
            dry_run=False,
            organization=None,
            callbacks=None,
        )
    )
    pulumi.runtime.set_all_config(values)
    os.environ["PULUMI_CONFIG"] = json.dumps(values)

    async def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")

    loop.run_until_complete(pulumi.runtime.run_in_stack(program))
    if answers.resources < RESOURCES:
        raise SystemExit(f"error: the program asked for {answers.resources} resources only: that is not the whole of it")
    return answers.resources


if __name__ == "__main__":
    evaluate()
