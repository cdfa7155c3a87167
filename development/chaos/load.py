"""Requests to both servers, what became of them, and which of it may never happen."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import httpx2

from development.chaos.ledger import Ledger
from development.chaos.world import World

TIMEOUT_S = 20.0
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request, in seconds of the monotonic clock; `status` is None without an answer."""

    server: int
    method: str
    path: str
    began: float
    ended: float
    status: int | None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    @property
    def good(self) -> bool:
        """Whether it was answered as it should."""
        return self.status is not None and self.status < 500

    def since(self, beginning: float) -> "Sample":
        """Return it in seconds of a run."""
        return replace(self, began=self.began - beginning, ended=self.ended - beginning)


@dataclass(kw_only=True)
class Load:
    """The clients of both servers; `failures` are answers that nobody may ever get."""

    world: World
    ledger: Ledger
    clients: Sequence[httpx2.AsyncClient]
    random: Random
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(
        self,
        method: str,
        path: str,
        *,
        refusals: Collection[int] = (),
        token: str | None = None,
        **options: Any,
    ) -> httpx2.Response | None:
        """Ask one of the servers; None if there is no answer.

        Whatever is neither a success, nor one of the `refusals` that are due, nor the 503 of a
        service that says when to come back, is a failure.
        """
        server = self.random.randrange(len(self.clients))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        began = time.monotonic()
        try:
            answer = await self.clients[server].request(method, path, headers=headers, **options)
        except httpx2.TimeoutException as error:
            answer = None
            self.failures.append(
                f"{method} {path} was not answered for {TIMEOUT_S:.0f} s ({error!r})"
            )
        except httpx2.TransportError:
            answer = None
        self.samples.append(
            Sample(
                server=server,
                method=method,
                path=path,
                began=began,
                ended=time.monotonic(),
                status=answer.status_code if answer else None,
            )
        )
        if answer is not None and not _in_order(answer, refusals):
            self.failures.append(
                f"{method} {path} was answered {answer.status_code}: {answer.text[:200]}"
            )
        if answer is None or answer.status_code >= 500:
            await asyncio.sleep(PAUSE_S)
        return answer

    def first_success(self, after: float, *, server: int) -> float | None:
        """Return when the first write that began after a moment was acknowledged by a server."""
        ends = [
            sample.ended
            for sample in reversed(self.samples)
            if sample.server == server
            and sample.began >= after
            and sample.good
            and sample.method != "GET"
        ]
        return min(ends, default=None)


def _in_order(answer: httpx2.Response, refusals: Collection[int]) -> bool:
    if answer.status_code == 503:
        return (
            answer.headers.get("retry-after", "").isdecimal()
            and int(answer.headers["retry-after"]) >= 1
            and answer.headers.get("content-type") == "application/problem+json"
        )
    return answer.is_success or answer.status_code in refusals


@asynccontextmanager
async def open_load(world: World, ledger: Ledger, *, seed: int) -> AsyncGenerator[Load]:
    """Open clients of each server."""
    clients = [
        httpx2.AsyncClient(
            base_url=url,
            timeout=TIMEOUT_S,
            limits=httpx2.Limits(max_connections=300),
            trust_env=False,
        )
        for url in world.urls
    ]
    try:
        yield Load(world=world, ledger=ledger, clients=clients, random=Random(seed))  # noqa: S311 - to be repeated, not to be secret
    finally:
        for client in clients:
            await client.aclose()
