"""kopano-admin: users, synchronisation, purge."""

from __future__ import annotations

from typing import Any

from kopano_lab import BANNER, VERSION
from kopano_lab.client import Client
from kopano_lab.tools.common import Parser, client, run, table
from kopano_lab.wire import RpcError

_NAMES = {"shared": "Shared store", "room": "Room", "equipment": "Equipment"}
_UNITS = ("B", "KB", "MB", "GB", "TB")


def main(arguments: list[str]) -> int:
    """Entry point of kopano-admin."""
    return run("kopano-admin", lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    parser = Parser(prog="kopano-admin", add_help=False, description=f"Administers users. {BANNER}")
    action = parser.one_action()
    action.add_argument("-l", action="store_true", dest="list", help="list all users")
    action.add_argument("--sync", action="store_true", help="bring users and stores to what the directory says")
    action.add_argument("--details", metavar="USER", help="show all that is known of a user")
    action.add_argument("--create-store", metavar="USER", help="create a store for a user who has none")
    action.add_argument(
        "--purge-softdelete", metavar="DAYS", type=int, help="remove messages that were soft-deleted so many days ago"
    )
    action.add_argument("-V", "--version", action="store_true", help="show the version")
    action.add_argument("--help", action="help", help="show this text")
    parser.add_argument("-h", "--host", help="the server: default:, file:///PATH, https://HOST:237/")
    options = parser.parsed(arguments)
    if options.version:
        print(f"kopano-admin {VERSION} (a stand-in, not Kopano)")
        return 0
    server = client(options.host)
    if options.list:
        _list(server)
    elif options.sync:
        _told("User/group synchronization failed", server, "user.sync")
    elif options.details:
        return _details(server, options.details)
    elif options.create_store:
        guid = _told("Unable to create store", server, "store.create", user=options.create_store)
        print(f"Store GUID is {guid.lower()}")
    else:
        if options.purge_softdelete < 0:
            parser.error("--purge-softdelete takes a number of days from 0 on")
        _told("Softdelete purge failed", server, "purge.softdelete", days=options.purge_softdelete)
        print("Softdelete purge done.")
    return 0


def _told(failed: str, server: Client, method: str, **params: Any) -> Any:
    try:
        return server.call(method, **params)[0]
    except RpcError as problem:
        raise RpcError(problem.code, f"{failed}: {problem}") from problem


def _list(server: Client) -> None:
    users = _told("Unable to list users", server, "user.list")
    print(f"User list for Default({len(users)}):")
    print(table(["Username", "Fullname", "Homeserver"], [[user["name"], user["fullname"], ""] for user in users]))


def _details(server: Client, name: str) -> int:
    user = _told("Unable to resolve user", server, "user.details", user=name)
    properties = user["properties"]
    lines = [
        ("Object id:", user["id"]),
        ("Extern id:", user["externid"]),
        ("Username:", user["name"]),
        ("Fullname:", user["fullname"]),
        ("Emailaddress:", user["email"]),
        ("Active:", "yes" if user["class"] in ("user", "system") else "no"),
    ]
    if user["class"] in _NAMES:
        lines.append(("Non-active type:", _NAMES[user["class"]]))
    lines += [
        ("Administrator:", ("no", "yes", "yes (system)")[user["admin"]]),
        ("Address book:", "Hidden" if user["hidden"] else "Visible to current user"),
    ]
    if user["store"]:
        lines += [("Store GUID:", user["store"]), ("Out Of Office:", "disabled"), ("Server version:", VERSION)]
    print("".join(f"{label:<23} {value}\n" for label, value in lines), end="")
    mapped = [[tag, "; ".join(properties[tag])] for tag in sorted(properties) if tag.startswith("PR_")]
    if mapped:
        print("Mapped properties:")
        print("".join(f"\t{tag}\t{value}\t\n" for tag, value in mapped), end="")
    print("Current user store quota settings:")
    quota = properties.get("quota", user["default_quota"])
    print(f" Quota overrides:\t{'yes' if 'quota' in properties else 'no'}")
    for label, level in (("Warning level:\t", "warn"), ("Soft level:\t", "soft"), ("Hard level:\t", "hard")):
        print(f" {label}\t{_size(quota[level]) if quota[level] else 'unlimited'}")
    print(f"Current store size:\t{_size(user['size'])}")
    print("Groups (1):\n\tEveryone\n")
    if not user["store"]:
        raise RpcError(
            "not_found",
            f"user '{name}' has no store: kopano-admin --create-store {name} makes one, kopano-storeadm -A attaches an orphan",
        )
    return 0


def _size(number: float) -> str:
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} B" if unit == "B" else f"{number:.2f} {unit}"
