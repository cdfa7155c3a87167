"""Metrics of the catalog and its cache."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from typing_extensions import override

from app.application.catalog.cache_observer import CacheObserver
from app.application.catalog.catalog_observer import (
    BreakerState,
    CallOutcome,
    CatalogObserver,
    Operation,
)
from app.application.catalog.hot_products import HotLookup
from app.domain.product import ServedFrom

REFUSED = "refused"
LATENCY_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0)
"""Narrow up to the deadline of a call."""


class CacheMetrics(CacheObserver):
    """Counts products by where they were read from, and refreshes by outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        answers = Counter(
            "favorites_cache_answers",
            "Products read, by where they were read from.",
            ["served_from"],
            registry=registry,
        )
        self._collapsed = Counter(
            "favorites_cache_collapsed",
            "Products read through a call that another request had started.",
            registry=registry,
        )
        self._refreshes = Counter(
            "favorites_cache_refreshes",
            "Calls to fill the cache, for one product or for the whole catalog.",
            ["scope", "outcome"],
            registry=registry,
        )
        # `labels` rebuilds the key of a series on every call.
        self._served = {source: answers.labels(source.value) for source in ServedFrom}
        self._refused = answers.labels(REFUSED)
        for scope in ("product", "catalog"):
            for outcome in ("ok", "failed"):
                self._refreshes.labels(scope, outcome)

    @override
    def served(self, served_from: ServedFrom, *, collapsed: bool) -> None:
        self._served[served_from].inc()
        if collapsed:
            self._collapsed.inc()

    @override
    def refused(self) -> None:
        self._refused.inc()

    @override
    def asked(self, *, whole: bool, succeeded: bool) -> None:
        scope, outcome = "catalog" if whole else "product", "ok" if succeeded else "failed"
        self._refreshes.labels(scope, outcome).inc()


class HotMetrics:
    """Counts lookups in the hot tier by outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lookups = Counter(
            "favorites_cache_hot_lookups",
            "Products looked up in Redis, by outcome; errors of writes are included.",
            ["outcome"],
            registry=registry,
        )
        for outcome in HotLookup:
            self._lookups.labels(outcome.value)

    def __call__(self, outcome: HotLookup) -> None:
        """Count one lookup."""
        self._lookups.labels(outcome.value).inc()


class CatalogMetrics(CatalogObserver):
    """
    Counts calls of the catalog, and reports the state of the circuit breaker.

    Each process has a breaker: the gauge of a state is the number of processes in that state.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "favorites_catalog_calls",
            "Calls of the catalog, by outcome.",
            ["operation", "outcome"],
            registry=registry,
        )
        self._duration = Histogram(
            "favorites_catalog_call_duration_seconds",
            "Time of a whole call, retries and waits included; without refusals by the breaker.",
            ["operation"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._retries = Counter(
            "favorites_catalog_retries",
            "Requests to the catalog beyond the first of a call.",
            ["operation"],
            registry=registry,
        )
        self._breaker = Gauge(
            "favorites_catalog_breaker_state",
            "Processes whose circuit breaker is in a state.",
            ["state"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        for operation in Operation:
            self._duration.labels(operation.value)
            self._retries.labels(operation.value)
            for outcome in CallOutcome:
                self._calls.labels(operation.value, outcome.value)
        self.breaker_changed(BreakerState.CLOSED)

    @override
    def called(
        self, operation: Operation, *, outcome: CallOutcome, latency_s: float, retries: int
    ) -> None:
        self._calls.labels(operation.value, outcome.value).inc()
        self._retries.labels(operation.value).inc(retries)
        if outcome is not CallOutcome.CIRCUIT_OPEN:
            self._duration.labels(operation.value).observe(latency_s)

    @override
    def breaker_changed(self, state: BreakerState) -> None:
        for each in BreakerState:
            self._breaker.labels(each.value).set(each is state)
