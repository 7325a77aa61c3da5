"""Archives, their making by the real script in folders of this machine, and what is refused."""

from __future__ import annotations

import fcntl
import io
import json
import os
import random
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from test_graph import ELSEWHERE, ELSEWHERE_SECRETS

from components import backup, blocks
from components.parsers import longest_gap
from tools import archive, restore
from tools import backup as write
from tools.graph import PLANTED, ROOT, Graph, Run, plain, visible
from tools.words import FailureError

SCRIPT = ROOT / "components" / "resources" / backup.SCRIPT
ABOUT = json.dumps({"stack": "dev", "fqdn": "mail.example.org", "ldapBaseDn": "dc=example", "images": {}, "leftOut": {}})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Folders as they are mounted in the jobs' container: two volumes, one of them with a mail queue."""
    for file, content in {
        "kopanodata/attachments/1": "attachment",
        "kopanodata/search/index": "left out",
        "mailstate/spool-postfix/active/4F2A": "a mail on its way",
        "mailstate/lib-postfix/master.lock": "",
    }.items():
        path = tmp_path / "volumes" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "backups").mkdir()
    return tmp_path


def script(place: Path, step: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    paths = {"BACKUPS": str(place / "backups"), "VOLUMES": str(place / "volumes"), "STARTED": str(place / "started")}
    about = {"BACKUP_NAME": "kopano-dev-scheduled", "BACKUP_KEEP": "3", "BACKUP_ABOUT": ABOUT}
    environment = {"PATH": os.environ["PATH"], **paths, **about, **variables}
    return subprocess.run(["bash", str(SCRIPT), step], input=stdin, env=environment, capture_output=True, check=False)


def made(place: Path, **variables: str) -> list[str]:
    """Run the scheduled job's steps; the names of the archives that are there then."""
    for step in ("collect", "archive"):
        done = script(place, step, **variables)
        assert done.returncode == 0, done.stderr
    return archives(place)


def archives(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "backups").glob("*.tar"))


@pytest.fixture
def whole(place: Path) -> Path:
    (name,) = made(place)
    return place / "backups" / name


# ---- what is made ----


def test_an_archive_has_every_volume_and_says_what_it_is(place: Path, whole: Path) -> None:
    found = archive.verify(whole)
    assert set(found.members) == {"mail-queue.tar.gz", "volume-kopanodata.tar.gz", "volume-mailstate.tar.gz"}
    assert {"format", "time", "stack", "fqdn", "images", "leftOut", "members"} <= set(found.manifest)
    assert found.manifest["stack"] == "dev"
    assert whole.stat().st_mode & 0o777 == 0o600
    with tarfile.open(fileobj=io.BytesIO(found.read("volume-kopanodata.tar.gz"))) as data:
        names = data.getnames()
        file = data.extractfile("./attachments/1")
        assert file
        assert file.read() == b"attachment"
    # It is made anew, and a copy of one in use may be of no use.
    assert not [name for name in names if "search" in name]
    assert not list((place / "backups").glob(".*.part"))
    assert not (place / "backups" / ".work").exists()


def test_a_queue_is_read_twice_so_that_a_mail_that_moves_is_not_missed(whole: Path) -> None:
    found = archive.verify(whole)
    for member, path in (
        ("mail-queue.tar.gz", "spool-postfix/active/4F2A"),
        ("volume-mailstate.tar.gz", "./spool-postfix/active/4F2A"),
    ):
        with tarfile.open(fileobj=io.BytesIO(found.read(member))) as queue:
            assert queue.getnames().count(path) == 2


def test_what_a_stack_brings_itself_joins_the_archive(place: Path) -> None:
    assert script(place, "collect").returncode == 0
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(write.STATE)
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"{}"))
    done = script(place, "stream", packed.getvalue())
    assert done.returncode == 0, done.stderr
    (place / "streamed.tar").write_bytes(done.stdout)
    assert archive.verify(place / "streamed.tar").read(write.STATE) == b"{}"
    assert archives(place) == []


