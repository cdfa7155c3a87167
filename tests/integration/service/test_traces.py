"""One request is one trace over all processes, and log lines contain its id."""

import asyncio
import re
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import httpx2
import psycopg
import pytest

from development.port import free_port
from tests.collector import Collector, ReceivedSpan, collecting
from tests.integration.service.harness import (
    JWT_KEY,
    Service,
    log_lines,
    running_service,
    until,
)
from tests.integration.service.people import PASSWORD, People, Staff, employ
from tests.plain_http import NO_TLS, plain_client

REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def collector() -> Generator[Collector]:
    with collecting() as collector:
        yield collector


def line_of(service: Service, request_id: str, event: str) -> dict[str, object]:
    """Return the only line of an event of a request."""
    [line] = [
        line
        for line in log_lines(service.host.said())
        if line["event"] == event and line.get("request_id") == request_id
    ]
    return line


def children(trace: list[ReceivedSpan], parent: ReceivedSpan) -> list[ReceivedSpan]:
    return [span for span in trace if span.parent_id == parent.span_id]


def named(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    [span] = [span for span in spans if span.name == name]
    return span


class TestOneFailedRequest:
    async def test_is_traced_from_the_response_to_the_job(
        self, collector: Collector, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "FAKESTORE_BACKOFF_MAX": "0.05"}
        url = new_database(migrated=True)
        staff = employ(url, ())
        with running_service(tmp_path, url, servers=(2,), **settings) as service:
            product_id = service.store.new_product()
            async with People(service, staff) as people:
                customer = await people.customer()
                service.store.misbehave(status=503)
                path = f"/customers/me/favorites/{product_id}"
                answer = await customer.client.put(
                    path, headers={"X-Request-ID": "the-one", "traceparent": REMOTE}
                )
                assert answer.status_code == 202, answer.text
                assert not {"traceparent", "tracestate"} & set(answer.headers)
                service.store.behave()

                async def settled() -> bool:
                    found = await customer.client.get(path)
                    return bool(found.json()["status"] == "available")

                with service.host.running("-m", "app", "worker"):
                    await until(settled, within_s=30, what="the job")
        # All processes have stopped, so all spans have been sent.
        line = line_of(service, "the-one", "http_request")
        trace = collector.trace(str(line["trace_id"]))

        server = named(trace, "PUT /customers/{id}/favorites/{product_id}")
        assert (server.kind, server.parent_id, server.service) == ("server", "", "favorites-api")
        assert server.span_id == line["span_id"]
        assert not server.failed
        assert server.links == ((REMOTE[3:35], REMOTE[36:52]),)
        assert server.attributes == {
            "http.request.method": "PUT",
            "http.route": "/customers/{id}/favorites/{product_id}",
            "http.response.status_code": 202,
            "url.scheme": "http",
            "network.protocol.version": "1.1",
            "request_id": "the-one",
            "customer_id": customer.id,
        }

        call = named(children(trace, server), "catalog find")
        assert (call.kind, call.error) == ("internal", "server_error")
        assert line_of(service, "the-one", "catalog_call_failed")["span_id"] == call.span_id
        tries = children(trace, call)
        assert [(each.name, each.kind, each.error) for each in tries] == [
            ("GET", "client", "server_error")
        ] * 3
        for each in tries:
            assert each.attributes["http.response.status_code"] == 503
            assert each.attributes["server.address"] == "127.0.0.1"
            assert each.attributes["url.path"] == f"/products/{product_id}"

        statements = [span for span in trace if "db.query.summary" in span.attributes]
        assert {span.kind for span in statements} == {"client"}
        in_request = [span.name for span in children(trace, server)]
        assert "COMMIT" in in_request
        assert any("add_favorites" in name for name in in_request), in_request

        sent = named(children(trace, server), "send validate_product")
        assert sent.kind == "producer"
        # The function that adds the favorite enqueues the job too.
        [done] = children(trace, sent)
        assert (done.name, done.kind, done.service) == (
            "process validate_product",
            "consumer",
            "favorites-worker",
        )
        assert not done.failed
        again = named(children(trace, done), "catalog find")
        assert again.attributes["outcome"] == "found"
        assert [span.name for span in children(trace, again)] == ["GET"]
        [settling] = [
            line
            for line in log_lines(service.host.said())
            if line["event"] == "pending_favorites_settled"
        ]
        assert (settling["trace_id"], settling["span_id"]) == (server.trace_id, done.span_id)

        known = {span.span_id for span in trace} | {""}
        assert {span.parent_id for span in trace} <= known
        self.nothing_is_personal(collector, customer.email, customer.token, staff)

    async def test_is_traced_until_its_job_is_a_dead_letter(
        self, collector: Collector, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        url, port = new_database(migrated=True), free_port()
        staff = employ(url, ())
        with running_service(tmp_path, url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as service:
            product_id = service.store.new_product()
            async with People(service, staff) as people:
                customer = await people.customer()
                service.store.misbehave(status=503)
                answer = await customer.client.put(
                    f"/customers/me/favorites/{product_id}", headers={"X-Request-ID": "the-one"}
                )
                assert answer.status_code == 202, answer.text
            # As if it had been retried for a day.
            service.sql("UPDATE procrastinate_jobs SET attempts = 400")

            async def given_up() -> bool:
                jobs = service.sql("SELECT status FROM procrastinate_jobs WHERE attempts > 400")
                return jobs == [("failed",)]

            with service.host.running("-m", "app", "worker", METRICS_PORT=str(port)):
                await until(given_up, within_s=30, what="giving up")
                metrics = httpx2.get(
                    f"http://127.0.0.1:{port}/metrics", timeout=10, verify=NO_TLS
                ).text
            service.store.behave()
        assert 'favorites_job_dead_letters_total{task="validate_product"} 1.0' in metrics
        assert 'favorites_job_dead_letters_total{task="purge"} 0.0' in metrics
        lines = log_lines(service.host.said())
        [failed] = [line for line in lines if line["event"] == "job_failed"]
        assert (failed["level"], failed["task"]) == ("warning", "validate_product")
        assert (failed["given_up"], failed["reason"]) == (True, "catalog_unavailable")
        # The dead letter leads to the request that enqueued it and to the failed call.
        request = line_of(service, "the-one", "http_request")
        assert failed["trace_id"] == request["trace_id"]
        called = [line for line in lines if line.get("job_id") == failed["job_id"]]
        assert [line["event"] for line in called] == ["catalog_call_failed", "job_failed"]
        done = named(collector.trace(str(request["trace_id"])), "process validate_product")
        assert (done.span_id, done.error) == (failed["span_id"], "CatalogUnavailable")
        # procrastinate's own event of the failure is filtered out.
        assert not [line for line in lines if line["logger"].startswith("procrastinate")]

    def nothing_is_personal(
        self, collector: Collector, email: str, token: str, staff: Staff
    ) -> None:
        everything = b"".join(collector.bodies)
        assert len(collector.spans) > 20
        for secret in (email, PASSWORD, token, JWT_KEY, staff.admin_email, "Conceição"):
            assert secret.encode() not in everything
        # No address, no query string, no text of a statement.
        assert not re.search(r"@|%40|\?|WHERE|\$1", str(collector.spans))


class TestJobs:
    async def test_without_a_trace_are_run(
        self, collector: Collector, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        url = new_database(migrated=True)
        staff = employ(url, ())
        with running_service(tmp_path, url) as service:
            product_id = service.store.new_product()
            async with People(service, staff) as people:
                customer = await people.customer()
                service.store.misbehave(status=503)
                path = f"/customers/me/favorites/{product_id}"
                answer = await customer.client.put(path, headers={"traceparent": REMOTE})
                assert answer.status_code == 202, answer.text
                service.store.behave()
                # A version without traces can run this job.
                assert service.sql(
                    "SELECT args FROM procrastinate_jobs WHERE task_name = 'validate_product'"
                ) == [({"product_id": product_id},)]

                async def settled() -> bool:
                    found = await customer.client.get(path)
                    return bool(found.json()["status"] == "available")

                with service.host.running(
                    "-m", "app", "worker", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
                ):
                    await until(settled, within_s=30, what="the job")
        done = named(collector.spans, "process validate_product")
        assert (done.parent_id, done.links, done.failed) == ("", (), False)


class TestTraces:
    async def test_show_why_a_request_has_no_database(
        self, collector: Collector, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        url = new_database(migrated=True)
        with running_service(
            tmp_path, url, servers=(1,), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        ) as service:
            async with plain_client(service.urls[0], timeout=30) as client:
                with psycopg.connect(service.database_url) as other:
                    # As a migration under load would.
                    other.execute("LOCK TABLE products_cache IN ACCESS EXCLUSIVE MODE")
                    answer = await client.get("/products/1", headers={"X-Request-ID": "late"})
                assert answer.status_code == 503, answer.text
                assert (await client.get("/health/ready")).status_code == 200
        line = line_of(service, "late", "http_request")
        assert (line["code"], line["reason"]) == ("storage_unavailable", "TimeoutError")
        trace = collector.trace(str(line["trace_id"]))
        server = named(trace, "GET /products/{product_id}")
        assert server.error == "storage_unavailable"
        [failed] = [span for span in children(trace, server) if span.failed]
        assert failed.attributes["db.system.name"] == "postgresql"
        assert "products_cache" in failed.name
        assert "/health/ready" not in str(collector.bodies)
        assert [span.name for span in collector.spans if not span.parent_id] == [server.name]

    async def test_do_not_delay_requests_if_the_collector_hangs(
        self, collector: Collector, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        collector.hang()
        with running_service(
            tmp_path,
            new_database(migrated=True),
            servers=(1,),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        ) as service:
            async with plain_client(service.urls[0], timeout=5) as client:
                for _ in range(5):
                    assert (await client.get("/products/1")).status_code == 200
                assert await asyncio.to_thread(collector.called.wait, 20)
                for _ in range(50):
                    assert (await client.get("/products/1")).status_code == 200
            # The service stops without waiting for the collector.
        assert not collector.spans

    async def test_that_are_not_accepted_are_logged_once(
        self, collector: Collector, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        collector.refuse = True
        with running_service(
            tmp_path,
            new_database(migrated=True),
            servers=(1,),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        ) as service:
            async with plain_client(service.urls[0], timeout=5) as client:

                async def lost() -> bool:
                    assert (await client.get("/products/1")).status_code == 200
                    return "trace_collector_lost" in service.host.said()

                await until(lost, what="noticing")
                collector.refuse = False

                async def back() -> bool:
                    assert (await client.get("/products/1")).status_code == 200
                    return "trace_collector_back" in service.host.said()

                await until(back, what="noticing")
        events = [line["event"] for line in log_lines(service.host.said())]
        assert events.count("trace_collector_lost") == events.count("trace_collector_back") == 1
        assert collector.spans
        assert not [
            line
            for line in log_lines(service.host.said())
            if line["logger"].startswith(("opentelemetry", "urllib3", "requests"))
        ]


class TestWithoutACollector:
    async def test_the_sdk_is_not_imported(
        self, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        with running_service(tmp_path, new_database(migrated=True), servers=(1,)) as service:
            loaded = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _LOADED,
                env=service.host.environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, _ = await loaded.communicate()
            async with plain_client(service.urls[0], timeout=5) as client:
                assert (await client.get("/products/1")).status_code == 200
        assert (loaded.returncode, said.decode().strip()) == (0, "[]")
        lines = log_lines(service.host.said())
        assert "http_request" in [line["event"] for line in lines]
        assert not [line for line in lines if "trace_id" in line or "span_id" in line]


_LOADED = """
import asyncio, sys
from app.infra.dependency import create_app, job_worker
from app.settings import load_settings

async def run():
    api = create_app()
    async with api.router.lifespan_context(api), job_worker(load_settings()):
        pass

asyncio.run(run())
# FastAPI imports the API in any case; the SDK and the exporter are what costs memory.
parts = "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google", "requests"
print(sorted(name for name in sys.modules if name.startswith(parts)))
"""
