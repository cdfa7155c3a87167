from functools import partial
from math import inf

import pytest
from prometheus_client import CollectorRegistry

from app.infra.observability.metrics.work import ConnectionMetrics, JobMetrics, RequestMetrics
from tests import make


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry of this test alone."""
    return CollectorRegistry()


def labels(registry: CollectorRegistry, name: str) -> list[dict[str, str]]:
    return [
        sample.labels
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    ]


class TestRequestMetrics:
    def test_count_by_method_route_and_class(self, registry: CollectorRegistry) -> None:
        metrics = RequestMetrics(registry)
        metrics(
            method="GET", route="/products/{product_id}", status=200, problem=None, duration_s=0.02
        )
        metrics(
            method="GET",
            route="/products/{product_id}",
            status=404,
            problem="product_not_found",
            duration_s=0.02,
        )
        route = {"method": "GET", "route": "/products/{product_id}"}
        requests = "favorites_http_requests_total"
        assert registry.get_sample_value(requests, {**route, "status": "2xx"}) == 1
        assert registry.get_sample_value(requests, {**route, "status": "4xx"}) == 1
        duration = "favorites_http_request_duration_seconds"
        assert registry.get_sample_value(f"{duration}_count", route) == 2
        assert registry.get_sample_value(f"{duration}_bucket", {**route, "le": "0.025"}) == 2

    def test_have_no_label_value_from_clients(self, registry: CollectorRegistry) -> None:
        metrics = RequestMetrics(registry)
        for number in range(100):
            metrics(
                method=f"M{number}",
                route=None,
                status=404,
                problem="route_not_found",
                duration_s=0.001,
            )
        assert labels(registry, "favorites_http_requests_total") == [
            {"method": "other", "route": "none", "status": "5xx"},
            {"method": "other", "route": "none", "status": "4xx"},
        ]
        problems = labels(registry, "favorites_http_problems_total")
        assert {problem["route"] for problem in problems} == {"none"}
        assert "route_not_found" in {problem["code"] for problem in problems}

    def test_count_requests_that_the_client_aborted(self, registry: CollectorRegistry) -> None:
        RequestMetrics(registry)(
            method="GET", route="/customers", status=None, problem=None, duration_s=1
        )
        given_up = {"method": "GET", "route": "/customers", "status": "none"}
        assert registry.get_sample_value("favorites_http_requests_total", given_up) == 1

    def test_count_problems_by_code(self, registry: CollectorRegistry) -> None:
        metrics = RequestMetrics(registry)
        for status, problem in (
            (503, "storage_unavailable"),
            (503, "storage_unavailable"),
            (503, "hashing_busy"),
            (200, None),
        ):
            metrics(
                method="POST",
                route="/auth/sign-in",
                status=status,
                problem=problem,
                duration_s=0.1,
            )
        problems = "favorites_http_problems_total"
        told = {
            each["code"]: registry.get_sample_value(problems, each)
            for each in labels(registry, problems)
        }
        assert told == {"storage_unavailable": 2, "hashing_busy": 1, "internal_error": 0}

    def test_create_the_series_of_failures_before_the_first_one(
        self, registry: CollectorRegistry
    ) -> None:
        # `rate` does not see the first event of a series that starts with it.
        metrics = RequestMetrics(registry)
        metrics(method="GET", route="/customers", status=200, problem=None, duration_s=1)
        failed = {"method": "GET", "route": "/customers", "status": "5xx"}
        assert registry.get_sample_value("favorites_http_requests_total", failed) == 0
        bug = {"route": "/customers", "code": "internal_error"}
        assert registry.get_sample_value("favorites_http_problems_total", bug) == 0


class TestConnectionMetrics:
    def test_report_open_connections_and_count_closed_ones(
        self, registry: CollectorRegistry
    ) -> None:
        metrics = ConnectionMetrics(registry)
        metrics(open_=0, limit=1000, cut_off={"body_timeout": 0, "server_busy": 0})
        metrics(open_=7, limit=1000, cut_off={"body_timeout": 2, "server_busy": 0})
        metrics(open_=3, limit=1000, cut_off={"body_timeout": 1, "server_busy": 0})
        assert registry.get_sample_value("favorites_http_connections_open") == 3
        assert registry.get_sample_value("favorites_http_connections_limit") == 1000
        cut_off = "favorites_http_connections_cut_off_total"
        assert registry.get_sample_value(cut_off, {"reason": "body_timeout"}) == 3
        # At 0 from the start: `rate` would not see the first event otherwise.
        assert registry.get_sample_value(cut_off, {"reason": "server_busy"}) == 0


class TestJobMetrics:
    def test_count_by_task_and_outcome(self, registry: CollectorRegistry) -> None:
        metrics = JobMetrics(registry)
        metrics(task="purge", succeeded=True, given_up=False, duration_s=0.2)
        metrics(task="purge", succeeded=False, given_up=False, duration_s=0.2)
        runs = "favorites_job_runs_total"
        assert registry.get_sample_value(runs, {"task": "purge", "outcome": "ok"}) == 1
        assert registry.get_sample_value(runs, {"task": "purge", "outcome": "failed"}) == 1
        duration = "favorites_job_duration_seconds_count"
        assert registry.get_sample_value(duration, {"task": "purge"}) == 2

    def test_count_dead_letters(self, registry: CollectorRegistry) -> None:
        metrics = JobMetrics(registry)
        metrics(task="validate_product", succeeded=False, given_up=False, duration_s=0.2)
        metrics(task="validate_product", succeeded=False, given_up=True, duration_s=0.2)
        task = {"task": "validate_product"}
        assert registry.get_sample_value("favorites_job_dead_letters_total", task) == 1

    def test_create_the_series_of_a_task_before_its_first_run(
        self, registry: CollectorRegistry
    ) -> None:
        JobMetrics(registry).register("purge")
        for outcome in ("ok", "failed"):
            run = {"task": "purge", "outcome": outcome}
            assert registry.get_sample_value("favorites_job_runs_total", run) == 0
        task = {"task": "purge"}
        assert registry.get_sample_value("favorites_job_duration_seconds_count", task) == 0
        assert registry.get_sample_value("favorites_job_dead_letters_total", task) == 0

    def test_report_the_time_since_the_last_heartbeat(self, registry: CollectorRegistry) -> None:
        seconds = 1000.0
        metrics = JobMetrics(registry, clock=lambda: seconds)
        silence = partial(registry.get_sample_value, "favorites_worker_silence_seconds")
        metrics.worker_started(15 * make.SECOND)
        assert registry.get_sample_value("favorites_worker_lease_seconds") == 15
        assert silence() == inf
        metrics.heartbeat()
        assert silence() == 0
        # Computed when it is read, so a blocked worker cannot hide it.
        seconds += 40
        assert silence() == 40
        metrics.heartbeat()
        assert silence() == 0
