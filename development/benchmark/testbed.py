"""The processes that a benchmark needs: PostgreSQL, the service, and the limit."""

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types

from development.benchmark.data import KEY_ID, SECRET, TOKEN_TTL, Customer, fill
from development.child import Child
from development.port import free_port
from development.postgres import EmbeddedPostgres
from development.service import ServiceError, migrate, running, service_environment

START_S = 60.0
POLL_S = 0.005

SETTINGS: Mapping[str, str] = {
    "ENVIRONMENT": "production",
    # All requests are counted and none is refused: one API key makes thousands a second.
    "RATE_LIMIT": "100000000/minute",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "json",
    "JWT_KEYS": f"{KEY_ID}:{SECRET}",
    "ACCESS_TOKEN_TTL": str(round(TOKEN_TTL.total_seconds())),
    # Cached products stay fresh for a whole run: the catalog is not measured.
    "SOFT_TTL": "3600",
    "FAKESTORE_URL": "http://127.0.0.1:9",
    # The load names many client addresses, which limits by address then count separately.
    "TRUSTED_PROXIES": "127.0.0.1/32",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running process that serves HTTP."""

    port: int
    process: psutil.Process

    def rss_mib(self) -> float:
        """Return the memory of the process, in MiB."""
        return _rss_mib(self.process)

    def children_rss_mib(self) -> float:
        """Return the memory of its child processes, in MiB: the hashing process."""
        return sum(map(_rss_mib, self._children()))

    def cpu_s(self) -> float:
        """Return the CPU time of the process and its child processes, in seconds."""
        times = [each.cpu_times() for each in (self.process, *self._children())]
        return sum(float(each.user + each.system) for each in times)

    def _children(self) -> Sequence[psutil.Process]:
        children: Sequence[psutil.Process] = self.process.children(recursive=True)
        return children


def _rss_mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Testbed:
    """The running processes and their customers; `collectors` have twenty favorites, not ten."""

    directory: Path
    database_url: str
    customers: Sequence[Customer]
    collectors: Sequence[Customer]
    service: Server
    limit: Server
    metrics_port: int
    environment: Mapping[str, str]

    def answers(self) -> dict[str, int]:
        """Return how many requests the service has counted, by the class of their status."""
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
def running_testbed(
    *, customers: int, collectors: int = 0, workers: int = 1
) -> Generator[Testbed]:
    """
    Start all processes over a temporary directory, and stop them at the end.

    :raises ServiceError: if one does not start
    """
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="favorites-bench-"))
        )
        directory.chmod(0o755)
        # Durable, as in production: a commit waits for the disk.
        server = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
        server.create_database("favorites")
        url = server.url("favorites")
        port, metrics_port, limit_port = (free_port() for _ in range(3))
        environment = service_environment(
            {
                **SETTINGS,
                "WORKERS": str(workers),
                "PORT": str(port),
                "METRICS_PORT": str(metrics_port),
                "DATABASE_URL": url,
            }
        )
        migrate(environment, directory)
        created = fill(url, customers=customers, collectors=collectors)
        service = stack.enter_context(running(environment, directory, "-m", "app", "serve"))
        limit = stack.enter_context(
            running(environment, directory, "-m", "development.benchmark.limit", str(limit_port))
        )
        wait_for(port, "/health/ready")
        wait_for(limit_port, "/")
        yield Testbed(
            directory=directory,
            database_url=url,
            customers=created[:customers],
            collectors=created[customers:],
            service=Server(port=port, process=psutil.Process(service.pid)),
            limit=Server(port=limit_port, process=psutil.Process(limit.pid)),
            metrics_port=metrics_port,
            environment=environment,
        )


def wait_for(port: int, path: str) -> None:
    """
    Wait until a server answers 200.

    :raises ServiceError: if it does not within a minute
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            if ask(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())[0] == 200:
                return
        time.sleep(POLL_S)
    raise ServiceError(f"The server on port {port} does not answer 200.")


def ask(port: int, request: bytes) -> tuple[int, Mapping[str, str], object]:
    """Send one prepared request; return status, headers in lower case, and the JSON."""
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
def another_service(testbed: Testbed, settings: Mapping[str, str]) -> Generator[Server]:
    """Run a second service on the same database, with these additional settings."""
    port = free_port()
    environment = {
        **testbed.environment,
        "PORT": str(port),
        "METRICS_PORT": str(free_port()),
        **settings,
    }
    with running(environment, testbed.directory, "-m", "app", "serve") as service:
        wait_for(port, "/health/ready")
        yield Server(port=port, process=psutil.Process(service.pid))


def start_seconds(testbed: Testbed) -> float:
    """Return the time from the start of a service to its first 200, in seconds."""
    began = time.perf_counter()
    with another_service(testbed, {}):
        return time.perf_counter() - began


def import_seconds(testbed: Testbed) -> float:
    """Return the time in which a Python imports the service, in seconds."""
    program = (
        "import time; began = time.perf_counter(); import app.__main__;"
        " print(time.perf_counter() - began)"
    )
    log = testbed.directory / "import"
    with log.open("wb") as output:
        Child(
            [sys.executable, "-c", program], environment=testbed.environment, output=output
        ).wait(START_S)
    return float(log.read_text(encoding="utf-8"))
