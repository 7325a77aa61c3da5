#!/usr/bin/env python3
"""Runs the SDK's script of the Python language host, which lies beside this file, quietly when it is interrupted.

The language host interrupts the program when a resource fails while others are under way. Python would answer with a traceback
that says nothing about the failure.
"""

import runpy
import signal
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)
runpy.run_path(str(Path(__file__).with_name("pulumi-language-python-exec.sdk")), run_name="__main__")