def test_only_the_newest_own_archives_are_kept(place: Path) -> None:
    folder = place / "backups"
    older = [f"kopano-dev-scheduled-2024010{day}T030000Z.tar" for day in range(1, 6)]
    others = [
        "kopano-dev-20240101T030000Z.tar",
        "kopano-dev-scheduled-mine.tar",
        "kopano-dev2-scheduled-20240101T030000Z.tar",
        "notes.txt",
    ]
    for name in (*older, *others):
        (folder / name).write_text("x")
    made(place)
    left = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert set(others) <= left
    own = sorted(left - set(others))
    assert own[:2] == older[-2:]
    assert len(own) == 3


def test_a_backup_that_fails_leaves_the_older_archives_and_nothing_half(place: Path, whole: Path) -> None:
    # There is no such client here, as if the database did not answer.
    failed = script(place, "collect", MYSQL_HOST="db", MYSQL_USER="x", MYSQL_PASSWORD=PLANTED, MYSQL_DATABASE="x")
    assert failed.returncode == 1
    assert b"the database could not be copied" in failed.stderr
    assert PLANTED.encode() not in failed.stderr
    after = script(place, "archive")
    assert after.returncode == 1
    assert b"nothing is collected" in after.stderr
    assert archives(place) == [whole.name]
    archive.verify(whole)
    assert {path.name for path in (place / "backups").iterdir()} == {whole.name, ".lock"}


def test_an_archive_without_the_database_or_the_directory_that_belong_to_it_is_not_made(place: Path) -> None:
    for variables in ({"MYSQL_HOST": "db"}, {"BACKUP_DIRECTORY": "yes"}):
        assert script(place, "collect").returncode == 0
        refused = script(place, "archive", **variables)
        assert refused.returncode == 1
        assert b"is missing" in refused.stderr
        assert archives(place) == []


