"""The service as it runs for real: processes on free ports, told everything by the environment."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psycopg

from app.settings import Settings
from development.child import Child
from development.port import free_port
from tests.plain_http import NO_TLS

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[3]
START_S = 60.0
STOP_S = 40.0
POLL_S = 0.02

JWT_KEY = "test:only-known-to-the-tests-of-the-running-service"
API_KEY_HEADER = "x-aiqfome-api-key"

SETTINGS: Mapping[str, str] = {
    "JWT_KEYS": JWT_KEY,
    "LOG_FORMAT": "json",
    "SHUTDOWN_GRACE": "10",
    # Passwords are not what most tests are about; these are the cheapest that are allowed.
    "PASSWORD_MEMORY_KIB": "8192",
    "PASSWORD_PASSES": "1",
    "PASSWORD_QUEUE": "200",
    "DATABASE_POOL_SIZE": "8",
    "RATE_LIMIT": "",
    "SIGN_IN_LIMIT_EMAIL": "",
    "SIGN_IN_LIMIT_IP": "",
    "SIGN_UP_LIMIT_IP": "",
    # An outage that a test makes is over for the next one.
    "FAKESTORE_TIMEOUT": "1.5",
    # What is there is favorited at once (201), however busy the machine is.
    "FAVORITE_PATIENCE": "10",
    "FAKESTORE_QUEUE_TIMEOUT": "0.5",
    "FAKESTORE_RETRY_AFTER_MAX": "1",
    "FAKESTORE_BREAKER_PAUSE": "0.2",
    "FAKESTORE_BREAKER_WINDOW": "1",
    "REFRESH_LEASE": "5",
    "REFRESH_BACKOFF": "0.2",
    "WORKER_LEASE": "6",
}


class Failed(AssertionError):
    """A program did not do what every program of the service has to do."""


@dataclass(kw_only=True)
class Program:
    """A running process of the service, and the file with everything it says."""

    name: str
    child: Child
    log: Path

    def stop(self, *, statuses: Collection[int] = (0,)) -> None:
        """
        Ask it to end, as an orchestrator does.

        :raises Failed: if it does not end within its grace with one of these statuses
        """
        status = self.child.stop(signal.SIGTERM, grace_s=STOP_S)
        if status not in statuses:
            raise Failed(f"{self.name} ended with status {status}:\n{self.tail()}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and wait for nothing."""
        os.kill(self.child.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and its own children, as a machine that loses power does."""
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.stop()

    def check(self) -> None:
        """
        Make sure that it still runs.

        :raises Failed: if it does not
        """
        if (status := self.child.exit_status) is not None:
            raise Failed(f"{self.name} ended by itself with status {status}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-10:]
        return "\n".join(line[-500:] for line in lines)


@dataclass(kw_only=True)
class Host:
    """A directory in which programs run, and the environment they get."""

    directory: Path
    environment: dict[str, str]
    logs: list[Path] = field(default_factory=list)
    _numbers: Any = field(default_factory=count)

    @contextmanager
    def running(self, *arguments: str, **settings: str) -> Generator[Program]:
        """Run `python …` for as long as the context lasts; it has to end well."""
        program = self.start(*arguments, **settings)
        try:
            yield program
            if program.child.exit_status is None:
                program.stop()
        finally:
            program.child.stop(grace_s=0)

    def start(self, *arguments: str, **settings: str) -> Program:
        """Start `python …`; the caller ends it."""
        name = " ".join(arguments)
        log = self.directory / f"{next(self._numbers)}.log"
        self.logs.append(log)
        with log.open("wb") as output:
            child = Child(
                [sys.executable, *arguments],
                environment={**self.environment, **settings},
                output=output,
                # Not the checkout, whose `.env` is a person's.
                directory=self.directory,
            )
        return Program(name=name, child=child, log=log)

    def said(self) -> str:
        """Return everything that all programs have written so far."""
        return "\n".join(log.read_text(errors="replace") for log in self.logs)


class FakeStore:
    """The local Fake Store as a process of its own, with its switches."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._ids = count(1001)
        self._client = httpx2.Client(base_url=url, timeout=10, verify=NO_TLS)

    def close(self) -> None:
        """Let go of the connection to it."""
        self._client.close()

    def misbehave(self, **switches: Any) -> None:
        """Turn the switches that are named, and all others back."""
        self._client.put("/_control", json=switches).raise_for_status()

    def behave(self) -> None:
        """Turn all switches back; what is kept waiting is not."""
        self._client.delete("/_control").raise_for_status()

    def new_id(self) -> int:
        """
        Return an id that no other test uses, that the store does not know and was never asked for.

        Generated requests ask for any id there is. That there was no such product is remembered,
        and the calls have been counted: that is no beginning for a test of its own.
        """
        return next(id_ for id_ in self._ids if not self.calls(f"/products/{id_}"))

    def new_product(self, **fields: Any) -> int:
        """Add a product that no other test uses, and return its id."""
        return self.add_product(self.new_id(), **fields)

    def add_product(self, product_id: int, **fields: Any) -> int:
        """Add a product, or change one; return its id."""
        known = {
            "title": f"Product {product_id}",
            "price": 109.95,
            "description": "Made for a test.",
            "category": "tests",
            "rating": {"rate": 4.5, "count": 10},
        }
        self._client.put(
            f"/_control/products/{product_id}", json={**known, **fields}
        ).raise_for_status()
        return product_id

    def remove_product(self, product_id: int) -> None:
        """Let a product vanish."""
        self._client.delete(f"/_control/products/{product_id}").raise_for_status()

    def calls(self, path: str) -> int:
        """Return how often a path has been called."""
        by_path: dict[str, int] = self._client.get("/_control/calls").json()["by_path"]
        return by_path.get(path, 0)


@dataclass(kw_only=True)
class Service:
    """The service and what it needs, running. `urls` are those of its API servers."""

    host: Host
    urls: Sequence[str]
    store: FakeStore
    database_url: str
    servers: Sequence[Program]

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement in the service's database, and return its rows if it has any."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            done = connection.execute(statement.encode(), parameters)
            return done.fetchall() if done.description else []

    def age_product(self, product_id: int, *, seconds: float) -> None:
        """Make a cached copy as old as if time had passed."""
        aged = self.sql(
            "UPDATE products_cache SET fetched_at = fetched_at - make_interval(secs => %s)"
            " WHERE product_id = %s AND fetched_at IS NOT NULL RETURNING 1",
            seconds,
            product_id,
        )
        assert aged, f"product {product_id} has no copy"


@contextmanager
def fake_store(host: Host) -> Generator[FakeStore]:
    """Run a local Fake Store."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ("-m", "development.fakestore", "--port", str(port))
    with host.running(*command) as program:
        await_answer(f"{url}/health", program)
        store = FakeStore(url)
        try:
            yield store
        finally:
            store.close()
            # It is no part of the service, and ends as uvicorn does.
            program.stop(statuses=(0, -signal.SIGTERM))


@contextmanager
def running_service(
    directory: Path, database_url: str, *, servers: Sequence[int] = (1,), **settings: str
) -> Generator[Service]:
    """
    Run a Fake Store and API servers, each with so many processes, on a migrated database.

    On leaving everything is stopped, and has to end with status 0 and without an error of our own
    in its log.
    """
    host = Host(directory=directory, environment={**environment(database_url), **settings})
    with ExitStack() as stack:
        store = stack.enter_context(fake_store(host))
        host.environment["FAKESTORE_URL"] = store.url
        programs, urls = [], []
        for processes in servers:
            port = free_port()
            command = ("-m", "app", "serve", "--port", str(port), "--workers", str(processes))
            programs.append(stack.enter_context(host.running(*command)))
            urls.append(f"http://127.0.0.1:{port}")
        for url, program in zip(urls, programs, strict=True):
            await_answer(f"{url}/health/ready", program)
        yield Service(
            host=host, urls=urls, store=store, database_url=database_url, servers=programs
        )
    # What went wrong outside is a warning; an error that we log is a fault of our own.
    faults = [
        line
        for line in log_lines(host.said())
        if line["level"] in {"error", "critical"} and line["logger"].startswith("app.")
    ]
    if faults:
        raise Failed(f"The log has {len(faults)} errors, the first of them:\n{faults[0]}")


def environment(database_url: str) -> dict[str, str]:
    """Return what each program of the service gets."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        **SETTINGS,
    }


