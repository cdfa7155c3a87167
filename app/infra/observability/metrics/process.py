"""All metrics of one process."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from app.infra.observability.metrics.catalog import CacheMetrics, CatalogMetrics, HotMetrics
from app.infra.observability.metrics.work import ConnectionMetrics, JobMetrics, RequestMetrics


class Metrics:
    """The metrics of a process; the endpoint adds up those of a server's processes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.cache = CacheMetrics(registry)
        self.hot = HotMetrics(registry)
        self.catalog = CatalogMetrics(registry)
        self.requests = RequestMetrics(registry)
        self.connections = ConnectionMetrics(registry)
        self.jobs = JobMetrics(registry)
        self.hashing_queue = _gauge(
            registry, "favorites_hashing_queue_depth", "Passwords waiting to be hashed."
        )
        self.connections_in_use = _gauge(
            registry,
            "favorites_database_connections_in_use",
            "Connections in use.",
            ["pool"],
        )
        self.replica_usable = _gauge(
            registry, "favorites_database_replica_usable", "Processes that use the read replica."
        )
        self.connections_limit = _gauge(
            registry,
            "favorites_database_connections_limit",
            "Maximum number of connections.",
            ["pool"],
        )


class Sampler:
    """Copies values into gauges at an interval, until the context is left."""

    def __init__(
        self,
        readings: dict[Gauge, Callable[[], float]],
        *,
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        self._readings = readings
        self._every = every
        self._task: asyncio.Task[None] | None = None

    def sample(self) -> None:
        """Copy all values once."""
        for gauge, read in self._readings.items():
            gauge.set(read())

    async def __aenter__(self) -> Self:
        self.sample()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="metrics-sampler")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every.total_seconds())
            self.sample()


@cache
def process_metrics() -> Metrics:
    """Return the metrics that this process exposes, one object per process."""
    return Metrics(REGISTRY)


def _gauge(registry: CollectorRegistry, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    return Gauge(name, text, labels, multiprocess_mode="livesum", registry=registry)
