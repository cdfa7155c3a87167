from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.domain.repository import UnitOfWorkFactory
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
from tests import make
from tests.contract.step import do, on_storage, side_by_side
from tests.make import MINUTE, NOW, SECOND

RULE = ThrottleRule(limit=3, window=5 * MINUTE)


async def take(
    uow: UnitOfWorkFactory, key: ThrottleKey, at: datetime, rule: ThrottleRule = RULE
) -> Attempt | timedelta:
    return await do(uow, lambda work: work.throttles.take(key, rule, now=at))


class TestThrottles:
    async def test_allow_up_to_the_limit(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for number in range(RULE.limit):
            at = NOW + number * SECOND
            assert await take(uow, key, at) == Attempt(key=key, at=at)

    async def test_refuse_beyond_it_and_tell_how_long_to_wait(
        self, uow: UnitOfWorkFactory
    ) -> None:
        key = make.throttle_key()
        for number in range(RULE.limit):
            await take(uow, key, NOW + number * SECOND)
        assert await take(uow, key, NOW + MINUTE) == 4 * MINUTE

    async def test_allow_again_exactly_when_they_said(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for number in range(RULE.limit):
            await take(uow, key, NOW + number * SECOND)
        again = NOW + RULE.window
        just_before = again - timedelta(microseconds=1)
        assert await take(uow, key, just_before) == timedelta(microseconds=1)
        assert await take(uow, key, again) == Attempt(key=key, at=again)

    async def test_slide_one_attempt_at_a_time(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for number in range(RULE.limit):
            await take(uow, key, NOW + number * MINUTE)
        await take(uow, key, NOW + RULE.window)
        assert await take(uow, key, NOW + RULE.window) == MINUTE

    async def test_do_not_count_what_they_refuse(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for _ in range(RULE.limit):
            await take(uow, key, NOW)
        for number in range(5):
            assert isinstance(await take(uow, key, NOW + number * MINUTE), timedelta)
        assert isinstance(await take(uow, key, NOW + RULE.window), Attempt)

    async def test_count_several_attempts_of_one_moment(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        results = [await take(uow, key, NOW) for _ in range(RULE.limit + 1)]
        assert results == [Attempt(key=key, at=NOW)] * RULE.limit + [RULE.window]

    async def test_hold_for_a_smaller_limit_than_before(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for number in range(RULE.limit):
            await take(uow, key, NOW + number * MINUTE)
        stricter = ThrottleRule(limit=1, window=RULE.window)
        # Only when the last of the three has left the window is there room for one.
        assert await take(uow, key, NOW + 2 * MINUTE, stricter) == RULE.window

    async def test_count_each_key_alone(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for _ in range(RULE.limit):
            await take(uow, key, NOW)
        assert isinstance(await take(uow, make.throttle_key(), NOW), Attempt)

    async def test_forget_what_is_given_back(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for _ in range(RULE.limit - 1):
            await take(uow, key, NOW)
        attempt = await take(uow, key, NOW + SECOND)
        assert isinstance(attempt, Attempt)
        await do(uow, lambda work: work.throttles.give_back(attempt))
        assert isinstance(await take(uow, key, NOW + 2 * SECOND), Attempt)
        assert isinstance(await take(uow, key, NOW + 2 * SECOND), timedelta)

    async def test_give_back_one_of_several_at_one_moment(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        for _ in range(RULE.limit):
            await take(uow, key, NOW)
        await do(uow, lambda work: work.throttles.give_back(Attempt(key=key, at=NOW)))
        assert isinstance(await take(uow, key, NOW), Attempt)
        assert isinstance(await take(uow, key, NOW), timedelta)

    async def test_give_back_nothing_that_was_not_taken(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        unknown = Attempt(key=key, at=NOW)
        await do(uow, lambda work: work.throttles.give_back(unknown))
        for _ in range(RULE.limit):
            await take(uow, key, NOW + SECOND)
        await do(uow, lambda work: work.throttles.give_back(unknown))
        assert isinstance(await take(uow, key, NOW + SECOND), timedelta)

    async def test_are_purged_after_their_last_attempt(self, uow: UnitOfWorkFactory) -> None:
        old, young = make.throttle_key(), make.throttle_key()
        await take(uow, old, NOW)
        await take(uow, young, NOW)
        await take(uow, young, NOW + SECOND)
        assert await do(uow, lambda w: w.throttles.purge(before=NOW + SECOND)) == 1
        assert await do(uow, lambda w: w.throttles.purge(before=NOW + SECOND)) == 0
        strict = ThrottleRule(limit=1, window=RULE.window)
        assert isinstance(await take(uow, young, NOW + SECOND, strict), timedelta)
        assert isinstance(await take(uow, old, NOW + SECOND, strict), Attempt)

    async def test_are_forgotten_on_demand(self, uow: UnitOfWorkFactory) -> None:
        key, other = make.throttle_key(), make.throttle_key()
        for _ in range(RULE.limit):
            await take(uow, key, NOW)
            await take(uow, other, NOW)
        for _ in range(2):
            await do(uow, lambda work: work.throttles.forget(key))
        assert isinstance(await take(uow, key, NOW), Attempt)
        assert isinstance(await take(uow, other, NOW), timedelta)

    async def test_are_exact_for_attempts_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        key = make.throttle_key()
        results = await side_by_side(
            RULE.limit + 2, uow, lambda work: work.throttles.take(key, RULE, now=NOW)
        )
        assert sum(isinstance(result, Attempt) for result in results) == RULE.limit
        assert [r for r in results if not isinstance(r, Attempt)] == [RULE.window] * 2

    @given(gaps=st.lists(st.integers(0, 120), max_size=12))
    @on_storage
    async def test_never_allow_more_within_any_window(
        self, uow: UnitOfWorkFactory, gaps: list[int]
    ) -> None:
        key, now, allowed = make.throttle_key(), NOW, list[datetime]()
        for gap in gaps:
            now += gap * SECOND
            taken = await take(uow, key, now)
            within = [at for at in allowed if at > now - RULE.window]
            if isinstance(taken, Attempt):
                assert len(within) < RULE.limit
                allowed.append(now)
            else:
                assert len(within) == RULE.limit
                assert taken == within[0] + RULE.window - now
