"""Metrics of connections, requests and jobs."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from math import inf
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
NO_ROUTE = "none"
NO_STATUS = "none"
SERVER_ERROR = "5xx"
SERVER_PROBLEMS = ("internal_error", "storage_unavailable")
"""Codes of problems that any route may return at any time, through a fault of the service."""

REQUEST_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
JOB_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)


class RequestMetrics:
    """
    Counts requests by method, route template and status class, and problems by code.

    Text from clients, such as an unknown method or a path, is never a label value: the number of
    series is bounded by the routes.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "favorites_http_requests",
            "Requests that were answered, or aborted by the client (status none).",
            ["method", "route", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "favorites_http_request_duration_seconds",
            "Time from the head of a request to the end of its response.",
            ["method", "route"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self._problems = Counter(
            "favorites_http_problems",
            "Requests that were answered with a problem, by its code.",
            ["route", "code"],
            registry=registry,
        )
        # `labels` rebuilds the key of a series on every call.
        self._series: dict[tuple[str, str | None, int | None], tuple[Counter, Histogram]] = {}

    def __call__(
        self,
        *,
        method: str,
        route: str | None,
        status: int | None,
        problem: str | None,
        duration_s: float,
    ) -> None:
        """Count one request."""
        known_method = method if method in METHODS else "other"
        series = self._series.get((known_method, route, status))
        if series is None:
            series = self._create_series(known_method, route, status)
            self._series[known_method, route, status] = series
        requests, duration = series
        requests.inc()
        duration.observe(duration_s)
        if problem is not None:
            self._problems.labels(NO_ROUTE if route is None else route, problem).inc()

    def _create_series(
        self, method: str, route: str | None, status: int | None
    ) -> tuple[Counter, Histogram]:
        template = NO_ROUTE if route is None else route
        status_class = NO_STATUS if status is None else f"{status // 100}xx"
        # At 0: `rate` does not see the first event of a series that starts with it.
        self._requests.labels(method, template, SERVER_ERROR)
        for code in SERVER_PROBLEMS:
            self._problems.labels(template, code)
        return (
            self._requests.labels(method, template, status_class),
            self._duration.labels(method, template),
        )


class ConnectionMetrics:
    """Reports the number of client connections, and counts those that the server closed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge(
            "favorites_http_connections_open",
            "Connections of clients.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._limit = Gauge(
            "favorites_http_connections_limit",
            "Maximum number of client connections; further ones are refused.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._cut_off = Counter(
            "favorites_http_connections_cut_off",
            "Connections that the server closed before the client had finished, by reason.",
            ["reason"],
            registry=registry,
        )

    def __call__(self, *, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
        """Set the gauges, and count the connections closed since the last call."""
        self._open.set(open_)
        self._limit.set(limit)
        for reason, count in cut_off.items():
            # Also for a count of 0: `rate` does not see the first event of a new series.
            self._cut_off.labels(reason).inc(count)


class JobMetrics:
    """
    Counts job runs, retries included, and dead letters.

    Also reports the time since the worker's last heartbeat.
    """

    def __init__(
        self, registry: CollectorRegistry, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._runs = Counter(
            "favorites_job_runs",
            "Runs of jobs, by task and by whether they succeeded.",
            ["task", "outcome"],
            registry=registry,
        )
        self._duration = Histogram(
            "favorites_job_duration_seconds",
            "Time of a run.",
            ["task"],
            buckets=JOB_BUCKETS_S,
            registry=registry,
        )
        self._dead_letters = Counter(
            "favorites_job_dead_letters",
            "Jobs that failed for the last time and are not retried automatically.",
            ["task"],
            registry=registry,
        )
        self._silence = Gauge(
            "favorites_worker_silence_seconds",
            "Time since the worker's last heartbeat in the database; infinite before the first.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._lease = Gauge(
            "favorites_worker_lease_seconds",
            "Time without a heartbeat after which a worker counts as dead; 0 in other processes.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._clock = clock
        self._last_heartbeat = -inf

    def worker_started(self, lease: timedelta) -> None:
        """Begin to report the time since the last heartbeat."""
        self._lease.set(lease.total_seconds())
        # Computed in the thread that serves the metrics, so that a blocked event loop shows.
        self._silence.set_function(lambda: self._clock() - self._last_heartbeat)

    def heartbeat(self) -> None:
        """Note that the worker has updated its heartbeat in the database."""
        self._last_heartbeat = self._clock()

    def register(self, task: str) -> None:
        """Create the series of a task at 0: `rate` does not see the first event of a new one."""
        for outcome in ("ok", "failed"):
            self._runs.labels(task, outcome)
        self._duration.labels(task)
        self._dead_letters.labels(task)

    def __call__(self, *, task: str, succeeded: bool, given_up: bool, duration_s: float) -> None:
        """Count one run."""
        self._runs.labels(task, "ok" if succeeded else "failed").inc()
        self._duration.labels(task).observe(duration_s)
        if given_up:
            self._dead_letters.labels(task).inc()
