from datetime import timedelta
from typing import Any

import pytest

from app.domain.product import CachePolicy, Freshness, RefreshState
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
    def test_refuses_limits_that_make_no_sense(self, wrong: dict[str, timedelta]) -> None:
        with pytest.raises(ValueError, match="positive"):
            CachePolicy(**POLICY | wrong)


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
    def test_is_believed_by_its_age(self, age: timedelta, freshness: Freshness) -> None:
        assert make.cached_product().freshness(CACHE_POLICY, now=NOW + age) is freshness

    def test_goes_from_fresh_to_expired_if_the_limits_are_equal(self) -> None:
        policy = CachePolicy(**POLICY | {"hard_ttl": MINUTE})
        cached = make.cached_product()
        assert cached.freshness(policy, now=NOW + MINUTE) is Freshness.FRESH
        assert cached.freshness(policy, now=NOW + MINUTE + TICK) is Freshness.EXPIRED

    def test_is_never_younger_than_nothing(self) -> None:
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
    def test_is_absent_as_long_as_that_is_believed(self) -> None:
        unknown = make.unknown_product(absent_until=NOW)
        assert unknown.absent(NOW - TICK)
        assert not unknown.absent(NOW)

    def test_is_not_absent_when_it_is_only_being_asked_for(self) -> None:
        assert not make.unknown_product(refresh=RefreshState(leased_until=NOW + HOUR)).absent(NOW)
