"""Child processes that end with their parent, even if the parent is killed."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# Waits on a pipe whose other end only the parent has. A line means that the child has ended; end
# of file means that the parent has ended, perhaps by kill -9. PR_SET_PDEATHSIG would be shorter,
# but it exists on Linux only and fires when the *thread* that started the child ends.
_WATCH = """
read -r _ && exit
kill -s "$2" "$1" 2>/dev/null
tries=300
while [ "$tries" -gt 0 ] && kill -0 "$1" 2>/dev/null; do
    # A container may have no init that reaps it: a zombie counts as ended.
    grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null && break
    tries=$((tries - 1))
    sleep 0.1
done
kill -s KILL "-$1" 2>/dev/null
[ -z "$3" ] || rm -rf "$3"
"""


class Child:
    """A running program in its own session, so that Ctrl-C reaches only the parent.

    The parent ends it with `stop`; if the parent dies first, a watcher ends it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
        directory: Path | None = None,
        keep_open: Sequence[int] = (),
        remove: Path | None = None,
    ) -> None:
        """Start the program.

        `output` receives its stdout and stderr (ours by default). The watcher holds the
        descriptors `keep_open` until the program has ended, and deletes the directory `remove` if
        the parent dies.
        """
        self._stop_signal = stop_signal
        self._process = subprocess.Popen(  # noqa: S603 - our own commands
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
        self._watcher = subprocess.Popen(  # noqa: S603 - our own script
            [
                *("/bin/sh", "-c", _WATCH, "watch", str(self.pid)),
                stop_signal.name.removeprefix("SIG"),
                str(remove or ""),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=keep_open,
            cwd="/",
        )

    @property
    def pid(self) -> int:
        """The process id of the program and of its process group."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while the program runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the program to end and return its exit status.

        :raises TimeoutError: if it still runs after `timeout_s` seconds
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"process {self.pid} is still running") from error
        self._dismiss_watcher()
        return status

    def stop(self, stop_signal: signal.Signals | None = None, *, grace_s: float = 30) -> int:
        """Stop the program, kill its group after the grace period, and return the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(stop_signal or self._stop_signal)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
        status = self._process.wait()
        self._dismiss_watcher()
        return status

    def _dismiss_watcher(self) -> None:
        if self._watcher.stdin and not self._watcher.stdin.closed:
            with suppress(BrokenPipeError):
                self._watcher.stdin.write(b"done\n")
                self._watcher.stdin.flush()
            with suppress(BrokenPipeError):
                self._watcher.stdin.close()
        self._watcher.wait()
