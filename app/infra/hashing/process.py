"""
The hashing process: `python -m app.infra.hashing.process THREADS`.

It reads tasks from stdin and writes results to stdout, one JSON object per line, matched by `id`.
It ends at the end of its stdin, so it never outlives the server, however that ends.

It runs at low priority: hashing takes tens of milliseconds, all other requests a fraction of one.
"""

import ctypes
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from app.infra.hashing.argon2 import Argon2Parameters

NICENESS = 10
"""On busy cores this gets a tenth of the share of a process with niceness 0 (sched(7))."""

_M_ARENA_MAX = -8

_output_lock = Lock()


def main(threads: int) -> None:
    """Run tasks until stdin ends, as many at once as there are threads."""
    # Only the server stops this process, even if a signal is sent to all processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _close_inherited_files()
    _lower_priority()
    _use_one_arena()
    with ThreadPoolExecutor(threads) as executor:
        for line in sys.stdin.buffer:
            # Parsed here, because an invalid line must end the process.
            executor.submit(_execute, **json.loads(line))


def _execute(*, id: int, **task: Any) -> None:
    try:
        response = {"id": id, "result": _run(**task)}
    except Exception as error:  # noqa: BLE001 - sent to the server, without the message: it may quote
        response = {"id": id, "error": type(error).__name__}
    with _output_lock, suppress(BrokenPipeError):
        sys.stdout.buffer.write(json.dumps(response).encode() + b"\n")
        sys.stdout.buffer.flush()


def _run(*, task: str, parameters: Any = None, password: str = "", hashed: Any = None) -> Any:
    if task == "release_memory":
        return _release_memory()
    # Clients may send a lone surrogate, which has no strict UTF-8 encoding.
    secret = password.encode("utf-8", "surrogatepass")
    argon2 = Argon2Parameters(**parameters)
    return argon2.hash(secret) if task == "hash" else argon2.matches(secret, hashed)


def _close_inherited_files() -> None:
    """
    Close all files except stdin, stdout and stderr.

    uvloop leaves inheritable files open. While this process has a copy of one, its other side
    never sees the end of it, just as this process waits for the end of its stdin.
    """
    with suppress(OSError):
        for each in list(Path("/dev/fd").iterdir()):
            if int(each.name) > sys.stderr.fileno():
                with suppress(OSError):
                    os.close(int(each.name))


def _lower_priority() -> None:
    with suppress(OSError):
        os.nice(NICENESS)
    # With autogroups, Linux distributes the cores among sessions first, and then within each.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def _use_one_arena() -> None:
    """Allocate in a single arena: glibc releases no memory of the others (mallopt(3))."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _release_memory() -> None:
    """
    Return freed memory to the system, about 20 MiB per thread (malloc_trim(3)).

    glibc keeps freed memory for reuse, which is useful only while passwords keep coming. Other C
    libraries lack these functions.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
