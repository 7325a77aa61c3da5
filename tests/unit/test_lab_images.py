"""The lab's image catalogue and build tool, without a Docker Engine."""

from __future__ import annotations

import io
import re
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lab.images import build, catalog


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of three images: base, ldap on base, demo on ldap."""
    for image, parent in (("base", "ROOTFS"), ("ldap", "BASE"), ("demo", "LDAP")):
        (tmp_path / image).mkdir()
        (tmp_path / image / "Dockerfile").write_text(f"ARG {parent}\nFROM ${{{parent}}}\n")
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(catalog, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command that only the test answers for: a shell script that the test writes."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return program


def script(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_every_image_that_the_program_asks_for_has_a_folder() -> None:
    assert {"base", "db", "ldap", "ldap_demo", "ssl"} <= set(catalog.names())


def test_every_image_of_the_lab_stands_on_images_of_the_lab() -> None:
    for image in catalog.names():
        assert image == "base" or catalog.parents(image), f"{image} is not built on an image of the lab"
        assert re.fullmatch(rf"kopano-lab/{image}:[0-9a-f]{{12}}", catalog.reference(image))


def test_a_folder_without_a_dockerfile_is_no_image(folder: Path) -> None:
    assert catalog.names() == ["base", "demo", "ldap"]


def test_an_unknown_image_is_refused_with_the_names_that_exist(folder: Path) -> None:
    with pytest.raises(LookupError) as problem:
        catalog.reference("ldpa")
    assert str(problem.value) == "The lab has no image 'ldpa': it has base, demo, ldap."


def test_changed_content_makes_a_new_reference_for_the_image_and_for_those_on_it(folder: Path) -> None:
    before = {image: catalog.reference(image) for image in catalog.names()}
    (folder / "ldap" / "start").write_text("exit 0\n")
    changed = {image for image in before if catalog.reference(image) != before[image]}
    assert changed == {"ldap", "demo"}


def test_a_file_whose_text_looks_like_the_next_file_makes_another_reference(folder: Path) -> None:
    (folder / "ldap" / "a").write_text("")
    (folder / "ldap" / "b").write_text("")
    before = catalog.reference("ldap")
    (folder / "ldap" / "b").unlink()
    (folder / "ldap" / "a").write_text("b\00\0")
    assert catalog.reference("ldap") != before


def test_a_file_that_becomes_executable_makes_a_new_reference(folder: Path) -> None:
    start = folder / "ldap" / "start"
    start.write_text("exit 0\n")
    before = catalog.reference("ldap")
    start.chmod(0o755)
    assert catalog.reference("ldap") != before


def test_what_git_does_not_keep_does_not_change_the_reference(folder: Path) -> None:
    start = folder / "ldap" / "start"
    start.write_text("exit 0\n")
    before = catalog.reference("ldap")
    start.chmod(0o600)
    (folder / "ldap" / "__pycache__").mkdir()
    (folder / "ldap" / "__pycache__" / "start.pyc").write_bytes(b"\0")
    assert catalog.reference("ldap") == before


def test_the_catalogue_needs_nothing_but_the_standard_library() -> None:
    code = "import sys; sys.path.insert(0, '.'); import lab.images.catalog; assert 'docker' not in sys.modules"
    root = Path(catalog.__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=root, check=True)


def test_what_is_missing_comes_with_the_images_under_it_first(folder: Path) -> None:
    assert build.missing(["demo"], set()) == {"demo": ["ldap"], "ldap": ["base"], "base": []}


def test_what_the_engine_has_is_not_built_again(folder: Path) -> None:
    present = {catalog.reference("base"), catalog.reference("ldap")}
    assert build.missing(catalog.names(), present) == {"demo": []}
    assert build.missing(["ldap"], present) == {}


def test_the_build_context_is_the_same_on_every_machine(folder: Path) -> None:
    start = folder / "ldap" / "start"
    start.write_text("exit 0\n")
    start.chmod(0o700)
    stream = io.BytesIO()
    build.pack("ldap", stream)
    with tarfile.open(fileobj=stream) as archive:
        entries = {entry.name: entry for entry in archive.getmembers()}
    assert set(entries) == {"Dockerfile", "start"}
    assert (stat.S_IMODE(entries["start"].mode), stat.S_IMODE(entries["Dockerfile"].mode)) == (0o755, 0o644)
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries.values()} == {(0, 0, 0)}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Step 3/9 : RUN apt-get  update\n", "step 3 of 9: RUN apt-get update ..."),
        ("Step 2/9 : LABEL a=b\n", None),
        ("I: Unpacking required packages...\n", "Unpacking required packages..."),
        ("I: Retrieving libc6 2.36\n", None),
    ],
)
def test_progress_shows_the_stages_and_not_each_package(line: str, shown: str | None) -> None:
    assert build.progress(line) == shown


def test_security_updates_come_from_beside_the_mirror_that_debootstrap_used() -> None:
    sources = build.with_security("deb http://mirror.example/debian bookworm main\n", None)
    assert sources.splitlines() == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main",
    ]


def test_security_updates_come_from_the_mirror_that_this_machine_uses_for_them() -> None:
    sources = build.with_security("deb http://a.example/apt bookworm main\n", "http://b.example/sec/")
    assert "deb http://b.example/sec/ bookworm-security main" in sources.splitlines()


def test_a_mirror_with_no_security_archive_beside_it_gets_no_wrong_line() -> None:
    assert "security" not in build.with_security("deb http://a.example/apt bookworm main\n", None)


def test_a_failed_build_shows_its_last_lines_and_keeps_the_whole_log(
    folder: Path, docker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = catalog.reference("base")
    script(docker, f'case "$1" in image) echo {base} ;; build) seq 100; echo "no such package"; exit 1 ;; esac')
    assert build.main(["ldap"]) == 1
    problem = capsys.readouterr().err
    assert problem.startswith("lab images: ldap could not be built; the whole log is in ")
    assert problem.rstrip().endswith("no such package")
    assert "\n50\n" not in problem
    log = re.search(r"log is in (\S+),", problem)
    assert log
    assert "\n50\n" in Path(log.group(1)).read_text()


def test_a_build_tells_what_it_does_and_leaves_no_log(
    folder: Path, docker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = catalog.reference("base")
    script(docker, f'case "$1" in image) echo {base} ;; build) echo "$@" >> {tmp_path}/asked ;; esac')
    assert build.main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "lab images: to build: demo, ldap."
    assert [line.split(" in ")[0] for line in lines[1:]] == ["ldap: built", "demo: built"]
    assert f"LDAP={catalog.reference('ldap')}" in (tmp_path / "asked").read_text().splitlines()[1]
    assert not list(tmp_path.glob("*.log"))


def test_the_password_of_a_proxy_stays_off_the_command_line(
    folder: Path, docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:geheim@proxy.example:3128")
    base = catalog.reference("base")
    script(docker, f'case "$1" in image) echo {base} ;; build) echo "$@" > {tmp_path}/asked ;; esac')
    assert build.main(["ldap"]) == 0
    asked = (tmp_path / "asked").read_text()
    assert "--build-arg http_proxy" in asked
    assert "geheim" not in asked


def test_a_second_run_says_that_there_is_nothing_to_do(folder: Path, docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(docker, "\n".join(f"echo {catalog.reference(image)}" for image in catalog.names()))
    assert build.main([]) == 0
    assert capsys.readouterr().out == "lab images: nothing to do, all are built.\n"


@pytest.mark.parametrize("answer", ["echo 'Cannot connect to the Docker daemon' >&2; exit 1", None])
def test_without_an_engine_one_sentence_says_so(
    folder: Path, docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str | None
) -> None:
    if answer:
        script(docker, answer)
    else:
        monkeypatch.setenv("PATH", str(docker.parent))
    assert build.main([]) == 1
    problem = capsys.readouterr().err
    assert problem.count("\n") == 1
    assert ("Cannot connect" if answer else "docker command is missing") in problem


def test_the_base_stands_on_the_published_debian_where_a_registry_answers(folder: Path, docker: Path, tmp_path: Path) -> None:
    script(
        docker,
        f"""case "$1 $2" in
        "image inspect") exit 1 ;;
        "pull debian:bookworm-slim") echo pulling ;;
        build*) echo "$@" > {tmp_path}/asked ;;
        esac""",
    )
    assert build.main(["base"]) == 0
    assert "ROOTFS=debian:bookworm-slim" in (tmp_path / "asked").read_text()


def test_where_no_registry_answers_somebody_who_is_not_root_is_told_what_to_do(
    folder: Path, docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(docker, 'case "$1 $2" in "image inspect") exit 1 ;; pull*) exec sleep 20 ;; esac')
    monkeypatch.setattr(build, "REGISTRY_PATIENCE", 0.1)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert build.main(["base"]) == 1
    problem = capsys.readouterr().err
    assert problem.count("\n") == 1
    assert "needs root" in problem


def test_pruning_keeps_the_current_images_and_those_that_a_container_uses(
    folder: Path, docker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    present = f"{catalog.reference('base')} kopano-lab/ldap:old kopano-lab/ldap:used {build.OWN_ROOTFS}"
    script(
        docker,
        f"""case "$1 $2" in
        "image ls") printf '%s\\n' {present} ;;
        "container ls") echo kopano-lab/ldap:used ;;
        "image rm") echo "$3" >> {tmp_path}/removed ;;
        esac""",
    )
    assert build.main(["--prune"]) == 0
    assert (tmp_path / "removed").read_text() == "kopano-lab/ldap:old\n"
    assert "removed kopano-lab/ldap:old" in capsys.readouterr().out


def test_an_unknown_image_on_the_command_line_is_one_sentence(
    folder: Path, docker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(docker, "exit 0")
    assert build.main(["nosuch"]) == 1
    assert capsys.readouterr().err == "lab images: The lab has no image 'nosuch': it has base, demo, ldap.\n"
