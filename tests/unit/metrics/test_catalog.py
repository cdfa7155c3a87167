import pytest
from prometheus_client import CollectorRegistry

from app.application.catalog.catalog_observer import BreakerState, CallOutcome, Operation
from app.application.catalog.hot_products import HotLookup
from app.domain.product import ServedFrom
from app.infra.observability.metrics.catalog import CacheMetrics, CatalogMetrics, HotMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry of this test alone."""
    return CollectorRegistry()


class TestCacheMetrics:
    def test_start_at_zero(self, registry: CollectorRegistry) -> None:
        CacheMetrics(registry)
        answers = "favorites_cache_answers_total"
        for source in (*ServedFrom, "refused"):
            assert registry.get_sample_value(answers, {"served_from": str(source)}) == 0

    def test_count_answers_by_their_source(self, registry: CollectorRegistry) -> None:
        metrics = CacheMetrics(registry)
        metrics.served(ServedFrom.HIT, collapsed=False)
        metrics.served(ServedFrom.HIT, collapsed=False)
        metrics.served(ServedFrom.MISS, collapsed=True)
        metrics.refused()
        answers = "favorites_cache_answers_total"
        assert registry.get_sample_value(answers, {"served_from": "hit"}) == 2
        assert registry.get_sample_value(answers, {"served_from": "miss"}) == 1
        assert registry.get_sample_value(answers, {"served_from": "refused"}) == 1
        assert registry.get_sample_value("favorites_cache_collapsed_total") == 1

    def test_count_refreshes_by_scope_and_outcome(self, registry: CollectorRegistry) -> None:
        metrics = CacheMetrics(registry)
        metrics.asked(whole=True, succeeded=True)
        metrics.asked(whole=False, succeeded=False)
        counted = {
            (sample.labels["scope"], sample.labels["outcome"])
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "favorites_cache_refreshes_total" and sample.value
        }
        assert counted == {("catalog", "ok"), ("product", "failed")}


class TestHotMetrics:
    def test_count_lookups_by_outcome(self, registry: CollectorRegistry) -> None:
        metrics = HotMetrics(registry)
        metrics(HotLookup.HIT)
        metrics(HotLookup.HIT)
        metrics(HotLookup.SPARED)
        lookups = "favorites_cache_hot_lookups_total"
        counts = {
            outcome.value: registry.get_sample_value(lookups, {"outcome": outcome.value})
            for outcome in HotLookup
        }
        assert counts == {"hit": 2, "miss": 0, "error": 0, "spared": 1}


class TestCatalogMetrics:
    def test_count_calls_by_operation_and_outcome(self, registry: CollectorRegistry) -> None:
        metrics = CatalogMetrics(registry)
        metrics.called(Operation.FIND, outcome=CallOutcome.FOUND, latency_s=0.2, retries=2)
        find = {"operation": "find"}
        calls = "favorites_catalog_calls_total"
        duration = "favorites_catalog_call_duration_seconds"
        assert registry.get_sample_value(calls, {**find, "outcome": "found"}) == 1
        assert registry.get_sample_value(calls, {**find, "outcome": "absent"}) == 0
        assert registry.get_sample_value("favorites_catalog_retries_total", find) == 2
        assert registry.get_sample_value(f"{duration}_sum", find) == 0.2
        assert registry.get_sample_value(f"{duration}_bucket", {**find, "le": "0.25"}) == 1
        assert registry.get_sample_value(f"{duration}_bucket", {**find, "le": "0.1"}) == 0

    def test_do_not_time_calls_that_the_breaker_refused(self, registry: CollectorRegistry) -> None:
        metrics = CatalogMetrics(registry)
        metrics.called(Operation.LIST, outcome=CallOutcome.CIRCUIT_OPEN, latency_s=0, retries=0)
        duration = "favorites_catalog_call_duration_seconds_count"
        assert registry.get_sample_value(duration, {"operation": "list"}) == 0

    def test_report_the_state_of_the_breaker(self, registry: CollectorRegistry) -> None:
        metrics = CatalogMetrics(registry)
        assert states(registry) == {"closed": 1, "open": 0, "half_open": 0}
        metrics.breaker_changed(BreakerState.OPEN)
        assert states(registry) == {"closed": 0, "open": 1, "half_open": 0}


def states(registry: CollectorRegistry) -> dict[str, float | None]:
    name = "favorites_catalog_breaker_state"
    return {
        state.value: registry.get_sample_value(name, {"state": state.value})
        for state in BreakerState
    }
