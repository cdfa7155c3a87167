"""Become an ordinary user and then another program: `unprivileged.py UID GID PROGRAM ARGUMENTS…`.

PostgreSQL refuses to run as root. Started by root, it runs as another user, who keeps one thing
of root's: the capability to pass through directories. A checkout under /root therefore works
without opening /root to anybody, and without an account made for it. Where there are no
capabilities (another kernel, a container without them) the ordinary permissions decide.
"""

import ctypes
import os
import sys
from contextlib import suppress

PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def keep_passage() -> None:
    """Keep CAP_DAC_OVERRIDE, and nothing else, over the coming exec (capabilities(7)).

    :raises OSError: if the kernel does not let us
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable
    if libc.capset(header, sets) or libc.prctl(
        PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "capabilities cannot be kept")


def main() -> None:
    """Change the user for good, then the program."""
    uid, gid = int(sys.argv[1]), int(sys.argv[2])
    linux = sys.platform == "linux"
    if linux:
        ctypes.CDLL(None).prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if linux:
        with suppress(OSError):
            keep_passage()
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - the caller's own command


if __name__ == "__main__":
    main()
