#!/bin/sh
exec /usr/bin/python3 -m kopano_lab.start "$@"
