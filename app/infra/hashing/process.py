"""
The process that hashes passwords: `python -m app.infra.hashing.process THREADS`.

Tasks come in by stdin and outcomes go out by stdout, one JSON object a line, told apart by their
`number`. It ends when stdin does: however the server ends, it is not outlived.

It gives way to everybody else on the machine. Hashing takes tens of milliseconds at best; those
who do not sign in wait for tenths of one.
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
"""A tenth of the share of those who are not nice, where there is not enough for all (sched(7))."""

_M_ARENA_MAX = -8

_writing = Lock()


def main(threads: int) -> None:
    """Do what is asked for, as many tasks at a time as there are threads."""
    # The server decides when this ends, also when somebody tells all processes to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _close_what_was_inherited()
    _give_way()
    _keep_memory_in_one_place()
    with ThreadPoolExecutor(threads) as executor:
        for line in sys.stdin.buffer:
            # Read here: a line that cannot be read ends the process, and is not just forgotten.
            executor.submit(_answer, **json.loads(line))


def _answer(*, number: int, **task: Any) -> None:
    try:
        outcome = {"number": number, "outcome": _perform(**task)}
    except Exception as error:  # noqa: BLE001 - told to whoever asked, without the text, which may quote
        outcome = {"number": number, "error": type(error).__name__}
    with _writing, suppress(BrokenPipeError):
        sys.stdout.buffer.write(json.dumps(outcome).encode() + b"\n")
        sys.stdout.buffer.flush()


def _perform(*, task: str, parameters: Any = None, password: str = "", hashed: Any = None) -> Any:
    if task == "rest":
        return _give_back_memory()
    # A lone surrogate has no UTF-8, but is a character somebody may send: never an error here.
    secret = password.encode("utf-8", "surrogatepass")
    argon2 = Argon2Parameters(**parameters)
    return argon2.hash(secret) if task == "hash" else argon2.matches(secret, hashed)


def _close_what_was_inherited() -> None:
    """
    Let go of all files but the three that are ours.

    uvloop closes none that may be handed down. Whoever waits for one of them to be closed, as we
    wait for our stdin, would wait for us as well.
    """
    with suppress(OSError):
        for each in list(Path("/dev/fd").iterdir()):
            if int(each.name) > sys.stderr.fileno():
                with suppress(OSError):
                    os.close(int(each.name))


def _give_way() -> None:
    with suppress(OSError):
        os.nice(NICENESS)
    # Linux may share cores out between sessions first, and then within each.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def _keep_memory_in_one_place() -> None:
    """Have what threads allocate in one arena: of others glibc gives nothing back (mallopt(3))."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _give_back_memory() -> None:
    """
    Return to the system what hashing took, some 20 MiB a thread (malloc_trim(3)).

    glibc keeps what is freed for the next time, which is right while passwords come and wrong
    after that; other libraries have no such functions.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
