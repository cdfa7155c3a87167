"""The profile `scale` of docker-compose.yaml, as a separate project."""

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tenacity import retry, retry_if_exception_type, stop_after_attempt
from typing_extensions import override

from development.chaos.deployment import Deployment
from development.chaos.program import ChaosError
from development.fakestore.server import FakeStoreControl
from development.port import free_port
from development.service import ROOT, say

PROJECT = "favorites-chaos"
COMPOSE = (
    *("docker", "compose", "--project-name", PROJECT, "--profile", "scale"),
    *("--file", "docker-compose.yaml", "--file", "development/chaos/compose.yaml"),
)
# Their dependencies start with them; the `api` outside the gateway does not.
WANTED = ("gateway", "worker", "worker-2")
PROGRAMS = ("api-1", "api-2", "worker", "worker-2")
DATABASE_URL = "postgresql://favorites:favorites-development-only@127.0.0.1:{port}/favorites"

# More than the catalog has: customers avoid products with a write in flight.
PRODUCTS = 60
START_TIMEOUT_S, POLL_S = 300.0, 0.25

# The time in which a process that was frozen finishes the requests that it had received.
BACKLOG_S = 15.0


@dataclass(kw_only=True)
class ComposeDeployment(Deployment):
    """
    The containers of the project, by service.

    An outage lasts for a random time in the range `outage_s`.
    """

    outage_s: tuple[float, float]
    containers: Mapping[str, str]
    _crashes: Counter[str] = field(default_factory=Counter)
    _failures: list[str] = field(default_factory=list)

    @property
    @override
    def failures(self) -> Sequence[str]:
        return self._failures

    @override
    @asynccontextmanager
    async def supervised(self) -> AsyncGenerator[None]:
        while len(self.products) < PRODUCTS:
            await self.add_product(self.next_product())
        yield
        for service in PROGRAMS:
            await self._check_restarts(service)
        await _call(*COMPOSE, "stop", *PROGRAMS)
        for service in PROGRAMS:
            status = await self._inspect("{{.State.ExitCode}}", service)
            if status != ["0"]:
                self._failures.append(f"{service} ended with status {status} when it was stopped")

    @override
    async def is_complete(self) -> bool:
        return await self.healthy()

    async def healthy(self) -> bool:
        """Return whether every container is healthy."""
        # Callers poll without a pause, and each call starts a process.
        await asyncio.sleep(POLL_S)
        states = await self._inspect("{{.State.Status}} {{.State.Health.Status}}")
        return set(states) == {"running healthy"}

    async def kill(self, *services: str) -> None:
        """Kill containers; the restart policy does not start them again."""
        for service in services:
            await self._check_restarts(service)
        await _call("docker", "kill", *self._ids(services))

    async def crash(self, service: str) -> None:
        """Kill the program in a container, which the restart policy starts again."""
        self._crashes[service] += 1
        # Process 1 is the init of the engine, which exits with its child.
        await self.execute(service, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")

    async def start(self, *services: str) -> None:
        """Start containers that were killed."""
        for service in services:
            del self._crashes[service]
        await _call("docker", "start", *self._ids(services))

    async def pause(self, *services: str) -> None:
        """Freeze containers: their connections stay open and get no answer."""
        for container in self._ids(services):
            await _pause(container)

    async def resume(self, *services: str) -> None:
        """Resume frozen containers."""
        await _call("docker", "unpause", *self._ids(services))

    async def execute(self, service: str, *command: str) -> None:
        """Run a command in a container."""
        await _call("docker", "exec", *self._ids([service]), *command)

    def _ids(self, services: Sequence[str]) -> list[str]:
        return [self.containers[service] for service in services]

    async def _inspect(self, template: str, *services: str) -> list[str]:
        ids = self._ids(services or list(self.containers))
        return (await _call("docker", "inspect", "--format", template, *ids)).splitlines()

    async def _check_restarts(self, service: str) -> None:
        (count,) = await self._inspect("{{.RestartCount}}", service)
        if int(count) != self._crashes[service]:
            self._failures.append(
                f"{service} was restarted {count} times, but crashed"
                f" {self._crashes[service]} times on purpose"
            )

    @override
    def log_lines(self) -> Generator[Mapping[str, Any]]:
        output = _run(*COMPOSE, "logs", "--no-color", "--no-log-prefix", *PROGRAMS)
        for line in output.splitlines():
            # A killed process may leave an incomplete line.
            with suppress(json.JSONDecodeError):
                if isinstance(found := json.loads(line), dict):
                    yield found


@contextmanager
def compose_deployment(outage_s: tuple[float, float]) -> Generator[ComposeDeployment]:
    """
    Build and start all containers; remove them and their data at the end.

    :raises ChaosError: if they do not become healthy
    """
    gateway, store, database = (free_port() for _ in range(3))
    os.environ.setdefault("SCALE_NETWORK", "172.30.81")
    os.environ.update(
        GATEWAY_PORT=str(gateway), FAKESTORE_PORT=str(store), CHAOS_DATABASE_PORT=str(database)
    )
    try:
        _run(
            *COMPOSE,
            "up",
            "--build",
            "--wait",
            "--wait-timeout",
            f"{START_TIMEOUT_S:.0f}",
            *WANTED,
        )
        control = FakeStoreControl(f"http://127.0.0.1:{store}")
        try:
            yield ComposeDeployment(
                urls=[f"http://127.0.0.1:{gateway}"],
                database_url=DATABASE_URL.format(port=database),
                store=control,
                # A frozen replica finishes the requests that it had received when it resumes.
                in_flight_s=outage_s[1] + BACKLOG_S,
                may_repeat=True,
                outage_s=outage_s,
                containers=_containers(),
            )
        finally:
            control.close()
    finally:
        say("Removing the containers.")
        _run(*COMPOSE, "down", "--volumes", "--timeout", "5")


def _containers() -> dict[str, str]:
    """Return the ids of the running containers, by service."""
    words = _run(*COMPOSE, "ps", "--format", "{{.Service}} {{.ID}}").split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _run(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ChaosError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


# With control groups of version 1, runc gives up if processes fork while it freezes them.
@retry(stop=stop_after_attempt(10), retry=retry_if_exception_type(ChaosError), reraise=True)
async def _pause(container: str) -> None:
    await _call("docker", "pause", container)


async def _call(*command: str) -> str:
    return await asyncio.to_thread(_run, *command)
