"""A circuit breaker: when most calls fail, refuse calls for a while, then probe with one."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from app.application.catalog.catalog_observer import BreakerState
from app.infra.fakestore.failure import CallFailed, CircuitOpen
from app.infra.fakestore.options import CatalogOptions

_BUCKETS = 10


class CircuitBreaker:
    """
    Guard calls; not thread-safe.

    An open circuit becomes half-open only when the next call arrives, so it stays open without
    calls. The result of a call counts only if the state has not changed since the call started.
    """

    def __init__(
        self,
        *,
        options: CatalogOptions,
        monotonic: Callable[[], float],
        on_change: Callable[[BreakerState], None],
    ) -> None:
        self._options = options
        self._monotonic = monotonic
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._recent = _SlidingWindow(window_s=options.breaker_window_s)
        self._open_until = 0.0
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """The state after the last call."""
        return self._state

    @contextmanager
    def guard(self) -> Iterator[None]:
        """
        Allow or refuse a call, and record its result.

        `CallFailed` is a failure and a normal exit a success. Any other exception, such as a
        cancellation, is not recorded.

        :raises CircuitOpen: if calls are refused at the moment
        """
        generation = self._admit()
        try:
            yield
        except CallFailed:
            self._record(generation, failed=True)
            raise
        except BaseException:
            if generation == self._generation:
                self._probing = False
            raise
        else:
            self._record(generation, failed=False)

    def _admit(self) -> int:
        if self._state is BreakerState.OPEN:
            left_s = self._open_until - self._monotonic()
            if left_s > 0:
                raise CircuitOpen(retry_after=timedelta(seconds=left_s))
            self._change(BreakerState.HALF_OPEN)
        if self._state is BreakerState.HALF_OPEN:
            if self._probing:
                # The running probe ends within its deadline.
                raise CircuitOpen(retry_after=timedelta(seconds=self._options.deadline_s))
            self._probing = True
        return self._generation

    def _record(self, generation: int, *, failed: bool) -> None:
        if generation != self._generation:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._change(BreakerState.OPEN if failed else BreakerState.CLOSED)
            return
        now = self._monotonic()
        self._recent.add(failed=failed, now=now)
        if failed and self._should_open(now):
            self._change(BreakerState.OPEN)

    def _should_open(self, now: float) -> bool:
        calls, failures = self._recent.totals(now=now)
        return (
            calls >= self._options.breaker_min_calls
            and failures >= calls * self._options.breaker_failure_rate
        )

    def _change(self, state: BreakerState) -> None:
        self._state = state
        self._generation += 1
        self._probing = False
        self._recent.clear()
        if state is BreakerState.OPEN:
            self._open_until = self._monotonic() + self._options.breaker_open_s
        self._on_change(state)


@dataclass(slots=True)
class _Bucket:
    slot: int
    calls: int = 0
    failures: int = 0


class _SlidingWindow:
    """Calls and failures within a window, accurate to a tenth of it, in constant memory."""

    def __init__(self, *, window_s: float) -> None:
        self._slot_s = window_s / _BUCKETS
        self._buckets: deque[_Bucket] = deque()

    def add(self, *, failed: bool, now: float) -> None:
        slot = self._drop_old(now)
        if not self._buckets or self._buckets[-1].slot != slot:
            self._buckets.append(_Bucket(slot))
        self._buckets[-1].calls += 1
        self._buckets[-1].failures += failed

    def totals(self, *, now: float) -> tuple[int, int]:
        self._drop_old(now)
        return sum(b.calls for b in self._buckets), sum(b.failures for b in self._buckets)

    def clear(self) -> None:
        self._buckets.clear()

    def _drop_old(self, now: float) -> int:
        slot = int(now // self._slot_s)
        while self._buckets and self._buckets[0].slot <= slot - _BUCKETS:
            self._buckets.popleft()
        return slot
