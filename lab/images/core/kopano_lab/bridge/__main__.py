"""Entry point of the bridge."""

from __future__ import annotations

import sys

from kopano_lab.bridge.main import main

sys.exit(main(sys.argv[1:]))
