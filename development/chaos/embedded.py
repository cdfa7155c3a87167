"""The service on this machine, with an embedded PostgreSQL, restarted as compose does."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types
from typing_extensions import override

from development.chaos.deployment import DATABASE, POLL_S, START_S, Deployment
from development.chaos.program import ChaosError, Program
from development.fakestore.server import running_fakestore
from development.port import free_port
from development.postgres import EmbeddedPostgres
from development.service import service_environment

# A parent kills a frozen process after 5 s; requests that it holds end long before this.
IN_FLIGHT_S = 15.0

SETTINGS: Mapping[str, str] = {
    "JWT_KEYS": "chaos:used-in-a-temporary-directory-only",
    "ACCESS_TOKEN_TTL": "86400",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "INFO",
    "SHUTDOWN_GRACE": "10",
    # Few, so that the pool can be exhausted.
    "DATABASE_POOL_SIZE": "5",
    # The cheapest hashing that is allowed: it is not under test.
    "PASSWORD_MEMORY_KIB": "8192",
    "PASSWORD_PASSES": "1",
    "RATE_LIMIT": "",
    "SIGN_IN_LIMIT_IP": "",
    "SIGN_UP_LIMIT_IP": "",
    # Short, so that cached products are refreshed all the time.
    "SOFT_TTL": "2",
    "HARD_TTL": "30",
    "REFRESH_BACKOFF": "1",
    "FAKESTORE_TIMEOUT": "2",
    "FAKESTORE_BREAKER_PAUSE": "1",
    "REFRESH_LEASE": "3",
    "WORKER_LEASE": "5",
}

# A crash of the server loses the commits of the last seconds.
LOSSY: Mapping[str, str] = {"synchronous_commit": "off", "wal_writer_delay": "10s"}


@dataclass(kw_only=True)
class EmbeddedDeployment(Deployment):
    """The running programs; `urls` are in the order of `servers`."""

    directory: Path
    postgres: EmbeddedPostgres
    servers: Sequence[Program]
    workers: Sequence[Program]

    @property
    def programs(self) -> Sequence[Program]:
        """The API servers and the workers."""
        return [*self.servers, *self.workers]

    @property
    @override
    def failures(self) -> Sequence[str]:
        return [failure for program in self.programs for failure in program.failures]

    async def restart_ended(self) -> None:
        """Restart programs that have ended, until canceled."""
        while True:
            for program in self.programs:
                await asyncio.to_thread(program.restart_if_ended)
            await asyncio.sleep(POLL_S)

    @override
    async def is_complete(self) -> bool:
        return all(len(each.workers()) == each.processes for each in self.programs)

    @override
    @asynccontextmanager
    async def supervised(self) -> AsyncGenerator[None]:
        supervisor = asyncio.create_task(self.restart_ended())
        try:
            yield
        finally:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        for program in self.programs:
            await asyncio.to_thread(program.stop)

    def serving(self, program: Program) -> bool:
        """Return whether each process of a program serves requests or has its database."""
        processes = program.workers()
        if len(processes) < program.processes:
            return False
        if program.processes == 1:
            return all(map(self._has_database, processes))
        # Open connections do not show whether a new process serves, but the log does.
        log = program.log.read_text(encoding="utf-8", errors="replace")
        return all(f"Started server process [{each.pid}]" in log for each in processes)

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
                # A killed process may leave an incomplete line.
                with suppress(json.JSONDecodeError):
                    if isinstance(found := json.loads(line), dict):
                        yield found


@contextmanager
def embedded_deployment(
    directory: Path, *, servers: int, workers: int, sabotaged: bool = False
) -> Generator[EmbeddedDeployment]:
    """
    Run API servers with two processes each, and workers, on a durable database.

    If it is `sabotaged`, a commit does not wait for the disk.

    :raises ChaosError: if the database cannot be migrated
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(
            EmbeddedPostgres(
                directory / "postgres",
                settings=LOSSY if sabotaged else {},
                remove_if_orphaned=True,
            )
        )
        postgres.create_database(DATABASE)
        store = stack.enter_context(running_fakestore())
        environment = service_environment(
            {**SETTINGS, "DATABASE_URL": postgres.url(DATABASE), "FAKESTORE_URL": store.url}
        )

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
            raise ChaosError(f"the migration ended with status {status}")
        ports = [free_port() for _ in range(servers)]
        yield EmbeddedDeployment(
            database_url=postgres.url(DATABASE),
            in_flight_s=IN_FLIGHT_S,
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
