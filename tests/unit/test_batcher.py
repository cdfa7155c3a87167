import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import timedelta

import pytest
import pytest_asyncio

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.batcher import Batcher

PATIENCE = timedelta(minutes=1)

caller: ContextVar[str] = ContextVar("caller")


class Doubler:
    """Doubles numbers when it is released; records its calls and in whose context they ran."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.callers: list[str] = []
        self.held: list[asyncio.Future[None]] = []

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.calls.append(list(numbers))
        self.callers.append(caller.get("unknown"))
        gate = asyncio.get_running_loop().create_future()
        self.held.append(gate)
        await gate
        return [
            2 * number if number >= 0 else LookupError(f"{number} is negative")
            for number in numbers
        ]

    def release(self, call: int, error: Exception | None = None) -> None:
        if error is None:
            self.held[call].set_result(None)
        else:
            self.held[call].set_exception(error)


class Clock:
    """The time of the event loop, which stands still until a test changes it."""

    passed_s = 0.0


async def turn() -> None:
    """Let all tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def double() -> Doubler:
    return Doubler()


@pytest_asyncio.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock.passed_s)
    return clock


async def test_a_single_query_runs_at_once(double: Doubler) -> None:
    batcher = Batcher(double, patience=PATIENCE)
    result = batcher.submit(1)
    await turn()
    assert double.calls == [[1]]
    double.release(0)
    assert await result == 2


async def test_queries_that_arrive_meanwhile_share_a_batch(double: Doubler) -> None:
    batcher = Batcher(double, patience=PATIENCE, concurrency=1)
    results = [batcher.submit(1)]
    await turn()
    for number in (2, 3, 2):
        results.append(batcher.submit(number))
        await turn()
    assert double.calls == [[1]]
    double.release(0)
    await turn()
    assert double.calls == [[1], [2, 3]]
    double.release(1)
    assert await asyncio.gather(*results) == [2, 4, 6, 4]


async def test_a_query_never_joins_a_batch_in_progress(double: Doubler) -> None:
    batcher = Batcher(double, patience=PATIENCE, concurrency=2)
    first = batcher.submit(1)
    await turn()
    # The batch in progress may have read an older state.
    second = batcher.submit(1)
    await turn()
    assert double.calls == [[1], [1]]
    double.release(0)
    double.release(1)
    assert [await first, await second] == [2, 2]


async def test_batches_are_bounded_in_number_and_size(double: Doubler) -> None:
    batcher = Batcher(double, patience=PATIENCE, concurrency=2, max_size=3)
    results = [batcher.submit(number) for number in range(10)]
    await turn()
    assert [len(call) for call in double.calls] == [3, 3]
    results += [batcher.submit(10), batcher.submit(11)]
    await turn()
    assert [len(call) for call in double.calls] == [3, 3]
    for call in range(4):
        double.release(call)
        await turn()
    assert await asyncio.gather(*results) == [2 * number for number in range(12)]


async def test_a_failure_is_raised_to_all_callers_of_the_batch_alone(
    double: Doubler,
) -> None:
    batcher = Batcher(double, patience=PATIENCE, concurrency=1)
    together = [batcher.submit(1), batcher.submit(2)]
    await turn()
    later = batcher.submit(3)
    double.release(0, LookupError("wrong"))
    await turn()
    double.release(1)
    results = await asyncio.gather(*together, return_exceptions=True)
    assert [type(each) for each in results] == [LookupError, LookupError]
    assert await later == 6


async def test_a_cancelled_caller_affects_no_other(double: Doubler) -> None:
    batcher = Batcher(double, patience=PATIENCE)
    gone, stays = batcher.submit(1), batcher.submit(1)
    await turn()
    gone.cancel()
    double.release(0)
    assert await stays == 2


async def test_a_batch_runs_in_the_context_of_the_longest_waiting_query(double: Doubler) -> None:
    batcher = Batcher(double, patience=PATIENCE, concurrency=1)

    async def ask(name: str, number: int) -> int:
        caller.set(name)
        return await batcher.submit(number)

    first = asyncio.create_task(ask("first", 1))
    await turn()
    others = [asyncio.create_task(ask(name, 2)) for name in ("second", "third")]
    await turn()
    double.release(0)
    await turn()
    double.release(1)
    await asyncio.gather(first, *others)
    assert double.callers == ["first", "second"]


async def test_a_query_fails_after_its_patience(double: Doubler) -> None:
    loop = asyncio.get_running_loop()
    batcher = Batcher(double, patience=timedelta(milliseconds=50), concurrency=1)
    began = loop.time()
    results = [batcher.submit(1)]
    await turn()
    # Both the batch in progress and the query that waits for it.
    results.append(batcher.submit(2))
    failures = await asyncio.gather(*results, return_exceptions=True)
    assert [type(each) for each in failures] == [StorageUnavailable] * 2
    # Later queries are not affected.
    assert loop.time() - began >= 0.05
    later = batcher.submit(3)
    await turn()
    double.release(-1)
    assert await later == 6


async def test_a_queue_that_is_never_empty_but_moves_fails_no_query(
    double: Doubler, clock: Clock
) -> None:
    batcher = Batcher(double, patience=timedelta(seconds=10), concurrency=1, max_size=1)
    results = [batcher.submit(number) for number in range(3)]
    for call in range(30):
        await turn()
        clock.passed_s += 1.0
        results.append(batcher.submit(3 + call))
        double.release(call)
        assert await results[call] == 2 * call
    await batcher.aclose()


async def test_only_queries_that_waited_too_long_fail(double: Doubler, clock: Clock) -> None:
    batcher = Batcher(double, patience=timedelta(seconds=10), concurrency=1, max_size=1)
    begun = batcher.submit(0)
    await turn()
    # A loop whose time stands still is not woken by timers.
    clock.passed_s = 6.0
    early = batcher.submit(1)
    await turn()
    clock.passed_s = 9.0
    late = batcher.submit(2)
    await turn()
    clock.passed_s = 10.0
    with pytest.raises(StorageUnavailable):
        await begun
    await turn()
    clock.passed_s = 16.0
    with pytest.raises(StorageUnavailable):
        await early
    await turn()
    double.release(2)
    assert await late == 4


async def test_closing_cancels_what_is_in_progress(double: Doubler) -> None:
    batcher = Batcher(double, patience=PATIENCE)
    result = batcher.submit(1)
    await turn()
    await batcher.aclose()
    with pytest.raises(asyncio.CancelledError):
        await result


async def test_a_result_that_is_an_exception_is_raised_to_the_callers_of_its_key(
    double: Doubler,
) -> None:
    batcher = Batcher(double, patience=PATIENCE)
    results = [batcher.submit(number) for number in (-1, 1, -1, 2)]
    await turn()
    double.release(0)
    raised_first, one, raised_again, two = await asyncio.gather(*results, return_exceptions=True)
    assert (one, two) == (2, 4)
    assert isinstance(raised_first, LookupError)
    assert isinstance(raised_again, LookupError)


async def test_a_batch_with_too_few_results_is_a_failure() -> None:
    async def forgetful(numbers: Sequence[int]) -> Sequence[int]:
        return numbers[1:]

    batcher = Batcher(forgetful, patience=PATIENCE)
    with pytest.raises(ValueError, match="zip"):
        await batcher.submit(1)
