import asyncio
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from datetime import timedelta

import pytest
import pytest_asyncio

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.batcher import Batch

PATIENCE = timedelta(minutes=1)

asker: ContextVar[str] = ContextVar("asker")


class Oracle:
    """Doubles numbers, when it is let; remembers what it was asked together, and by whom."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.askers: list[str] = []
        self.held: list[asyncio.Future[None]] = []

    async def __call__(self, asked: Collection[int]) -> Mapping[int, int]:
        self.calls.append(list(asked))
        self.askers.append(asker.get("nobody"))
        gate = asyncio.get_running_loop().create_future()
        self.held.append(gate)
        await gate
        return {number: 2 * number for number in asked}

    def release(self, call: int, error: Exception | None = None) -> None:
        if error is None:
            self.held[call].set_result(None)
        else:
            self.held[call].set_exception(error)


class Clock:
    """What the loop takes for the time: it stands still until it is put forward."""

    passed_s = 0.0


async def turn() -> None:
    """Let everything happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest_asyncio.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock.passed_s)
    return clock


async def test_a_question_goes_alone_if_there_is_no_other(oracle: Oracle) -> None:
    batch = Batch(oracle, patience=PATIENCE)
    answer = batch.ask(1)
    await turn()
    assert oracle.calls == [[1]]
    oracle.release(0)
    assert await answer == 2


async def test_what_comes_meanwhile_goes_together(oracle: Oracle) -> None:
    batch = Batch(oracle, patience=PATIENCE, at_once=1)
    answers = [batch.ask(1)]
    await turn()
    for number in (2, 3, 2):
        answers.append(batch.ask(number))
        await turn()
    assert oracle.calls == [[1]]
    oracle.release(0)
    await turn()
    assert oracle.calls == [[1], [2, 3]]
    oracle.release(1)
    assert await asyncio.gather(*answers) == [2, 4, 6, 4]


async def test_no_answer_is_older_than_its_question(oracle: Oracle) -> None:
    batch = Batch(oracle, patience=PATIENCE, at_once=2)
    first = batch.ask(1)
    await turn()
    # The same question again: what is under way may have been read before.
    second = batch.ask(1)
    await turn()
    assert oracle.calls == [[1], [1]]
    oracle.release(0)
    oracle.release(1)
    assert [await first, await second] == [2, 2]


async def test_calls_are_bounded_in_number_and_size(oracle: Oracle) -> None:
    batch = Batch(oracle, patience=PATIENCE, at_once=2, most=3)
    answers = [batch.ask(number) for number in range(10)]
    await turn()
    assert [len(call) for call in oracle.calls] == [3, 3]
    answers += [batch.ask(10), batch.ask(11)]
    await turn()
    assert [len(call) for call in oracle.calls] == [3, 3]
    for call in range(4):
        oracle.release(call)
        await turn()
    assert await asyncio.gather(*answers) == [2 * number for number in range(12)]


async def test_a_failure_is_that_of_all_who_shared_the_call_and_of_nobody_else(
    oracle: Oracle,
) -> None:
    batch = Batch(oracle, patience=PATIENCE, at_once=1)
    together = [batch.ask(1), batch.ask(2)]
    await turn()
    later = batch.ask(3)
    oracle.release(0, LookupError("wrong"))
    await turn()
    oracle.release(1)
    results = await asyncio.gather(*together, return_exceptions=True)
    assert [type(each) for each in results] == [LookupError, LookupError]
    assert await later == 6


async def test_who_stops_waiting_disturbs_nobody(oracle: Oracle) -> None:
    batch = Batch(oracle, patience=PATIENCE)
    gone, stays = batch.ask(1), batch.ask(1)
    await turn()
    gone.cancel()
    oracle.release(0)
    assert await stays == 2


async def test_a_call_belongs_to_who_has_waited_longest(oracle: Oracle) -> None:
    batch = Batch(oracle, patience=PATIENCE, at_once=1)

    async def ask(name: str, number: int) -> int:
        asker.set(name)
        return await batch.ask(number)

    first = asyncio.create_task(ask("first", 1))
    await turn()
    others = [asyncio.create_task(ask(name, 2)) for name in ("second", "third")]
    await turn()
    oracle.release(0)
    await turn()
    oracle.release(1)
    await asyncio.gather(first, *others)
    assert oracle.askers == ["first", "second"]


async def test_nobody_waits_longer_than_there_is_patience(oracle: Oracle) -> None:
    loop = asyncio.get_running_loop()
    batch = Batch(oracle, patience=timedelta(milliseconds=50), at_once=1)
    began = loop.time()
    answers = [batch.ask(1)]
    await turn()
    # Neither what is under way, nor what waits behind it.
    answers.append(batch.ask(2))
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(each) for each in results] == [StorageUnavailable] * 2
    # After that it goes on.
    assert loop.time() - began >= 0.05
    later = batch.ask(3)
    await turn()
    oracle.release(-1)
    assert await later == 6


async def test_a_queue_that_is_never_empty_is_not_one_that_stands(
    oracle: Oracle, clock: Clock
) -> None:
    batch = Batch(oracle, patience=timedelta(seconds=10), at_once=1, most=1)
    answers = [batch.ask(number) for number in range(3)]
    for call in range(30):
        await turn()
        clock.passed_s += 1.0
        answers.append(batch.ask(3 + call))
        oracle.release(call)
        assert await answers[call] == 2 * call
    await batch.aclose()


async def test_who_has_waited_too_long_is_refused_and_who_has_not_is_not(
    oracle: Oracle, clock: Clock
) -> None:
    batch = Batch(oracle, patience=timedelta(seconds=10), at_once=1, most=1)
    begun = batch.ask(0)
    await turn()
    # Nothing else wakes a loop whose time stands still.
    clock.passed_s = 6.0
    early = batch.ask(1)
    await turn()
    clock.passed_s = 9.0
    late = batch.ask(2)
    await turn()
    clock.passed_s = 10.0
    with pytest.raises(StorageUnavailable):
        await begun
    await turn()
    clock.passed_s = 16.0
    with pytest.raises(StorageUnavailable):
        await early
    await turn()
    oracle.release(2)
    assert await late == 4


async def test_closing_gives_up_what_is_under_way(oracle: Oracle) -> None:
    batch = Batch(oracle, patience=PATIENCE)
    answer = batch.ask(1)
    await turn()
    await batch.aclose()
    with pytest.raises(asyncio.CancelledError):
        await answer
