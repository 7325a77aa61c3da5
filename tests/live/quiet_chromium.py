#!/usr/bin/env python3
"""Chromium that does not hear when the machine's networks change.

Each container that starts or ends anywhere on the machine looks like a new network to a browser, which then drops what it is
loading. Without netlink sockets (a filter of the kernel refuses them) it takes the network for one that stays.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

CHROMIUM = "/usr/bin/chromium"
SOCKET = {"x86_64": 41, "aarch64": 198}
"""Machine -> number of the system call."""
AF_NETLINK = 16


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_netlink(call: int) -> None:
    """Let `socket(AF_NETLINK, ...)` fail from now on, here and in whatever is started."""
    load, equal, answer = 0x20, 0x15, 0x06
    refused, allowed = 0x00050000 | errno.EAFNOSUPPORT, 0x7FFF0000
    instructions = [
        (load, 0, 0, 0),  # the number of the call
        (equal, 0, 3, call),
        (load, 0, 0, 16),  # its first argument
        (equal, 0, 1, AF_NETLINK),
        (answer, 0, 0, refused),
        (answer, 0, 0, allowed),
    ]
    code = b"".join(struct.pack("HBBI", *one) for one in instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, filtering = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(
        seccomp, filtering, ctypes.byref(Program(len(instructions), code)), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "no filter for system calls is possible here")


if __name__ == "__main__":
    if platform.machine() in SOCKET:
        refuse_netlink(SOCKET[platform.machine()])
    os.execv(CHROMIUM, [CHROMIUM, *sys.argv[1:]])