def test_two_backups_at_once_do_not_mix(place: Path) -> None:
    assert script(place, "collect").returncode == 0
    with (place / "backups" / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for step in ("collect", "archive"):
            refused = script(place, step)
            assert refused.returncode == 1
            assert b"another backup of this stack is running" in refused.stderr
    assert script(place, "archive").returncode == 0


def test_the_jobs_container_is_ill_when_archives_stop_coming(place: Path, whole: Path) -> None:
    limit = {"BACKUP_MAX_AGE": "2880"}
    assert script(place, "healthy", **limit).returncode == 1
    started = place / "started"
    started.touch()
    assert script(place, "healthy", **limit).returncode == 0
    days_ago = started.stat().st_mtime - 3 * 86400
    os.utime(started, (days_ago, days_ago))
    assert script(place, "healthy", **limit).returncode == 0
    os.utime(whole, (days_ago, days_ago))
    ill = script(place, "healthy", **limit)
    assert ill.returncode == 1
    assert b"no archive of the last 2880 minutes" in ill.stderr


# ---- what is refused ----


def refusal(path: Path) -> str:
    with pytest.raises(FailureError) as caught:
        archive.verify(path)
    return str(caught.value)


def test_an_archive_with_any_byte_changed_is_refused(whole: Path) -> None:
    content = whole.read_bytes()
    # All of the first header: its checksum covers all but itself, where a blank counts like a leading zero.
    places = {*range(512), *range(len(content) - 512, len(content)), *random.sample(range(len(content)), 400)}
    bits = {position: [random.randrange(8)] for position in places} | {position: range(8) for position in range(148, 156)}
    for position, bit in ((position, bit) for position, some in bits.items() for bit in some):
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        whole.write_bytes(damaged)
        assert "nothing was touched" in refusal(whole), position


def test_an_archive_cut_off_or_with_more_behind_it_is_refused(whole: Path) -> None:
    content = whole.read_bytes()
    for length in {0, 512, len(content) - 10240, len(content) - 512, len(content) - 1, *random.sample(range(len(content)), 100)}:
        whole.write_bytes(content[:length])
        assert "nothing was touched" in refusal(whole), length
    for more in (b"x", bytes(512), bytes(10240)):
        whole.write_bytes(content + more)
        assert "nothing was touched" in refusal(whole), len(more)


def repacked(whole: Path, change: Any) -> Path:
    """The archive with other members, packed as `tar` does it."""
    found = archive.verify(whole)
    with tarfile.open(whole) as tar:
        members = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    entries = change(found, members)
    with tarfile.open(whole, "w", format=tarfile.GNU_FORMAT) as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return whole


@pytest.mark.parametrize("name", ["../escaped", "/etc/passwd", "folder/file.tar", ".hidden", "Manifest.json"])
def test_a_member_that_leads_elsewhere_is_refused(whole: Path, name: str) -> None:
    def add(_: archive.Archive, members: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
        return [(tarfile.TarInfo(each), content) for each, content in [*members.items(), (name, b"x")]]

    assert "nothing was touched" in refusal(repacked(whole, add))


def test_links_and_members_that_are_missing_too_many_or_there_twice_are_refused(whole: Path) -> None:
    pristine = whole.read_bytes()
    link = tarfile.TarInfo("link.tar")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    for changed, said in (
        (lambda entries: entries[:-1], "is missing"),
        (lambda entries: [*entries, (tarfile.TarInfo("more.tar"), b"x")], "is not in its manifest"),
        (lambda entries: [*entries, entries[-1]], "is in it twice"),
        (lambda entries: entries[1:], "does not begin with a manifest"),
        (lambda entries: [*entries, (link, b"")], "makes no sense"),
        (lambda entries: [entries[0], *entries[2:]], "does not begin with a manifest"),
    ):
        whole.write_bytes(pristine)

        def change(_: archive.Archive, members: dict[str, bytes], changed: Any = changed) -> Any:
            return changed([(tarfile.TarInfo(name), content) for name, content in members.items()])

        assert said in refusal(repacked(whole, change))


def test_a_file_that_is_no_archive_or_not_there_is_refused_in_one_sentence(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "nowhere.tar")
    (tmp_path / "text.tar").write_bytes(b"hello" * 1000)
    assert "is damaged or no archive" in refusal(tmp_path / "text.tar")


def test_a_format_of_another_release_is_named(place: Path) -> None:
    script(place, "collect")
    newer = SCRIPT.read_text(encoding="utf-8").replace('{"format":1,', '{"format":2,')
    (place / "newer.sh").write_text(newer, encoding="utf-8")
    variables = {"BACKUPS": str(place / "backups"), "BACKUP_ABOUT": ABOUT, "BACKUP_NAME": "x", "BACKUP_KEEP": "1"}
    subprocess.run(["bash", place / "newer.sh", "archive"], env={**os.environ, **variables}, check=True, capture_output=True)
    (name,) = archives(place)
    assert "has format 2 and this release restores format 1" in refusal(place / "backups" / name)


def test_a_stack_of_which_anything_is_there_is_not_restored_over(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, list[Any]] = {"containers": [], "volumes": [], "all": ["other"]}
    monkeypatch.setattr(restore.stack, "containers", lambda _: there["containers"])
    monkeypatch.setattr(restore.stack, "volumes", lambda _: there["volumes"])
    monkeypatch.setattr(restore.stack, "docker", lambda *_: there["all"])
    restore.check_empty("dev", {"kopano-dev-mysql"})
    box = restore.stack.Container("kopano-dev-db", "db", "Exited (0)")
    for key, value, named in (
        ("containers", [box], "kopano-dev-db"),
        ("volumes", ["kopano-dev-ldap"], "kopano-dev-ldap"),
        ("all", ["kopano-dev-mysql"], "kopano-dev-mysql"),
    ):
        monkeypatch.setitem(there, key, value)
        with pytest.raises(FailureError, match=f"the Docker host has {named} of stack dev"):
            restore.check_empty("dev", {"kopano-dev-mysql"})
        monkeypatch.setitem(there, key, [])


def test_of_a_state_only_passwords_keys_and_certificates_move_and_they_move_to_the_new_name() -> None:
    def urn(kind: str, name: str) -> str:
        return f"urn:pulumi:old::kopano::{kind}::{name}"

    stack, component, provider = (
        urn("pulumi:pulumi:Stack", "s"),
        urn("kopano:db:Database", "db"),
        urn("pulumi:providers:random", "r"),
    )
    password, volume = urn("random:index/randomPassword:RandomPassword", "p"), urn("docker:index/volume:Volume", "v")
    resources = [
        {"urn": stack, "type": "pulumi:pulumi:Stack"},
        {"urn": component, "type": "kopano:db:Database", "parent": stack, "dependencies": [volume]},
        {"urn": provider, "type": "pulumi:providers:random"},
        {"urn": volume, "type": "docker:index/volume:Volume", "parent": component},
        {
            "urn": password,
            "type": "random:index/randomPassword:RandomPassword",
            "parent": component,
            "provider": f"{provider}::id",
            "dependencies": [volume],
            "propertyDependencies": {"keepers": [volume]},
            "outputs": {"result": {"ciphertext": "v1:abc"}},
        },
    ]
    exported = {
        "version": 3,
        "deployment": {"resources": resources, "pending_operations": [{}], "secrets_providers": {"type": "p"}},
    }
    moved = restore.portable(exported, "new")
    kept = {entry["urn"]: entry for entry in moved["deployment"]["resources"]}
    assert set(kept) == {each.replace(":old::", ":new::") for each in (stack, component, provider, password)}
    entry = kept[password.replace(":old::", ":new::")]
    assert entry["dependencies"] == [] == entry["propertyDependencies"]["keepers"]
    assert entry["provider"].startswith("urn:pulumi:new::")
    assert entry["outputs"] == {"result": {"ciphertext": "v1:abc"}}
    assert moved["deployment"]["secrets_providers"] == {"type": "p"}
    assert "pending_operations" not in moved["deployment"]


# ---- the setting ----


SCHEDULED = {"kopano:backup": {"schedule": "30 1 * * *", "keep": "7"}}
ELSEWHERE_ON_THE_HOST = {
    "kopano:backup": {**SCHEDULED["kopano:backup"], "directory": "/srv/kopano-backups"},
    "kopano:images": {"db": "registry.example.org/db:1"},
}


@pytest.fixture
def scheduled(run: Run) -> Graph:
    return run("dev", SCHEDULED)


def variables(graph: Graph, block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in plain(graph.containers()[block].inputs["envs"]))


def mounts(graph: Graph, block: str) -> dict[str, tuple[str, bool]]:
    """Path -> volume or folder of the host, and whether it is only read."""
    volumes = plain(graph.containers()[block].inputs["volumes"])
    return {each["containerPath"]: (each.get("volumeName") or each["hostPath"], each.get("readOnly", False)) for each in volumes}


def test_backups_are_off_unless_they_are_asked_for(run: Run) -> None:
    graph = run("dev")
    assert not set(blocks.BACKUP) & set(graph.containers())
    assert "CRONDELAYED_BACKUP" not in variables(graph, "scheduler")


def test_the_scheduled_job_runs_in_two_hardened_containers_that_the_proxy_knows(scheduled: Graph) -> None:
    assert set(scheduled.containers()) == blocks.enabled({}, backup=True)
    job = variables(scheduled, "scheduler")["CRONDELAYED_BACKUP"]
    assert job == (
        "30 1 * * * docker exec kopano-dev-backup bash /kopano/backup/backup.sh collect"
        " && docker exec kopano-dev-backup-ldap bash /kopano/backup/backup.sh directory"
        " && docker exec kopano-dev-backup bash /kopano/backup/backup.sh archive"
    )
    uploads = {
        upload["file"]: upload["content"]
        for upload in plain(scheduled.containers()["ssl"].inputs["uploads"])
        if "content" in upload
    }
    targets = "kopano-dev-server|kopano-dev-zpush|kopano-dev-backup|kopano-dev-backup-ldap"
    assert f"containers/({targets})/exec$" in uploads["/seed/docker-proxy/haproxy.cfg"]
    assert uploads["/seed/backup/backup.sh"] == SCRIPT.read_text(encoding="utf-8")
    for block, networks in (("backup", ["networks-kopano-net-id"]), ("backup-ldap", [])):
        box = plain(scheduled.containers()[block].inputs)
        assert box["readOnly"] is True
        assert box["capabilities"] == {"adds": ["CAP_DAC_OVERRIDE"], "drops": ["ALL"]}
        assert [each["name"] for each in box.get("networksAdvanced", [])] == networks
        assert not box.get("ports")
    assert scheduled.containers()["backup-ldap"].inputs["networkMode"] == "none"


def test_the_job_reads_all_data_and_writes_only_archives(scheduled: Graph) -> None:
    reads = mounts(scheduled, "backup")
    data = {name for name in plain(scheduled.outputs["volumes"]) if name not in ("mysql", "ldap", "slapd", "backups")}
    assert {path: reads[path] for path in reads if path.startswith("/volumes/")} == {
        f"/volumes/{name}": (f"kopano-dev-{name}", True) for name in data
    }
    assert [path for path, (_, read_only) in reads.items() if not read_only] == ["/backups"]
    assert reads["/backups"][0] == "kopano-dev-backups"
    # LMDB keeps its readers in a file beside the data.
    directory = mounts(scheduled, "backup-ldap")
    assert {path for path, (_, read_only) in directory.items() if not read_only} == {"/backups", "/var/lib/ldap"}
    assert directory["/etc/ldap/slapd.d"] == ("kopano-dev-slapd", True)


def test_the_job_knows_how_many_archives_to_keep_how_old_they_may_be_and_what_is_in_them(scheduled: Graph) -> None:
    job = variables(scheduled, "backup")
    assert (job["BACKUP_KEEP"], job["BACKUP_MAX_AGE"]) == ("7", str(2 * 24 * 60))
    described = json.loads(job["BACKUP_ABOUT"])
    assert described["stack"] == "dev"
    assert set(described["leftOut"]) == {"state"}
    assert described["images"] == plain(scheduled.outputs["images"])
    assert job["MYSQL_PASSWORD"] == variables(scheduled, "db")["MYSQL_PASSWORD"]
    shown = json.dumps([visible(scheduled.containers()[block].inputs) for block in blocks.BACKUP])
    assert PLANTED not in shown


def test_a_backup_is_made_with_the_images_of_what_is_backed_up(run: Run, scheduled: Graph) -> None:
    images = plain(scheduled.outputs["images"])
    assert images["backup"] == images["db"]
    assert images["backup-ldap"] == images["ldap"]
    assert plain(run("dev", ELSEWHERE_ON_THE_HOST).outputs["images"])["backup"] == "registry.example.org/db:1"


def test_archives_go_to_a_folder_of_the_host_where_one_is_named(run: Run) -> None:
    graph = run("dev", ELSEWHERE_ON_THE_HOST)
    for block in blocks.BACKUP:
        assert mounts(graph, block)["/backups"] == ("/srv/kopano-backups", False)


def test_what_is_external_is_left_out_and_the_manifest_says_so(run: Run) -> None:
    graph = run("dev", ELSEWHERE, secret=ELSEWHERE_SECRETS)
    assert "backup-ldap" not in graph.containers()
    job = variables(graph, "backup")
    assert not {"MYSQL_HOST", "MYSQL_PASSWORD", "BACKUP_DIRECTORY"} & set(job)
    assert set(json.loads(job["BACKUP_ABOUT"])["leftOut"]) == {"database", "directory", "state"}
    assert graph.containers()["backup"].inputs["networkMode"] == "none"
    assert "backup-ldap" not in variables(graph, "scheduler")["CRONDELAYED_BACKUP"]
    images = plain(graph.outputs["images"])
    assert images["backup"] == images["server"]


@pytest.mark.parametrize(
    ("times", "hours"),
    [("0 3 * * *", 24), ("*/15 * * * *", 0.25), ("0 3 * * 0", 7 * 24), ("0 3,15 * * 1-5", 60), ("0 0 1 * *", 31 * 24)],
)
def test_the_longest_gap_of_a_schedule_is_found(times: str, hours: float) -> None:
    assert longest_gap(times).total_seconds() == hours * 3600
