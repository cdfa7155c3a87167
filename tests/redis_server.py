"""A real Redis for tests, with the ways in which it can fail."""

import shutil
import signal
import subprocess
from pathlib import Path

from development.port import free_port
from tests.listening import wait_until_listening

REDIS_SERVER = shutil.which("redis-server")


class RedisServer:
    """A server that keeps nothing on disk."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert REDIS_SERVER is not None
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "")
        self._process = subprocess.Popen(  # noqa: S603  # found on the PATH
            [REDIS_SERVER, *options], cwd=self._directory, stdout=subprocess.DEVNULL
        )
        wait_until_listening(self._process, self.port)

    def stop(self) -> None:
        """End it, and lose what it counted."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it answer nothing, while connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
