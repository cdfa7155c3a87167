"""The worker decides pending favorites, even if processes are killed."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from textwrap import dedent
from typing import Any

import httpx2
import psycopg
import pytest

from development.port import free_port
from development.postgres import EmbeddedPostgres, StopMode
from tests.integration.service.harness import (
    ROOT,
    Program,
    Service,
    await_answer,
    log_lines,
    until,
)
from tests.integration.service.people import Customer, People, employ
from tests.plain_http import NO_TLS


@contextmanager
def worker(service: Service, **settings: str) -> Generator[Program]:
    """Run a worker beside the API."""
    with service.host.running("-m", "app", "worker", **settings) as program:
        yield program


# The health check of the worker in docker-compose.yaml.
CHECK = re.compile(
    r"^  worker:.*?^    healthcheck:.*?^ +- -c\n +- \|\n(.*?)^ +interval:",
    re.MULTILINE | re.DOTALL,
)


async def healthy(port: int) -> bool:
    """Run the health check of docker-compose.yaml against a worker's metrics port."""
    compose = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    (check,) = CHECK.findall(compose)
    assert check.count(":9100/") == 1
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", dedent(check).replace(":9100/", f":{port}/")],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@contextmanager
def lock(service: Service, table: str) -> Generator[None]:
    """Block all writes to a table."""
    with psycopg.connect(service.database_url) as connection:
        connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE".encode())
        yield


@pytest.fixture
async def customer(service: Service, people: People) -> Customer:
    return await people.customer()


