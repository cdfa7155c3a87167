"""Run a program as an unprivileged user: `unprivileged.py UID GID PROGRAM ARGUMENTS…`.

PostgreSQL refuses to run as root. Started by root, it runs as another user who keeps one
capability, to pass through directories. A checkout under /root therefore works without opening
/root to others, and without a new account. Without capabilities (another kernel, a restricted
container) ordinary permissions apply.
"""

import ctypes
import os
import sys

PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def keep_capabilities() -> bool:
    """Keep all capabilities over the change of user; return whether that worked."""
    if sys.platform != "linux":
        return False
    return not ctypes.CDLL(None).prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)


def keep_directory_access() -> None:
    """Drop all capabilities but CAP_DAC_OVERRIDE, which the next exec keeps.

    :raises OSError: if the kernel refuses
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable
    if libc.capset(header, sets) or libc.prctl(
        PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def main() -> None:
    """Change the user permanently, then execute the program."""
    uid, gid = int(sys.argv[1]), int(sys.argv[2])
    kept = keep_capabilities()
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if kept:
        keep_directory_access()
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - the caller's own command


if __name__ == "__main__":
    main()
