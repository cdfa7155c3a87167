"""The circuit breaker, by examples and as a state machine."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.application.catalog.catalog_observer import BreakerState, CallOutcome
from app.infra.fakestore.breaker import CircuitBreaker
from app.infra.fakestore.failure import BulkheadFull, CallFailed, CircuitOpen
from app.infra.fakestore.options import CatalogOptions
from tests.integration.fakestore.upstream import ManualTime

OPTIONS = CatalogOptions(
    breaker_window_s=30, breaker_min_calls=4, breaker_failure_rate=0.5, breaker_open_s=5
)


class _Circuit:
    """A breaker with what tests do to it."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.changes: list[BreakerState] = []
        self.breaker = CircuitBreaker(
            options=OPTIONS, monotonic=self.time.monotonic, on_change=self.changes.append
        )

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            with self.breaker.guard():
                pass

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            _end(self.breaker.guard(), CallFailed(CallOutcome.TIMEOUT))

    def open(self) -> None:
        self.fail(times=OPTIONS.breaker_min_calls)
        assert self.breaker.state is BreakerState.OPEN


def _end(call: AbstractContextManager[None], error: BaseException) -> None:
    with pytest.raises(type(error)), call:
        raise error


class TestCircuitBreaker:
    def test_stays_closed_for_too_few_calls(self) -> None:
        circuit = _Circuit()
        circuit.fail(times=OPTIONS.breaker_min_calls - 1)
        assert circuit.breaker.state is BreakerState.CLOSED

    def test_opens_at_the_failure_rate(self) -> None:
        circuit = _Circuit()
        circuit.succeed(times=4)
        circuit.fail(times=3)
        assert circuit.breaker.state is BreakerState.CLOSED
        circuit.fail()
        assert circuit.changes == [BreakerState.OPEN]

    def test_forgets_what_left_the_window(self) -> None:
        circuit = _Circuit()
        circuit.fail(times=3)
        circuit.time.now += OPTIONS.breaker_window_s + 1
        circuit.fail(times=3)
        assert circuit.breaker.state is BreakerState.CLOSED

    def test_says_when_the_next_call_is_let_through(self) -> None:
        circuit = _Circuit()
        circuit.open()
        circuit.time.now += 2
        with pytest.raises(CircuitOpen) as refusal, circuit.breaker.guard():
            pass
        assert refusal.value.retry_after == timedelta(seconds=3)

    @pytest.mark.parametrize("error", [BulkheadFull("full"), KeyboardInterrupt(), ValueError()])
    def test_learns_nothing_from_other_ends(self, error: BaseException) -> None:
        circuit = _Circuit()
        for _ in range(20):
            _end(circuit.breaker.guard(), error)
        assert circuit.breaker.state is BreakerState.CLOSED

    def test_lets_one_probe_through_and_closes_by_its_success(self) -> None:
        circuit = _Circuit()
        circuit.open()
        circuit.time.now += OPTIONS.breaker_open_s
        with circuit.breaker.guard():
            for _ in range(3):
                with pytest.raises(CircuitOpen), circuit.breaker.guard():
                    pass
        assert circuit.changes == [
            BreakerState.OPEN,
            BreakerState.HALF_OPEN,
            BreakerState.CLOSED,
        ]

    def test_opens_again_for_as_long_by_a_failed_probe(self) -> None:
        circuit = _Circuit()
        circuit.open()
        circuit.time.now += OPTIONS.breaker_open_s
        circuit.fail()
        circuit.time.now += OPTIONS.breaker_open_s - 0.1
        with pytest.raises(CircuitOpen), circuit.breaker.guard():
            pass

    def test_gives_the_probe_of_who_gave_up_to_the_next(self) -> None:
        circuit = _Circuit()
        circuit.open()
        circuit.time.now += OPTIONS.breaker_open_s
        _end(circuit.breaker.guard(), KeyboardInterrupt())
        circuit.succeed()
        assert circuit.changes[1:] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]

    def test_ignores_calls_that_began_in_another_state(self) -> None:
        circuit = _Circuit()
        early_success, early_failure = circuit.breaker.guard(), circuit.breaker.guard()
        early_success.__enter__()
        early_failure.__enter__()
        circuit.open()
        circuit.time.now += OPTIONS.breaker_open_s
        with circuit.breaker.guard():
            early_success.__exit__(None, None, None)
            error = CallFailed(CallOutcome.TIMEOUT)
            early_failure.__exit__(CallFailed, error, None)
            assert circuit.changes[1:] == [BreakerState.HALF_OPEN]
        assert circuit.changes[1:] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls that begin, end and are given up, and of time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = _Circuit()
        self.calls: list[tuple[AbstractContextManager[None], int]] = []
        self.opened_at = 0.0

    @property
    def era(self) -> int:
        return len(self.circuit.changes)

    @property
    def state(self) -> BreakerState:
        return self.circuit.breaker.state

    @rule(seconds=st.floats(min_value=0, max_value=40))
    def pass_time(self, seconds: float) -> None:
        self.circuit.time.now += seconds

    @rule()
    def begin(self) -> None:
        before, open_until = self.state, self.opened_at + OPTIONS.breaker_open_s
        probing = any(era == self.era for _, era in self.calls)
        call = self.circuit.breaker.guard()
        try:
            call.__enter__()
        except CircuitOpen:
            assert before is not BreakerState.CLOSED
            assert probing or self.circuit.time.now < open_until
        else:
            if before is BreakerState.OPEN:
                assert self.circuit.time.now >= open_until
            if before is BreakerState.HALF_OPEN:
                assert not probing
            self.calls.append((call, self.era))

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        before, era = self.state, self._end(data, None)
        if before is BreakerState.HALF_OPEN and era:
            assert self.state is BreakerState.CLOSED
        else:
            assert self.state is before

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        before, era = self.state, self._end(data, CallFailed(CallOutcome.GARBAGE))
        if before is BreakerState.HALF_OPEN and era:
            assert self.state is BreakerState.OPEN
        if before is not self.state:
            self.opened_at = self.circuit.time.now

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        before = self.state
        self._end(data, KeyboardInterrupt())
        assert self.state is before

    def _end(self, data: st.DataObject, error: BaseException | None) -> bool:
        """End one of the calls; tell whether it began in the state of now."""
        call, era = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        is_current = era == self.era
        if error is None:
            call.__exit__(None, None, None)
        else:
            assert not call.__exit__(type(error), error, None)
        return is_current

    @invariant()
    def at_most_one_probe_is_under_way(self) -> None:
        if self.state is BreakerState.HALF_OPEN:
            assert sum(era == self.era for _, era in self.calls) <= 1

    @invariant()
    def nothing_is_under_way_of_an_open_circuit(self) -> None:
        if self.state is BreakerState.OPEN:
            assert not any(era == self.era for _, era in self.calls)

    @invariant()
    def every_change_is_one_of_the_four(self) -> None:
        states = [BreakerState.CLOSED, *self.circuit.changes]
        assert set(pairwise(states)) <= {
            (BreakerState.CLOSED, BreakerState.OPEN),
            (BreakerState.OPEN, BreakerState.HALF_OPEN),
            (BreakerState.HALF_OPEN, BreakerState.OPEN),
            (BreakerState.HALF_OPEN, BreakerState.CLOSED),
        }


TestBreakerMachine: Callable[..., object] = BreakerMachine.TestCase