async def _favorite(customer: Customer, product_id: int) -> dict[str, Any]:
    answer = await customer.client.get(f"/customers/me/favorites/{product_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def _wait(customer: Customer, product_id: int, status: str, within_s: float = 30) -> Any:
    async def decided() -> dict[str, Any] | None:
        found = await _favorite(customer, product_id)
        return found if found["status"] != "pending" else None

    found = await until(decided, within_s=within_s, what="the job")
    assert found is not None
    assert found["status"] == status, found
    return found


async def _begun(service: Service, product_id: int) -> None:
    """Wait until a job about this product runs."""

    async def doing() -> bool:
        return service.sql(
            "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
            " AND (args ->> 'product_id')::integer = %s",
            product_id,
        ) == [(1,)]

    await until(doing, what="the job")


def _jobs(service: Service, product_id: int) -> list[tuple[Any, ...]]:
    return service.sql(
        "SELECT status::text FROM procrastinate_jobs WHERE (args ->> 'product_id')::integer = %s",
        product_id,
    )


async def test_pending_favorites_are_decided_after_the_outage(
    service: Service, customer: Customer
) -> None:
    there = service.store.new_product(title="Açaí", price=25)
    invented = service.store.new_id()
    service.store.misbehave(status=503)
    for product_id in (there, invented):
        answer = await customer.client.put(f"/customers/me/favorites/{product_id}")
        assert answer.status_code == 202, answer.text
        assert _jobs(service, product_id) == [("todo",)]
    with worker(service):

        async def tried() -> bool:
            # Calls do not show it: jobs of other tests may have opened the circuit.
            return service.sql(
                "SELECT attempts > 0 FROM procrastinate_jobs"
                " WHERE (args ->> 'product_id')::integer = %s",
                there,
            ) == [(True,)]

        await until(tried, what="an attempt of the worker")
        assert (await _favorite(customer, there))["status"] == "pending"
        service.store.behave()
        found = await _wait(customer, there, "available")
        assert found["product"]["title"] == "Açaí"
        assert found["when_favorited"]["price"] == "25.00"
        refused = await _wait(customer, invented, "removed")
        assert refused["reason"] == "not_in_catalog"
    assert (await customer.client.delete(f"/customers/me/favorites/{invented}")).status_code == 204


async def test_a_job_of_a_killed_worker_is_run_by_another_and_has_its_effect_once(
    service: Service, customer: Customer
) -> None:
    product_id = service.store.new_product()
    service.store.misbehave(status=503, product_ids=[product_id])
    answer = await customer.client.put(f"/customers/me/favorites/{product_id}")
    assert answer.status_code == 202, answer.text
    service.store.misbehave(fault="hang", product_ids=[product_id])
    with worker(service) as first:
        await _begun(service, product_id)
        first.kill()
    assert _jobs(service, product_id) == [("doing",)]
    [(job_id,)] = service.sql(
        "SELECT id FROM procrastinate_jobs WHERE (args ->> 'product_id')::integer = %s",
        product_id,
    )
    service.store.behave()
    with worker(service):
        await _wait(customer, product_id, "available", within_s=45)

        async def done() -> bool:
            return _jobs(service, product_id) == []

        await until(done, what="the end of the job")
    assert service.sql(
        "SELECT count(*) FROM product_prices WHERE product_id = %s", product_id
    ) == [(1,)]
    stalled = [line for line in log_lines(service.host.said()) if line["event"] == "job_stalled"]
    assert (job_id, "validate_product", "warning") in [
        (line["job_id"], line["task"], line["level"]) for line in stalled
    ]


async def test_a_worker_survives_a_restart_of_the_database(
    own_database: EmbeddedPostgres, own_service: Service
) -> None:
    store = own_service.store
    async with People(own_service, employ(own_service.database_url, [])) as people:
        customer = await people.customer()
        store.misbehave(status=503)
        under_way, waiting = store.new_product(), store.new_product()
        answer = await customer.client.put(f"/customers/me/favorites/{under_way}")
        assert answer.status_code == 202, answer.text
        store.misbehave(fault="hang")
        with worker(own_service) as program:
            await _begun(own_service, under_way)
            await asyncio.to_thread(own_database.restart, StopMode.IMMEDIATE)

            async def accepted() -> bool:
                answer = await customer.client.put(f"/customers/me/favorites/{waiting}")
                return answer.status_code == 202

            await until(accepted, what="the return of the API")
            store.behave()
            for product_id in (under_way, waiting):
                await _wait(customer, product_id, "available", within_s=45)
            program.check()
        events = [line["event"] for line in log_lines(own_service.host.said())]
        assert "worker_lost_database" in events
        assert events.count("worker_started") >= 2


async def test_a_worker_finishes_its_job_on_sigterm(service: Service, customer: Customer) -> None:
    product_id = service.store.new_product()
    service.store.misbehave(status=503, product_ids=[product_id])
    answer = await customer.client.put(f"/customers/me/favorites/{product_id}")
    assert answer.status_code == 202, answer.text
    service.store.misbehave(delay=1, product_ids=[product_id])
    # Long enough for the catalog to respond on a busy machine.
    with worker(service, FAKESTORE_TIMEOUT="8", REFRESH_LEASE="30"):
        await _begun(service, product_id)
    # Leaving the context sends SIGTERM and checks exit status 0.
    assert (await _favorite(customer, product_id))["status"] == "available"
    assert _jobs(service, product_id) == []


async def test_a_worker_stops_on_sigterm_while_it_connects(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        with worker(service, DATABASE_URL=url):
            connection, _ = await asyncio.to_thread(silent.accept)
        # Leaving the context sends SIGTERM and checks exit status 0.
        connection.close()


class TestHealth:
    async def test_is_that_of_this_worker_alone(self, service: Service) -> None:
        first, second = free_port(), free_port()
        with (
            worker(service, METRICS_PORT=str(first)) as stopped,
            worker(service, METRICS_PORT=str(second)),
        ):
            await until(lambda: healthy(first), what="the first heartbeat")
            await until(lambda: healthy(second), what="the first heartbeat of the other one")
            os.kill(stopped.child.pid, signal.SIGSTOP)
            try:
                assert not await healthy(first)
                assert await healthy(second)
            finally:
                os.kill(stopped.child.pid, signal.SIGCONT)
            await until(lambda: healthy(first), what="the next heartbeat")

    async def test_ends_without_heartbeats_in_the_database(self, service: Service) -> None:
        port = free_port()
        with worker(service, METRICS_PORT=str(port), WORKER_LEASE="1"):
            await until(lambda: healthy(port), what="the first heartbeat")

            async def unhealthy() -> bool:
                return not await healthy(port)

            with lock(service, "procrastinate_workers"):
                await until(unhealthy, what="the failing check")
            await until(lambda: healthy(port), what="the next heartbeat")

    async def test_does_not_begin_before_the_first_heartbeat(self, service: Service) -> None:
        port = free_port()
        nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
        with worker(service, METRICS_PORT=str(port), DATABASE_URL=nowhere) as program:
            url = f"http://127.0.0.1:{port}/metrics"
            await_answer(url, program)

            async def begun() -> bool:
                return (
                    "favorites_worker_silence_seconds +Inf"
                    in httpx2.get(url, timeout=10, verify=NO_TLS).text
                )

            await until(begun, what="the start of the worker")
            assert not await healthy(port)

    async def test_does_not_end_in_a_long_job(self, service: Service, customer: Customer) -> None:
        product_id, port = service.store.new_product(), free_port()
        service.store.misbehave(status=503, product_ids=[product_id])
        answer = await customer.client.put(f"/customers/me/favorites/{product_id}")
        assert answer.status_code == 202, answer.text
        # Longer than the two leases after which the check fails.
        service.store.misbehave(delay=7, product_ids=[product_id])
        slow = {"FAKESTORE_TIMEOUT": "20", "REFRESH_LEASE": "30", "WORKER_LEASE": "2"}
        with worker(service, METRICS_PORT=str(port), **slow):
            await _begun(service, product_id)
            checks = 0
            while _jobs(service, product_id):
                assert await healthy(port)
                checks += 1
            assert checks
        assert (await _favorite(customer, product_id))["status"] == "available"
