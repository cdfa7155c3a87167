"""The number of cores that hashing may use."""

import os


def usable_cores() -> int:
    """Return the number of cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hashing_cores(*, processes: int = 1) -> int:
    """Return the number of cores for hashing in each of several processes, at least 1."""
    return max(1, usable_cores() // processes)
