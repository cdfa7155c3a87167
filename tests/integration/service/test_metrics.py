"""The metrics of the running service, as Prometheus scrapes them."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from development.port import free_port
from tests.integration.service.harness import (
    Host,
    await_answer,
    environment,
    running_service,
    until,
)
from tests.plain_http import plain_client

READS = 60


async def scrape(port: int) -> dict[str, float]:
    async with plain_client(timeout=10) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return {
        " ".join((sample.name, *(sample.labels[name] for name in sorted(sample.labels)))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def all_started(port: int, *, processes: int) -> None:
    """Wait until all processes of a server report; it responds when the first one runs."""

    async def all_are_there() -> bool:
        return (await scrape(port)).get("favorites_catalog_breaker_state closed") == processes

    await until(all_are_there, what="all processes")


def share_of(metrics: dict[str, float], pool: str) -> float:
    """Return the share of a pool in use, as the alert computes it."""
    in_use, limit = (
        metrics[f"favorites_database_connections_{name} {pool}"] for name in ("in_use", "limit")
    )
    return in_use / limit


class TestMetrics:
    async def test_are_added_up_over_the_processes_of_a_server(
        self, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        port = free_port()
        with running_service(
            tmp_path, new_database(migrated=True), servers=(2,), METRICS_PORT=str(port)
        ) as service:
            await all_started(port, processes=2)
            for _ in range(READS):
                # A new connection each time, so that both processes respond to some.
                async with plain_client(service.urls[0], timeout=20) as client:
                    assert (await client.get("/products/1")).status_code == 200

            async def counted() -> dict[str, float]:
                # A request is counted after its response was sent.
                metrics = await scrape(port)
                done = metrics["favorites_http_requests_total GET /products/{product_id} 2xx"]
                return metrics if done == READS else {}

            metrics = await until(counted, what="counting all requests")
            answers = "favorites_cache_answers_total"
            assert metrics[f"{answers} miss"] == 1
            assert metrics[f"{answers} hit"] == READS - 1
            assert metrics["favorites_catalog_calls_total find found"] == 1
            assert metrics["favorites_catalog_breaker_state closed"] == 2
            limit = "favorites_database_connections_limit"
            pools = {name for name in metrics if name.split(" ")[0] == limit}
            assert pools == {f"{limit} main", f"{limit} lookups", f"{limit} sign_ins"}
            assert sum(metrics[pool] for pool in pools) == 2 * 8

    @pytest.mark.parametrize(
        ("pool", "table", "method", "path", "status"),
        [
            ("main", "refresh_tokens", "POST", "/auth/refresh?attempt={}", 401),
            ("lookups", "products_cache", "GET", "/products/{}", 200),
        ],
    )
    async def test_show_that_a_pool_is_exhausted(
        self,
        tmp_path: Path,
        new_database: Callable[..., str],
        pool: str,
        table: str,
        method: str,
        path: str,
        status: int,
    ) -> None:
        port, url = free_port(), new_database(migrated=True)
        with running_service(
            tmp_path, url, METRICS_PORT=str(port), DATABASE_POOL_TIMEOUT="30"
        ) as service:
            async with (
                plain_client(service.urls[0], timeout=60) as client,
                asyncio.TaskGroup() as group,
            ):
                with psycopg.connect(url) as connection:
                    connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                    requests: list[asyncio.Task[httpx2.Response]] = []

                    async def used_up() -> dict[str, float]:
                        # Add one request at a time: simultaneous ones may share a statement.
                        asked = client.request(
                            method,
                            path.format(len(requests) % 20 + 1),
                            headers={"Cookie": "refresh_token=unknown"},
                        )
                        requests.append(group.create_task(asked))
                        metrics = await scrape(port)
                        return metrics if share_of(metrics, pool) > 0.9 else {}

                    metrics = await until(used_up, what=f"using up {pool}")
            others = {"main", "lookups", "sign_ins"} - {pool}
            assert [share_of(metrics, other) for other in others] == [0, 0]
            assert {request.result().status_code for request in requests} == {status}

    async def test_are_added_up_over_the_connections_of_all_processes(
        self, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        port, kept, silent = free_port(), 24, 12
        with running_service(
            tmp_path,
            new_database(migrated=True),
            servers=(2,),
            METRICS_PORT=str(port),
            MAX_CONNECTIONS="1000",
            # Long enough to open all connections; the silent ones are closed by HEAD_TIMEOUT.
            KEEP_ALIVE="60",
            HEAD_TIMEOUT="2",
        ) as service:
            address = urlsplit(service.urls[0])
            where = (address.hostname or "", address.port or 0)
            cut_off = "favorites_http_connections_cut_off_total"
            await all_started(port, processes=2)
            async with AsyncExitStack() as connections:
                for _ in range(kept):
                    client = plain_client(service.urls[0], timeout=20)
                    await connections.enter_async_context(client)
                    assert (await client.get("/health/live")).status_code == 200
                for _ in range(silent):
                    connections.enter_context(socket.create_connection(where))

                async def seen() -> bool:
                    metrics = await scrape(port)
                    done = metrics[f"{cut_off} no_request"] == silent
                    return done and metrics["favorites_http_connections_open"] == kept

                await until(seen, what="closing the silent connections")
                metrics = await scrape(port)
                assert metrics["favorites_http_connections_limit"] == 2 * 1000
                assert metrics[f"{cut_off} server_busy"] == 0

            async def gone() -> bool:
                return (await scrape(port))["favorites_http_connections_open"] == 0

            await until(gone, what="all connections being closed")

    async def test_include_the_jobs_of_a_worker(
        self, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        port = free_port()
        with (
            running_service(tmp_path, new_database(migrated=True)) as service,
            service.host.running("-m", "app", "worker", METRICS_PORT=str(port)) as worker,
        ):

            async def has_run() -> bool:
                worker.check()
                try:
                    metrics = await scrape(port)
                except httpx2.ConnectError:
                    return False
                return metrics.get("favorites_job_runs_total ok retry_stalled", 0) > 0

            await until(has_run, what="a job")

    async def test_include_a_worker_that_never_reached_its_database(self, tmp_path: Path) -> None:
        # Without the series the alert `JobsStand` has no data, which is not a rate of 0.
        port = free_port()
        nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
        host = Host(directory=tmp_path, environment=environment(nowhere))
        with host.running("-m", "app", "worker", METRICS_PORT=str(port)) as worker:
            await_answer(f"http://127.0.0.1:{port}/metrics", worker)

            async def begun() -> dict[str, float]:
                metrics = await scrape(port)
                return metrics if "favorites_job_runs_total ok retry_stalled" in metrics else {}

            metrics = await until(begun, what="the series")
            assert metrics["favorites_job_runs_total ok retry_stalled"] == 0
