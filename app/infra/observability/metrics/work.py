"""What is counted about connections, requests and jobs."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from math import inf
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
NO_ROUTE = "none"
NO_ANSWER = "none"
FAILED = "5xx"
ANYWHERE = ("internal_error", "storage_unavailable")
"""Codes of problems that any route may be answered with, at any time, by our fault."""

REQUEST_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
JOB_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)


class RequestMetrics:
    """
    Counts requests by method, template of the route and class of the status, and problems by code.

    What clients invent, a method or a path, is never a label: there are as many series as routes.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "favorites_http_requests",
            "Requests that were answered, or given up by the client (status none).",
            ["method", "route", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "favorites_http_request_duration_seconds",
            "Time from the head of a request to the end of its answer.",
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
        # The library makes the key of a series anew each time it is asked for it.
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
        known = method if method in METHODS else "other"
        series = self._series.get((known, route, status))
        if series is None:
            series = self._series[known, route, status] = self._find(known, route, status)
        requests, duration = series
        requests.inc()
        duration.observe(duration_s)
        if problem is not None:
            self._problems.labels(NO_ROUTE if route is None else route, problem).inc()

    def _find(
        self, method: str, route: str | None, status: int | None
    ) -> tuple[Counter, Histogram]:
        template = NO_ROUTE if route is None else route
        answer = NO_ANSWER if status is None else f"{status // 100}xx"
        # A series that begins with its first event hides it from `rate`, and one failure may be
        # all there is.
        self._requests.labels(method, template, FAILED)
        for code in ANYWHERE:
            self._problems.labels(template, code)
        return (
            self._requests.labels(method, template, answer),
            self._duration.labels(method, template),
        )


class ConnectionMetrics:
    """Tells how many clients are connected to a server, and counts those that were cut off."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge(
            "favorites_http_connections_open",
            "Connections of clients.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._limit = Gauge(
            "favorites_http_connections_limit",
            "Connections of clients there may be before newcomers are refused.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._cut_off = Counter(
            "favorites_http_connections_cut_off",
            "Connections that we ended before the client was done, by why.",
            ["reason"],
            registry=registry,
        )

    def __call__(self, *, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
        """Take over how many there are and may be, and count those cut off since last time."""
        self._open.set(open_)
        self._limit.set(limit)
        for reason, count in cut_off.items():
            # Also where there is nothing to count: a series that begins with its first event
            # hides it from `rate`.
            self._cut_off.labels(reason).inc(count)


class JobMetrics:
    """
    Counts runs of jobs, and dead letters; one that is tried again is a run each time.

    Tells, too, for how long the worker has been silent.
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
            "Jobs that failed for the last time, and are not tried again by themselves.",
            ["task"],
            registry=registry,
        )
        self._silence = Gauge(
            "favorites_worker_silence_seconds",
            "Time since the worker told the database that it lives; infinite if it never did.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._lease = Gauge(
            "favorites_worker_lease_seconds",
            "Silence for which a worker is taken for dead; 0 in what is no worker.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._clock = clock
        self._beaten_at = -inf

    def expect_beats(self, lease: timedelta) -> None:
        """Begin to tell for how long the worker has been silent."""
        self._lease.set(lease.total_seconds())
        # By whoever reads it, in a thread of its own: an event loop that hangs would not say so.
        self._silence.set_function(lambda: self._clock() - self._beaten_at)

    def beat(self) -> None:
        """Hear that the worker has told the database that it lives."""
        self._beaten_at = self._clock()

    def expect(self, task: str) -> None:
        """Begin the series of a task: with its first run `rate` would not see that one."""
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