def await_answer(url: str, program: Program) -> None:
    """
    Wait until a program answers 200 at a URL.

    :raises Failed: if it ends, or takes too long
    """
    deadline = time.monotonic() + START_S
    with httpx2.Client(timeout=5, verify=NO_TLS) as client:
        while not _answers(client, url):
            program.check()
            if time.monotonic() > deadline:
                raise Failed(f"{url} does not answer 200:\n{program.tail()}")
            time.sleep(POLL_S)


def _answers(client: httpx2.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def settings_of(database_url: str, **settings: str) -> Settings:
    """Return the settings the running service has, for what runs in this process."""
    given: dict[str, Any] = {"database_url": database_url, **settings}
    for name, value in SETTINGS.items():
        given.setdefault(name.lower(), value)
    return Settings(_env_file=None, **given)


async def until(
    condition: Callable[[], Awaitable[T]], *, within_s: float = 20, what: str = "it"
) -> T:
    """
    Wait until a condition is true, and return what it returned.

    :raises Failed: if it is not, looked at when the time is over; that looking takes long on a
        busy machine is no reason
    """
    deadline = time.monotonic() + within_s
    while True:
        begun = time.monotonic()
        if result := await condition():
            return result
        if begun > deadline:
            raise Failed(f"{what} did not happen within {within_s} seconds")
        await asyncio.sleep(POLL_S)


def log_lines(text: str) -> list[dict[str, Any]]:
    """Return the lines of a log that are JSON."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
