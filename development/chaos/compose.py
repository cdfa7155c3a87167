"""The profile `scale` of docker-compose.yaml, as a project of its own."""

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

from development.chaos.program import ChaosError
from development.chaos.world import World
from development.fakestore.server import FakeStoreControl
from development.outage import ROOT, say
from development.port import free_port

PROJECT = "favorites-chaos"
COMPOSE = (
    *("docker", "compose", "--project-name", PROJECT, "--profile", "scale"),
    *("--file", "docker-compose.yaml", "--file", "development/chaos/compose.yaml"),
)
# What these need comes with them. The `api` that is not behind the gateway stays away.
WANTED = ("gateway", "worker", "worker-2")
PROGRAMS = ("api-1", "api-2", "worker", "worker-2")
DATABASE_URL = "postgresql://favorites:favorites-development-only@127.0.0.1:{port}/favorites"

# More than the catalog has by itself: of a product whose last write is in doubt nobody asks.
PRODUCTS = 60
UP_S, LOOK_S = 300.0, 0.25

# For how long a process that was frozen works off what had reached it.
WORK_OFF_S = 15.0


@dataclass(kw_only=True)
class ComposeWorld(World):
    """
    Containers, and what was done to them; each fault takes something away for `away_s`.

    `containers` are their ids by service.
    """

    away_s: tuple[float, float]
    containers: Mapping[str, str]
    _crashes: Counter[str] = field(default_factory=Counter)
    _failures: list[str] = field(default_factory=list)

    @property
    @override
    def failures(self) -> Sequence[str]:
        return self._failures

    @override
    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        while len(self.products) < PRODUCTS:
            await self.add_product(self.next_product())
        yield
        for service in PROGRAMS:
            await self._look_for_crashes(service)
        await _call(*COMPOSE, "stop", *PROGRAMS)
        for service in PROGRAMS:
            status = await self._inspect("{{.State.ExitCode}}", service)
            if status != ["0"]:
                self._failures.append(f"{service} was asked to stop, and ended with {status}")

    @override
    async def complete(self) -> bool:
        return await self.healthy()

    async def healthy(self) -> bool:
        """Tell whether every container is healthy."""
        # Whoever waits for that asks again at once, and asking costs a process.
        await asyncio.sleep(LOOK_S)
        states = await self._inspect("{{.State.Status}} {{.State.Health.Status}}")
        return set(states) == {"running healthy"}

    async def kill(self, *services: str) -> None:
        """Kill containers; none is started again by itself."""
        for service in services:
            await self._look_for_crashes(service)
        await _call("docker", "kill", *self._ids(services))

    async def crash(self, service: str) -> None:
        """Kill what runs in a container, which the restart policy starts again."""
        self._crashes[service] += 1
        # The first process is the engine's own, and passes the end of its child on.
        await self.execute(service, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")

    async def start(self, *services: str) -> None:
        """Start containers that were killed."""
        for service in services:
            del self._crashes[service]
        await _call("docker", "start", *self._ids(services))

    async def pause(self, *services: str) -> None:
        """Freeze containers: whoever talks to them hears nothing, not even that they are gone."""
        for container in self._ids(services):
            await _pause(container)

    async def go_on(self, *services: str) -> None:
        """Let frozen containers go on."""
        await _call("docker", "unpause", *self._ids(services))

    async def execute(self, service: str, *command: str) -> None:
        """Run a command in a container."""
        await _call("docker", "exec", *self._ids([service]), *command)

    def _ids(self, services: Sequence[str]) -> list[str]:
        return [self.containers[service] for service in services]

    async def _inspect(self, template: str, *services: str) -> list[str]:
        ids = self._ids(services or list(self.containers))
        return (await _call("docker", "inspect", "--format", template, *ids)).splitlines()

    async def _look_for_crashes(self, service: str) -> None:
        (count,) = await self._inspect("{{.RestartCount}}", service)
        if int(count) != self._crashes[service]:
            self._failures.append(
                f"{service} was started again {count} times, and crashed"
                f" {self._crashes[service]} times on purpose"
            )

    @override
    def log_lines(self) -> Generator[Mapping[str, Any]]:
        said = _run(*COMPOSE, "logs", "--no-color", "--no-log-prefix", *PROGRAMS)
        for line in said.splitlines():
            # A process that is killed may leave half a line.
            with suppress(json.JSONDecodeError):
                if isinstance(found := json.loads(line), dict):
                    yield found


@contextmanager
def compose_world(away_s: tuple[float, float]) -> Generator[ComposeWorld]:
    """
    Build and start everything, and remove it in the end, with its data.

    Each part that is taken away is away for a time drawn from `away_s`, seconds.

    :raises ChaosError: if it does not come up
    """
    gateway, store, database = (free_port() for _ in range(3))
    os.environ.setdefault("SCALE_NETWORK", "172.30.81")
    os.environ.update(
        GATEWAY_PORT=str(gateway), FAKESTORE_PORT=str(store), CHAOS_DATABASE_PORT=str(database)
    )
    try:
        _run(*COMPOSE, "up", "--build", "--wait", "--wait-timeout", f"{UP_S:.0f}", *WANTED)
        control = FakeStoreControl(f"http://127.0.0.1:{store}")
        try:
            yield ComposeWorld(
                urls=[f"http://127.0.0.1:{gateway}"],
                database_url=DATABASE_URL.format(port=database),
                store=control,
                # A frozen replica works off what had reached it when it goes on.
                doubt_s=away_s[1] + WORK_OFF_S,
                may_be_repeated=True,
                away_s=away_s,
                containers=_containers(),
            )
        finally:
            control.close()
    finally:
        say("Everything is removed.")
        _run(*COMPOSE, "down", "--volumes", "--timeout", "5")


def _containers() -> dict[str, str]:
    """Return the containers that run, by service."""
    words = _run(*COMPOSE, "ps", "--format", "{{.Service}} {{.ID}}").split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _run(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ChaosError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


# Where control groups are of version 1, runc gives up on processes that multiply while it freezes.
@retry(stop=stop_after_attempt(10), retry=retry_if_exception_type(ChaosError), reraise=True)
async def _pause(container: str) -> None:
    await _call("docker", "pause", container)


async def _call(*command: str) -> str:
    return await asyncio.to_thread(_run, *command)
