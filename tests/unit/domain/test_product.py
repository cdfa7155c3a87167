from datetime import timedelta
from typing import Any

import pytest

from app.domain.product import (
    CachePolicy,
    CatalogState,
    Freshness,
    ProductReading,
    RefreshState,
    ServedFrom,
)
from tests import make
from tests.make import CACHE_POLICY, DAY, HOUR, MINUTE, NOW, SECOND

TICK = timedelta(microseconds=1)
POLICY: dict[str, Any] = {
    "soft_ttl": MINUTE,
    "hard_ttl": HOUR,
    "negative_ttl": MINUTE,
    "lease": SECOND,
    "backoff": SECOND,
}


class TestCachePolicy:
    def test_may_have_equal_limits(self) -> None:
        assert CachePolicy(**POLICY | {"hard_ttl": MINUTE}).hard_ttl == MINUTE

    @pytest.mark.parametrize(
        "wrong",
        [
            {"soft_ttl": timedelta(0)},
            {"soft_ttl": -SECOND},
            {"soft_ttl": HOUR + TICK},
            {"negative_ttl": timedelta(0)},
            {"lease": timedelta(0)},
            {"backoff": -SECOND},
        ],
    )
    def test_refuses_invalid_durations(self, wrong: dict[str, timedelta]) -> None:
        with pytest.raises(ValueError, match="positive"):
            CachePolicy(**POLICY | wrong)

    def test_lets_a_list_be_read_four_times_while_a_copy_is_fresh(self) -> None:
        assert CachePolicy(**POLICY).revalidation_interval == MINUTE / 4


class TestCachedProduct:
    @pytest.mark.parametrize(
        ("age", "freshness"),
        [
            (-HOUR, Freshness.FRESH),
            (timedelta(0), Freshness.FRESH),
            (CACHE_POLICY.soft_ttl, Freshness.FRESH),
            (CACHE_POLICY.soft_ttl + TICK, Freshness.STALE),
            (CACHE_POLICY.hard_ttl, Freshness.STALE),
            (CACHE_POLICY.hard_ttl + TICK, Freshness.EXPIRED),
            (3650 * DAY, Freshness.EXPIRED),
        ],
    )
    def test_is_classified_by_its_age(self, age: timedelta, freshness: Freshness) -> None:
        assert make.cached_product().freshness(CACHE_POLICY, now=NOW + age) is freshness

    def test_is_due_for_a_refresh_once_it_is_not_fresh(self) -> None:
        cached, policy = make.cached_product(), CachePolicy(**POLICY)
        assert cached.fresh_until(policy) == NOW + MINUTE
        assert not cached.stale(policy, now=NOW - HOUR)
        assert not cached.stale(policy, now=NOW + MINUTE)
        assert cached.stale(policy, now=NOW + MINUTE + TICK)

    def test_goes_from_fresh_to_expired_if_the_limits_are_equal(self) -> None:
        policy = CachePolicy(**POLICY | {"hard_ttl": MINUTE})
        cached = make.cached_product()
        assert cached.freshness(policy, now=NOW + MINUTE) is Freshness.FRESH
        assert cached.freshness(policy, now=NOW + MINUTE + TICK) is Freshness.EXPIRED

    def test_has_no_negative_age(self) -> None:
        assert make.cached_product().age(NOW - HOUR) == timedelta(0)
        assert make.cached_product().age(NOW + HOUR) == HOUR

    def test_is_removed_only_by_a_second_source(self) -> None:
        assert not make.cached_product().removed
        assert not make.cached_product(missing_since=NOW).removed
        assert make.cached_product(missing_since=NOW, removed_at=NOW).removed


class TestRefreshState:
    def test_is_free_at_first(self) -> None:
        state = RefreshState()
        assert not state.in_progress(NOW)
        assert not state.blocked(NOW)
        assert state.allowed(NOW)

    def test_is_in_progress_until_the_lease_ends(self) -> None:
        state = RefreshState(leased_until=NOW)
        assert state.in_progress(NOW - TICK)
        assert not state.allowed(NOW - TICK)
        assert not state.in_progress(NOW)
        assert state.allowed(NOW)

    def test_is_blocked_until_the_block_ends(self) -> None:
        state = RefreshState(blocked_until=NOW)
        assert state.blocked(NOW - TICK)
        assert not state.allowed(NOW - TICK)
        assert not state.blocked(NOW)
        assert state.allowed(NOW)

    def test_waits_for_both(self) -> None:
        state = RefreshState(leased_until=NOW, blocked_until=NOW + HOUR)
        assert not state.allowed(NOW + MINUTE)
        assert state.allowed(NOW + HOUR)


class TestUnknownProduct:
    def test_is_absent_until_the_entry_expires(self) -> None:
        unknown = make.unknown_product(absent_until=NOW)
        assert unknown.absent(NOW - TICK)
        assert not unknown.absent(NOW)

    def test_is_not_absent_while_it_is_being_fetched(self) -> None:
        assert not make.unknown_product(refresh=RefreshState(leased_until=NOW + HOUR)).absent(NOW)


class TestCatalogState:
    def test_has_no_age_until_the_catalog_was_fetched(self) -> None:
        assert CatalogState().age(NOW) is None

    def test_has_no_negative_age(self) -> None:
        assert CatalogState(fetched_at=NOW).age(NOW - HOUR) == timedelta(0)
        assert CatalogState(fetched_at=NOW).age(NOW + HOUR) == HOUR


class TestProductReading:
    @pytest.mark.parametrize("served_from", ServedFrom)
    def test_is_stale_by_its_source(self, served_from: ServedFrom) -> None:
        reading = ProductReading(cached=make.cached_product(), served_from=served_from)
        assert reading.stale is served_from.value.startswith("stale-")
        assert not reading.collapsed
