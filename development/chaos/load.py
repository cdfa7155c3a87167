"""Requests to the servers of a deployment, and checks of their answers."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import httpx2

from development.chaos.deployment import Deployment
from development.chaos.ledger import Ledger

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
        """The duration."""
        return self.ended - self.began

    @property
    def good(self) -> bool:
        """Whether it was answered, and not with a server error."""
        return self.status is not None and self.status < 500

    def since(self, beginning: float) -> "Sample":
        """Return the sample with its moments relative to the beginning of a run."""
        return replace(self, began=self.began - beginning, ended=self.ended - beginning)


@dataclass(kw_only=True)
class Load:
    """The clients of all servers; `failures` are answers that must never occur."""

    deployment: Deployment
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
        allowed: Collection[int] = (),
        token: str | None = None,
        **options: Any,
    ) -> httpx2.Response | None:
        """
        Send a request to one of the servers; return None if there is no answer.

        Only successes, `allowed` statuses and a 503 with `Retry-After` are no failure.
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
        if answer is not None and not _is_acceptable(answer, allowed):
            self.failures.append(
                f"{method} {path} was answered {answer.status_code}: {answer.text[:200]}"
            )
        if answer is None or answer.status_code >= 500:
            await asyncio.sleep(PAUSE_S)
        return answer

    def first_success(self, after: float, *, server: int) -> float | None:
        """Return when a server first acknowledged a write that began after a moment."""
        ends = [
            sample.ended
            for sample in reversed(self.samples)
            if sample.server == server
            and sample.began >= after
            and sample.good
            and sample.method != "GET"
        ]
        return min(ends, default=None)


def _is_acceptable(answer: httpx2.Response, allowed: Collection[int]) -> bool:
    if answer.status_code == 503:
        return (
            answer.headers.get("retry-after", "").isdecimal()
            and int(answer.headers["retry-after"]) >= 1
            and answer.headers.get("content-type") == "application/problem+json"
        )
    return answer.is_success or answer.status_code in allowed


@asynccontextmanager
async def open_load(deployment: Deployment, ledger: Ledger, *, seed: int) -> AsyncGenerator[Load]:
    """Open a client of each server."""
    clients = [
        httpx2.AsyncClient(
            base_url=url,
            timeout=TIMEOUT_S,
            limits=httpx2.Limits(max_connections=300),
            trust_env=False,
        )
        for url in deployment.urls
    ]
    try:
        yield Load(deployment=deployment, ledger=ledger, clients=clients, random=Random(seed))  # noqa: S311 - repeatable, not secret
    finally:
        for client in clients:
            await client.aclose()
