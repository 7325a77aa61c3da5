#!/usr/bin/python3
import sys

from lab_scheduler.start import main

sys.exit(main(sys.argv[1:]))
