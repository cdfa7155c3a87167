"""The circuit breaker: examples, and a state machine of random calls."""

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
    """A breaker with manual time and recorded changes."""

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

    def test_ignores_calls_before_the_window(self) -> None:
        circuit = _Circuit()
        circuit.fail(times=3)
        circuit.time.now += OPTIONS.breaker_window_s + 1
        circuit.fail(times=3)
        assert circuit.breaker.state is BreakerState.CLOSED

    def test_reports_when_the_next_call_is_allowed(self) -> None:
        circuit = _Circuit()
        circuit.open()
        circuit.time.now += 2
        with pytest.raises(CircuitOpen) as refusal, circuit.breaker.guard():
            pass
        assert refusal.value.retry_after == timedelta(seconds=3)

    @pytest.mark.parametrize("error", [BulkheadFull("full"), KeyboardInterrupt(), ValueError()])
    def test_ignores_other_exceptions(self, error: BaseException) -> None:
        circuit = _Circuit()
        for _ in range(20):
            _end(circuit.breaker.guard(), error)
        assert circuit.breaker.state is BreakerState.CLOSED

    def test_allows_one_probe_and_closes_after_its_success(self) -> None:
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

    def test_opens_again_for_the_full_time_after_a_failed_probe(self) -> None:
        circuit = _Circuit()
        circuit.open()
        circuit.time.now += OPTIONS.breaker_open_s
        circuit.fail()
        circuit.time.now += OPTIONS.breaker_open_s - 0.1
        with pytest.raises(CircuitOpen), circuit.breaker.guard():
            pass

    def test_allows_another_probe_after_a_canceled_one(self) -> None:
        circuit = _Circuit()
        circuit.open()
        circuit.time.now += OPTIONS.breaker_open_s
        _end(circuit.breaker.guard(), KeyboardInterrupt())
        circuit.succeed()
        assert circuit.changes[1:] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]

    def test_ignores_calls_that_started_in_another_state(self) -> None:
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
    """Any sequence of calls that start, end or are canceled, and of time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = _Circuit()
        self.calls: list[tuple[AbstractContextManager[None], int]] = []
        self.opened_at = 0.0

    @property
    def generation(self) -> int:
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
        probing = any(generation == self.generation for _, generation in self.calls)
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
            self.calls.append((call, self.generation))

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        before, is_current = self.state, self._end(data, None)
        if before is BreakerState.HALF_OPEN and is_current:
            assert self.state is BreakerState.CLOSED
        else:
            assert self.state is before

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        before, is_current = self.state, self._end(data, CallFailed(CallOutcome.GARBAGE))
        if before is BreakerState.HALF_OPEN and is_current:
            assert self.state is BreakerState.OPEN
        if before is not self.state:
            self.opened_at = self.circuit.time.now

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        before = self.state
        self._end(data, KeyboardInterrupt())
        assert self.state is before

    def _end(self, data: st.DataObject, error: BaseException | None) -> bool:
        """End one of the calls; return whether it started in the current state."""
        call, generation = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        is_current = generation == self.generation
        if error is None:
            call.__exit__(None, None, None)
        else:
            assert not call.__exit__(type(error), error, None)
        return is_current

    @invariant()
    def at_most_one_probe_is_running(self) -> None:
        if self.state is BreakerState.HALF_OPEN:
            assert sum(generation == self.generation for _, generation in self.calls) <= 1

    @invariant()
    def no_call_of_an_open_circuit_is_running(self) -> None:
        if self.state is BreakerState.OPEN:
            assert not any(generation == self.generation for _, generation in self.calls)

    @invariant()
    def every_change_is_valid(self) -> None:
        states = [BreakerState.CLOSED, *self.circuit.changes]
        assert set(pairwise(states)) <= {
            (BreakerState.CLOSED, BreakerState.OPEN),
            (BreakerState.OPEN, BreakerState.HALF_OPEN),
            (BreakerState.HALF_OPEN, BreakerState.OPEN),
            (BreakerState.HALF_OPEN, BreakerState.CLOSED),
        }


TestBreakerMachine: Callable[..., object] = BreakerMachine.TestCase
