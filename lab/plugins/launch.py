"""Starts a plug-in process: `python -m lab.plugins.launch NAME`.

The protocol's stubs are part of the `pulumi` package, whose own start takes as long as all else that a plug-in loads. A
plug-in needs none of it, so the packages around the stubs are put in place empty.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType


def leave_out_the_sdk() -> None:
    """Make `pulumi.runtime.proto` importable without `pulumi` and `pulumi.runtime` being run."""
    spec = find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations:
        return
    location = spec.submodule_search_locations[0]
    for name, path in (("pulumi", location), ("pulumi.runtime", f"{location}/runtime")):
        package = ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package


if __name__ == "__main__":
    leave_out_the_sdk()
    from lab.plugins.serve import main

    sys.exit(main(sys.argv[1:]))
