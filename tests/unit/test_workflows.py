"""The workflow files: pinned, without secrets for strangers, and their steps do what they say."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import cli
from tools.graph import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
STAND_IN = """#!/bin/sh
echo "on the way" >&2
[ -z "$REPORT" ] || echo "$REPORT"
exit "$REPORT_CODE"
"""


def workflow(name: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")))


def step(name: str) -> dict[str, Any]:
    """A step of the job that previews."""
    (found,) = [step for step in workflow("preview")["jobs"]["preview"]["steps"] if step.get("name") == name]
    return dict(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_action_is_pinned_by_hash_with_its_release_beside_it(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text(encoding="utf-8"))
    assert used
    for line in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_what_a_fork_sends_is_never_run_where_secrets_are() -> None:
    preview = workflow("preview")
    # YAML 1.1 takes the key `on` for a truth value.
    assert set(preview[True]) == {"pull_request"}
    assert preview["permissions"] == {}
    for job in preview["jobs"].values():
        assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
        assert job["permissions"] == {"contents": "read", "pull-requests": "write"}


def test_each_stack_has_a_comment_of_its_own_and_one_alone() -> None:
    job = workflow("preview")["jobs"]["preview"]
    assert job["strategy"]["matrix"] == {"stack": "${{ fromJSON(vars.KOPANO_STACKS) }}"}
    assert step("Comment")["with"] == {"header": "preview-${{ matrix.stack }}", "path": "report.md"}


def test_the_workflow_installs_the_cli_that_the_project_was_made_with() -> None:
    assert step("Install the Pulumi CLI")["with"]["pulumi-version"] == cli.release()


@pytest.mark.parametrize(
    ("code", "report", "commented"),
    [
        (0, "## What changes", "## What changes\n"),
        (2, "**Do not merge.**", "**Do not merge.**\n"),
        (1, "", "Stack `prod` could not be previewed: the log of this check says why.\n"),
    ],
    ids=["harmless", "data in danger", "no preview"],
)
def test_the_steps_comment_whatever_came_of_the_preview_and_then_end_as_it_did(
    tmp_path: Path, code: int, report: str, commented: str
) -> None:
    (tmp_path / "scripts").mkdir()
    for program, text in ((tmp_path / "scripts" / "preview-report", STAND_IN), (tmp_path / "make", "#!/bin/sh\n")):
        program.write_text(text, encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    summary, output = tmp_path / "summary", tmp_path / "output"
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "STACK": "prod",
        "REPORT": report,
        "REPORT_CODE": str(code),
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_OUTPUT": str(output),
    }
    # As a runner calls it.
    bash = ["bash", "-e", "-c"]
    subprocess.run([*bash, step("Preview")["run"]], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == summary.read_text(encoding="utf-8") == commented
    assert output.read_text(encoding="utf-8") == f"code={code}\n"
    verdict = subprocess.run([*bash, step("Verdict")["run"]], env={**environment, "CODE": str(code)}, check=False)
    assert verdict.returncode == code


def test_the_key_for_the_docker_host_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KEY": "key", "HOST_KEY": "host ssh-ed25519 x"}
    for name in ("preview", "drift"):
        steps = next(iter(workflow(name)["jobs"].values()))["steps"]
        (reach,) = [step["run"] for step in steps if step.get("name") == "Reach the Docker host"]
        done = subprocess.run(["bash", "-e", "-c", reach], env=environment, check=True, capture_output=True, text=True)
        assert done.stdout == ""
        assert (tmp_path / ".ssh/id_ed25519").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / ".ssh/known_hosts").read_text(encoding="utf-8") == "host ssh-ed25519 x\n"
