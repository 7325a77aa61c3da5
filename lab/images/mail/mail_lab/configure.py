"""Writes every configuration file, and the names of the services to run to standard output."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from mail_lab import postfix, tls, trust
from mail_lab.settings import CONFIG, Refusal, Settings, read

STATE = Path("/var/mail-state")
POSTFIX = Path("/etc/postfix")
BAYES = STATE / "lib-amavis/.spamassassin"
"""What SpamAssassin has learned, where amavis has it in the published image. There is no amavis here, but a user of its name."""
_OWNERS = {
    "spool-postfix": "root",
    "lib-postfix": "postfix",
    "lib-fail2ban": "root",
    "lib-postgrey": "postgrey",
    "lib-amavis": "amavis",
}
_MILTERS = {"clamav": "inet:127.0.0.1:7357", "spamassassin": "inet:127.0.0.1:7358", "opendkim": "inet:127.0.0.1:8891"}


def main() -> int:
    """Entry point: 64 and one sentence where the server may not start."""
    try:
        settings = read(os.environ, _output("hostname", "--fqdn"))
        services = configure(settings)
    except Refusal as refusal:
        print(f"mail: {refusal}", file=sys.stderr)
        return 64
    except PermissionError as problem:
        print(
            f"mail: {problem.filename} cannot be written: mount a volume there, and add the capabilities CHOWN, DAC_OVERRIDE "
            "and FOWNER.",
            file=sys.stderr,
        )
        return 64
    print(*services)
    return 0


def configure(settings: Settings) -> list[str]:
    """Write the files, try them, and say which services are to run."""
    _state()
    services = [name for name in ("clamav", "spamassassin", "postgrey") if settings.on(f"ENABLE_{name.upper()}")]
    trusted = trust.connected() if settings.trusts_networks else trust.Peers((), ())
    if _dkim(trusted):
        services.append("opendkim")
    services.append("saslauthd")
    _install(Path("/run/saslauthd"), "saslauth", "sasl", 0o750)
    tls.install(settings, POSTFIX / "tls")
    _postfix(settings, trusted, [_MILTERS[name] for name in services if name in _MILTERS])
    _spamassassin(settings)
    if settings.on("ENABLE_FAIL2BAN"):
        _fail2ban(settings, trusted)
        services.append("fail2ban")
    _user_patches()
    return ["cron", *services]


def _state() -> None:
    for name, owner in _OWNERS.items():
        _install(STATE / name, owner, None, 0o755 if owner == "root" else 0o700)
    # A volume from an image with other user numbers: the queue in it is not to be lost.
    for folder in (STATE / "spool-postfix").iterdir():
        if folder.name != "pid" and folder.stat().st_uid != pwd.getpwnam("postfix").pw_uid:
            _run("chown", "--recursive", "postfix", str(folder))
    Path("/var/log/mail").mkdir(exist_ok=True)
    Path("/var/log/mail/mail.log").touch(0o640)


def _postfix(settings: Settings, trusted: trust.Peers, milters: list[str]) -> None:
    for name in postfix.TABLES:
        _write(POSTFIX / f"ldap-{name}.cf", postfix.table(name, settings, _own(f"ldap-{name}.cf")), secret=True)
    if settings.get("RELAY_USER"):
        _write(POSTFIX / "sasl_passwd", postfix.relay_password(settings), secret=True)
    signer = _MILTERS["opendkim"]
    values = postfix.parameters(settings, trust.mynetworks(trusted), ", ".join(milters), signer if signer in milters else "")
    fixed = POSTFIX / "main.cf.fixed"
    for name in ("main.cf", "master.cf"):
        # The container's second start begins where the first one did, not at what that one made of the files.
        kept = POSTFIX / f"{name}.fixed"
        if not kept.exists():
            shutil.copy(POSTFIX / name, kept)
        shutil.copy(kept, POSTFIX / name)
    _write(POSTFIX / "main.cf", fixed.read_text() + postfix.rendered(values))
    for line in postfix.overrides(_own("postfix-main.cf") or "", "a-z"):
        _override("postfix-main.cf", line, "-e")
    for line in postfix.overrides(_own("postfix-master.cf") or "", "0-9a-z"):
        _override("postfix-master.cf", line, "-P")
    checked = subprocess.run(["postfix", "-v", "check"], capture_output=True, text=True)
    if checked.returncode:
        lines = [line for line in checked.stderr.splitlines() if "fatal" in line or "error" in line]
        raise Refusal(
            f"Postfix does not take its configuration: {(lines or checked.stderr.splitlines() or ['no reason given'])[-1]}"
        )
    asked = subprocess.run(
        ["postmap", "-q", settings.postmaster, f"ldap:{POSTFIX}/ldap-users.cf"], capture_output=True, text=True
    )
    # A directory that does not answer is no reason: mail waits at its sender until it does.
    if "Invalid credentials" in asked.stderr or "Invalid DN" in asked.stderr:
        raise Refusal("The directory refuses LDAP_BIND_DN with LDAP_BIND_PW: correct them.")
    if "Bad search filter" in asked.stderr:
        raise Refusal("LDAP_QUERY_FILTER_USER is no LDAP filter: correct it.")


def _override(file: str, line: str, option: str) -> None:
    done = subprocess.run(["postconf", option, line], capture_output=True, text=True)
    if done.returncode:
        # A value may be secret, so only what it is for is told.
        name = line.partition("=")[0].strip()
        raise Refusal(f"{CONFIG / file} has a line for '{name}' that Postfix does not take: correct it.")


def _user_patches() -> None:
    """The user's own script, in the published image's way: its end counts for nothing."""
    script = CONFIG / "user-patches.sh"
    if script.is_file():
        code = subprocess.run(["/bin/bash", str(script)], stdout=sys.stderr).returncode
        if code:
            print(f"mail: {script} ended with {code}.", file=sys.stderr)


def _spamassassin(settings: Settings) -> None:
    _install(BAYES, "amavis", "amavis", 0o700)
    rules = Path("/etc/spamassassin/lab.cf")
    _write(
        rules,
        f"required_score {settings.get('SA_TAG2', '6.31')}\n"
        f"rewrite_header Subject {settings.get('SA_SPAM_SUBJECT', '***SPAM***').strip()}\n"
        f"report_safe 0\nuse_bayes 1\nbayes_path {BAYES}/bayes\n"
        "lock_method flock\nskip_rbl_checks 1\nuse_razor2 0\nuse_pyzor 0\n",
    )
    # For who teaches it by hand or by a job of the user's.
    rules.chmod(0o644)


def _dkim(trusted: trust.Peers) -> bool:
    source, target = CONFIG / "opendkim", Path("/etc/opendkim")
    if not (source / "KeyTable").exists():
        return False
    if not (source / "SigningTable").exists():
        raise Refusal(f"{source} has a KeyTable but no SigningTable: add one, it says which senders a key is for.")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    # As the published image does it: the Docker host's own addresses are trusted unless the user's file excepts them.
    with (target / "TrustedHosts").open("a") as file:
        file.writelines(f"{network}\n" for network in trusted.networks)
    _run("chown", "--recursive", "opendkim:opendkim", str(target))
    _run("chmod", "--recursive", "u=rwX,go=", str(target))
    return True


def _fail2ban(settings: Settings, trusted: trust.Peers) -> None:
    if subprocess.run(["nft", "list", "tables"], capture_output=True).returncode:
        raise Refusal(
            "ENABLE_FAIL2BAN is '1', but this container may not filter packets: add the capability NET_ADMIN, or set it to 0."
        )
    # The gateway's address stands for everybody who comes through Docker's proxy. The other containers log in nowhere, but
    # they pass on what people write: a few mistyped addresses must not cut off the spooler.
    shared = " ".join(["127.0.0.0/8", "::1", *trusted.gateways])
    jail = Path("/etc/fail2ban/jail.d")
    _write(
        jail / "lab.local",
        "[DEFAULT]\nbackend = polling\nusedns = no\nallowipv6 = auto\nbantime = 3h\nfindtime = 10m\nmaxretry = 3\n"
        f"banaction = nftables[type=allports, blocktype={settings.get('FAIL2BAN_BLOCKTYPE', 'drop')}]\n"
        f"ignoreip = {shared}\nlogpath = /var/log/mail/mail.log\n\n"
        f"[postfix]\nenabled = true\nignoreip = {shared} {' '.join(trusted.networks)}\nlogpath = /var/log/mail/mail.log\n\n"
        # Not the fault of who logs in: there is no gateway to ask.
        "[postfix-sasl]\nenabled = true\nlogpath = /var/log/mail/mail.log\n"
        "ignoreregex = authentication failed: (generic failure|Connection lost)\n",
    )
    for source, target in (
        ("fail2ban-jail.cf", jail / "user-jail.local"),
        ("fail2ban-fail2ban.cf", jail.parent / "fail2ban.d/user.local"),
    ):
        text = _own(source)
        if text is None:
            target.unlink(missing_ok=True)
        else:
            target.parent.mkdir(exist_ok=True)
            _write(target, text)
    tried = subprocess.run(["fail2ban-server", "--test"], capture_output=True, text=True)
    if tried.returncode:
        reasons = [line.partition("ERROR")[2].strip() for line in tried.stderr.splitlines() if "ERROR" in line]
        raise Refusal(f"fail2ban does not take {CONFIG}/fail2ban-jail.cf: {(reasons or ['no reason given'])[0]}")


def _own(name: str) -> str | None:
    path = CONFIG / name
    return path.read_text("utf-8") if path.is_file() else None


def _write(path: Path, text: str, *, secret: bool = False) -> None:
    path.touch(0o640)
    path.write_text(text, "utf-8")
    if secret:
        path.chmod(0o640)
        shutil.chown(path, "root", "postfix")


def _install(path: Path, owner: str, group: str | None, mode: int) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    if path.owner() != owner:
        _run("chown", "--recursive", owner, str(path))
    if group:
        shutil.chown(path, None, group)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Refusal(f"{done.stderr.strip()}: mount a writable volume, and add the capabilities CHOWN, DAC_OVERRIDE and FOWNER.")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
