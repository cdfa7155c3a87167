"""Everything that a benchmark needs, running: PostgreSQL, the service, and the limit beside it."""

import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types

from app.settings import Settings
from development.benchmark.data import KEY_ID, SECRET, TOKEN_TTL, Person, fill
from development.child import Child
from development.outage import ROOT, OutageError, running
from development.port import free_port
from development.postgres import EmbeddedPostgres

START_S = 60.0
POLL_S = 0.005

SETTINGS: Mapping[str, str] = {
    "ENVIRONMENT": "production",
    "WORKERS": "1",
    # Counted for everybody, but nobody is refused: it is one client that asks.
    "RATE_LIMIT": "100000000/minute",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "json",
    "JWT_KEYS": f"{KEY_ID}:{SECRET}",
    "ACCESS_TOKEN_TTL": str(round(TOKEN_TTL.total_seconds())),
    # Copies stay fresh for the length of a run: the catalog is not what is measured.
    "SOFT_TTL": "3600",
    "FAKESTORE_URL": "http://127.0.0.1:9",
    # Clients come from many addresses, so that limits by address mean something.
    "TRUSTED_PROXIES": "127.0.0.1/32",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running process that answers HTTP."""

    port: int
    process: psutil.Process

    def rss_mib(self) -> float:
        """Return the memory of the process, in MiB."""
        return _rss_mib(self.process)

    def helpers_rss_mib(self) -> float:
        """Return the memory of those it has started, in MiB: of the one that hashes."""
        return sum(map(_rss_mib, self._helpers()))

    def cpu_s(self) -> float:
        """Return the seconds it and those it has started have kept a core busy."""
        times = [each.cpu_times() for each in (self.process, *self._helpers())]
        return sum(float(each.user + each.system) for each in times)

    def _helpers(self) -> Sequence[psutil.Process]:
        helpers: Sequence[psutil.Process] = self.process.children(recursive=True)
        return helpers


def _rss_mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is running, and who its customers are."""

    directory: Path
    database_url: str
    people: Sequence[Person]
    service: Server
    limit: Server
    metrics_port: int
    environment: Mapping[str, str]

    def answers(self) -> dict[str, int]:
        """Return how many requests the service says it has answered, by the class of status."""
        with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        counts: dict[str, int] = {}
        for line in lines:
            if line.startswith("favorites_http_requests_total{"):
                labels, _, value = line.rpartition(" ")
                status = labels.partition('status="')[2].partition('"')[0]
                counts[status] = counts.get(status, 0) + int(float(value))
        return counts


@contextmanager
def stage(*, customers: int, workers: int = 1) -> Generator[Stage]:
    """
    Start everything in a temporary directory, and stop it again.

    :raises OutageError: if something does not start
    """
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="favorites-bench-"))
        )
        directory.chmod(0o755)
        # Durable, as a real one: a commit waits for the disk.
        server = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
        server.create_database("favorites")
        url = server.url("favorites")
        environment = _environment(url, workers=workers)
        run = partial(running, environment, directory)
        with run("-m", "app", "migrate") as migration:
            if migration.wait(START_S):
                raise OutageError((directory / "log").read_text(encoding="utf-8"))
        people = fill(url, customers=customers)
        limit_port = free_port()
        service = stack.enter_context(run("-m", "app", "serve"))
        limit = stack.enter_context(run("-m", "development.benchmark.limit", str(limit_port)))
        api_port = int(environment["PORT"])
        wait_for(api_port, "/health/ready")
        wait_for(limit_port, "/")
        yield Stage(
            directory=directory,
            database_url=url,
            people=people,
            service=Server(port=api_port, process=psutil.Process(service.pid)),
            limit=Server(port=limit_port, process=psutil.Process(limit.pid)),
            metrics_port=int(environment["METRICS_PORT"]),
            environment=environment,
        )


def _environment(url: str, *, workers: int) -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields}
    return {
        **{name: value for name, value in os.environ.items() if name.upper() not in ours},
        **SETTINGS,
        "WORKERS": str(workers),
        "PYTHONPATH": str(ROOT),
        "PORT": str(free_port()),
        "METRICS_PORT": str(free_port()),
        "DATABASE_URL": url,
    }


def wait_for(port: int, path: str) -> None:
    """
    Wait until a server answers with 200.

    :raises OutageError: if it does not in time
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            if ask(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())[0] == 200:
                return
        time.sleep(POLL_S)
    raise OutageError(f"Nobody answers on port {port}.")


def ask(port: int, request: bytes) -> tuple[int, Mapping[str, str], object]:
    """Send one prepared request; returns status, headers in lower case, and the JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.connect()
        connection.sock.sendall(request)
        answer = http.client.HTTPResponse(connection.sock, method=request.split(b" ")[0].decode())
        answer.begin()
        body = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, json.loads(body) if body else None
    finally:
        connection.close()


@contextmanager
def another_service(stage: Stage, settings: Mapping[str, str]) -> Generator[Server]:
    """Serve the same from another process, which has these settings besides."""
    port = free_port()
    environment = {
        **stage.environment,
        "PORT": str(port),
        "METRICS_PORT": str(free_port()),
        **settings,
    }
    with running(environment, stage.directory, "-m", "app", "serve") as service:
        wait_for(port, "/health/ready")
        yield Server(port=port, process=psutil.Process(service.pid))


def start_seconds(stage: Stage) -> float:
    """Return how long another service takes from its start to its first 200, in seconds."""
    began = time.perf_counter()
    with another_service(stage, {}):
        return time.perf_counter() - began


def import_seconds(stage: Stage) -> float:
    """Return how long a Python takes to import the service, in seconds."""
    program = (
        "import time; began = time.perf_counter(); import app.__main__;"
        " print(time.perf_counter() - began)"
    )
    log = stage.directory / "import"
    with log.open("wb") as output:
        Child([sys.executable, "-c", program], environment=stage.environment, output=output).wait(
            START_S
        )
    return float(log.read_text(encoding="utf-8"))
