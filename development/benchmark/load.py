"""Load on a server, made by wrk if that is installed and by our own driver otherwise."""

import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from development.plot import quantile

TIMEOUT_S = 10

_SCRIPT = Path(__file__).with_name("wrk.lua")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class LoadError(Exception):
    """No load was made; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """
    Requests per second of all connections together.

    They arrive at random (a Poisson process), or `evenly` spaced.
    """

    per_s: float
    evenly: bool = False

    def pause(self, *, connections: int) -> tuple[float, str]:
        """Return the pause in milliseconds, and whether "each" connection or "all" share it."""
        interval_ms = 1000 / self.per_s
        return (interval_ms, "all") if self.evenly else (interval_ms * connections, "each")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of one round of load; `refused` requests were answered 400 or above."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


def request(
    method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    """Return a request as the bytes that are sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def driver() -> str:
    """Return the name of the program that makes the load on this machine."""
    return "wrk" if shutil.which("wrk") else "asyncio"


class Load:
    """Prepared requests for one server, sent in turn over several connections at once."""

    def __init__(self, port: int, requests: Sequence[bytes], directory: Path, name: str) -> None:
        self._port = port
        self._file = directory / f"{name}-{port}.requests"
        self._file.write_bytes(b"".join(each + b"\0" for each in requests))

    @property
    def port(self) -> int:
        """The port of the server."""
        return self._port

    def run(self, *, seconds: float, connections: int, at: Rate | None = None) -> Measurement:
        """
        Keep every connection busy, or send requests at a rate.

        :raises LoadError: if nothing was measured
        """
        return self.start(seconds=seconds, connections=connections, at=at).wait()

    def start(self, *, seconds: float, connections: int, at: Rate | None = None) -> "Running":
        """Start to make load in a process of its own."""
        pause_ms, shared_by = (0.0, "each") if at is None else at.pause(connections=connections)
        settings = [str(self._file), f"{pause_ms:g}", shared_by]
        if driver() == "wrk":
            # wrk counts in whole seconds; one thread, as it shares the cores with what it drives.
            command = [
                *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
                # Slow answers have to be part of the figures.
                *("--timeout", f"{TIMEOUT_S}s"),
                *("-s", str(_SCRIPT), f"http://127.0.0.1:{self._port}", "--", *settings),
            ]
        else:
            command = [
                *(sys.executable, "-m", "development.benchmark.load", str(self._port)),
                *(str(connections), str(seconds), *settings),
            ]
        return Running(
            subprocess.Popen(  # noqa: S603 - our own command
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )


class Running:
    """A running program that makes load."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def is_over(self, *, within_s: float) -> bool:
        """Wait up to some seconds for the end; return whether it has ended."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self) -> Measurement:
        """
        Wait for the end and return the figures.

        :raises LoadError: if nothing was measured
        """
        output, _ = self._process.communicate()
        found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
        if found is None:
            raise LoadError(f"The load failed:\n{output}")
        measured = Measurement(**json.loads(found[1]))
        if not measured.requests:
            raise LoadError(f"Nothing was answered:\n{output}")
        return measured


class _Driver:
    """Sends requests over several connections as wrk does, but needs nothing installed."""

    def __init__(self, requests: Sequence[bytes], *, pause_s: float, evenly: bool) -> None:
        self._requests = requests
        self._pause_s = pause_s
        self._evenly = evenly
        self._due = 0.0
        self._next = 0
        self._latencies: list[float] = []
        self._refused = 0
        self._broken = 0

    async def run(self, port: int, *, connections: int, seconds: float) -> Measurement:
        began = time.perf_counter()
        await asyncio.gather(
            *(self._connection(port, until=began + seconds) for _ in range(connections))
        )
        took = time.perf_counter() - began
        return Measurement(
            requests=len(self._latencies),
            seconds=took,
            p50_ms=quantile(self._latencies, 0.5) * 1000,
            p99_ms=quantile(self._latencies, 0.99) * 1000,
            refused=self._refused,
            broken=self._broken,
        )

    async def _connection(self, port: int, *, until: float) -> None:
        while time.perf_counter() < until:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await self._send(reader, writer, until)
                finally:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError):
                self._broken += 1

    async def _send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float
    ) -> None:
        while (now := time.perf_counter()) < until:
            if self._pause_s:
                await asyncio.sleep(self._pause(now))
                now = time.perf_counter()
            self._next = (self._next + 1) % len(self._requests)
            writer.write(self._requests[self._next])
            head = await reader.readuntil(b"\r\n\r\n")
            if length := _LENGTH.search(head):
                await reader.readexactly(int(length[1]))
            self._latencies.append(time.perf_counter() - now)
            self._refused += head[9:10] in b"45"

    def _pause(self, now: float) -> float:
        if not self._evenly:
            return random.expovariate(1 / self._pause_s)
        # Late requests are not made up for in a burst.
        self._due = max(self._due + self._pause_s, now)
        return self._due - now


def main(arguments: Sequence[str]) -> None:
    """Make load with our own driver; print the figures as the wrk script does."""
    port, connections, seconds, file, pause_ms, shared_by = arguments
    requests = Path(file).read_bytes().split(b"\0")[:-1]
    measured: Any = asyncio.run(
        _Driver(requests, pause_s=float(pause_ms) / 1000, evenly=shared_by == "all").run(
            int(port), connections=int(connections), seconds=float(seconds)
        )
    )
    sys.stdout.write(f"\nRESULT {json.dumps(asdict(measured))}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
