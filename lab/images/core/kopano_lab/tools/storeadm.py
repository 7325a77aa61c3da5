"""kopano-storeadm: the public store, and stores that lost their user."""

from __future__ import annotations

from kopano_lab import BANNER, VERSION
from kopano_lab.tools.common import Parser, client, run, table
from kopano_lab.wire import RpcError


def main(arguments: list[str]) -> int:
    """Entry point of kopano-storeadm."""
    return run("kopano-storeadm", lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    parser = Parser(prog="kopano-storeadm", add_help=False, description=f"Administers stores. {BANNER}")
    action = parser.one_action()
    action.add_argument("-P", action="store_true", dest="public", help="create the public store")
    action.add_argument("-O", action="store_true", dest="orphans", help="list the stores without a user")
    action.add_argument("-C", action="store_true", dest="create", help="create a store for the user of -n")
    action.add_argument("-D", action="store_true", dest="detach", help="take the store from the user of -n")
    action.add_argument("-A", metavar="GUID", dest="attach", help="give an orphaned store to the user of -n")
    action.add_argument("-V", action="store_true", dest="version", help="show the version")
    action.add_argument("--help", "-?", action="help", help="show this text")
    parser.add_argument("-n", metavar="USER", dest="user", help="the user for -A, -C and -D")
    parser.add_argument("-h", metavar="URI", dest="host", help="the server: default:, file:///PATH, https://HOST:237/")
    options = parser.parsed(arguments)
    if options.version:
        print(f"kopano-storeadm {VERSION} (a stand-in, not Kopano)")
        return 0
    if (options.create or options.detach or options.attach) and not options.user:
        parser.error("-A, -C and -D need the name of a user: -n USER")
    server = client(options.host)
    if options.public:
        try:
            guid = server.call("store.create_public")[0]
        except RpcError as problem:
            raise RpcError(problem.code, f"Unable to create public store: {problem}") from problem
        print(f"The store has been created.\nStore GUID is {guid.lower()}")
    elif options.orphans:
        found = server.call("store.orphans")[0]
        print(
            table(
                ["Store GUID", "Guessed username", "Store type"],
                [[store["guid"], store["user_name"], store["type"]] for store in found],
            ),
            end="",
        )
    elif options.create:
        print(f"Store GUID is {server.call('store.create', user=options.user)[0].lower()}")
    elif options.detach:
        guid = server.call("store.detach", user=options.user)[0]
        print(f"The store has been unhooked.\nStore GUID is {guid.lower()}")
    else:
        server.call("store.attach", guid=options.attach, user=options.user)
        print("The store has been hooked.")
    return 0
