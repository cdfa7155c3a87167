"""The service on this machine, with an embedded PostgreSQL, kept up as compose does."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types
from typing_extensions import override

from app.settings import Settings
from development.chaos.program import ChaosError, Program
from development.chaos.world import DATABASE, POLL_S, START_S, World
from development.fakestore.server import running_fakestore
from development.outage import ROOT
from development.port import free_port
from development.postgres import EmbeddedPostgres

# At the longest in a process that is frozen until its parent misses it (5 s).
DOUBT_S = 15.0

SETTINGS: Mapping[str, str] = {
    "JWT_KEYS": "chaos:of-no-worth-outside-the-temporary-directory",
    "ACCESS_TOKEN_TTL": "86400",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "INFO",
    "SHUTDOWN_GRACE": "10",
    # Few, so that they can be exhausted.
    "DATABASE_POOL_SIZE": "5",
    # Hashing is not what this is about: the cheapest that is allowed.
    "PASSWORD_MEMORY_KIB": "8192",
    "PASSWORD_PASSES": "1",
    "RATE_LIMIT": "",
    "SIGN_IN_LIMIT_IP": "",
    "SIGN_UP_LIMIT_IP": "",
    # A day in a minute, so that copies are refreshed all the time.
    "SOFT_TTL": "2",
    "HARD_TTL": "30",
    "REFRESH_BACKOFF": "1",
    "FAKESTORE_TIMEOUT": "2",
    "FAKESTORE_BREAKER_PAUSE": "1",
    "REFRESH_LEASE": "3",
    "WORKER_LEASE": "5",
}

# What was committed in the last seconds is lost when the server crashes.
FORGETFUL: Mapping[str, str] = {"synchronous_commit": "off", "wal_writer_delay": "10s"}


@dataclass(kw_only=True)
class EmbeddedWorld(World):
    """Everything that runs. `urls` are those of the API servers, in the order of `servers`."""

    directory: Path
    postgres: EmbeddedPostgres
    servers: Sequence[Program]
    workers: Sequence[Program]

    @property
    def programs(self) -> Sequence[Program]:
        """Everything of the service that runs."""
        return [*self.servers, *self.workers]

    @property
    @override
    def failures(self) -> Sequence[str]:
        return [failure for program in self.programs for failure in program.failures]

    async def keep(self) -> None:
        """Start again what has ended, until canceled."""
        while True:
            for program in self.programs:
                await asyncio.to_thread(program.keep)
            await asyncio.sleep(POLL_S)

    @override
    async def complete(self) -> bool:
        return all(len(each.workers()) == each.processes for each in self.programs)

    @override
    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        keeper = asyncio.create_task(self.keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        for program in self.programs:
            await asyncio.to_thread(program.stop)

    def serving(self, program: Program) -> bool:
        """Tell whether each process of a program is there and works."""
        processes = program.workers()
        if len(processes) < program.processes:
            return False
        if program.processes == 1:
            return all(map(self._has_database, processes))
        # Who holds on to a connection never meets a process that was started later.
        said = program.log.read_text(encoding="utf-8", errors="replace")
        return all(f"Started server process [{each.pid}]" in said for each in processes)

    def _has_database(self, process: Any) -> bool:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            return any(
                each.raddr and each.raddr.port == self.postgres.port
                for each in process.net_connections(kind="tcp")
            )
        return False

    @override
    def log_lines(self) -> Generator[Mapping[str, Any]]:
        for path in sorted(self.directory.glob("*.log")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                # A process that is killed may leave half a line.
                with suppress(json.JSONDecodeError):
                    if isinstance(found := json.loads(line), dict):
                        yield found


@contextmanager
def embedded_world(
    directory: Path, *, servers: int, workers: int, sabotaged: bool = False
) -> Generator[EmbeddedWorld]:
    """
    Run API servers with two processes each and workers, on a migrated database that is durable.

    If it is `sabotaged`, a commit does not wait for the disk.

    :raises ChaosError: if the database cannot be migrated
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(
            EmbeddedPostgres(
                directory / "postgres",
                settings=FORGETFUL if sabotaged else {},
                remove_if_orphaned=True,
            )
        )
        postgres.create_database(DATABASE)
        store = stack.enter_context(running_fakestore())
        environment = _environment(postgres.url(DATABASE), store.url)

        def program(name: str, *arguments: str, processes: int = 1) -> Program:
            made = Program(
                name=name,
                arguments=("-m", "app", *arguments),
                environment=environment,
                log=directory / f"{name.replace(' ', '-')}.log",
                processes=processes,
            )
            stack.callback(made.dispose)
            made.start()
            return made

        if status := program("migrate", "migrate").wait(START_S):
            raise ChaosError(f"migrating ended with status {status}")
        ports = [free_port() for _ in range(servers)]
        yield EmbeddedWorld(
            database_url=postgres.url(DATABASE),
            doubt_s=DOUBT_S,
            directory=directory,
            postgres=postgres,
            store=store.control,
            servers=[
                program(
                    f"API server {number}",
                    *("serve", "--port", str(port), "--workers", "2"),
                    processes=2,
                )
                for number, port in enumerate(ports, 1)
            ],
            workers=[program(f"worker {number}", "worker") for number in range(1, workers + 1)],
            urls=[f"http://127.0.0.1:{port}" for port in ports],
        )


def _environment(database_url: str, store_url: str) -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields}
    return {
        **{name: value for name, value in os.environ.items() if name.upper() not in ours},
        **SETTINGS,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "FAKESTORE_URL": store_url,
    }
