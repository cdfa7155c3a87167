"""A circuit breaker: when most calls fail, stop calling for a while, then try one."""

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
    Guards calls; not for use by several threads.

    Open becomes half-open only when a call comes, so a breaker that nobody uses stays open. What
    a call ends with counts only if the state is still the one it began in.
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
        self._era = 0
        self._recent = _SlidingCounts(window_s=options.breaker_window_s)
        self._open_until = 0.0
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """The state left by the last call."""
        return self._state

    @contextmanager
    def guard(self) -> Iterator[None]:
        """
        Let a call through and learn from its end.

        `CallFailed` counts as a failure and a normal end as a success; from any other exception,
        such as a cancellation, nothing is learned.

        :raises CircuitOpen: if calls are refused at the moment
        """
        era = self._admit()
        try:
            yield
        except CallFailed:
            self._settle(era, failed=True)
            raise
        except BaseException:
            self._withdraw(era)
            raise
        else:
            self._settle(era, failed=False)

    def _admit(self) -> int:
        if self._state is BreakerState.OPEN:
            left_s = self._open_until - self._monotonic()
            if left_s > 0:
                raise CircuitOpen(retry_after=timedelta(seconds=left_s))
            self._change(BreakerState.HALF_OPEN)
        if self._state is BreakerState.HALF_OPEN:
            if self._probing:
                # The probe under way is over by its deadline.
                raise CircuitOpen(retry_after=timedelta(seconds=self._options.deadline_s))
            self._probing = True
        return self._era

    def _settle(self, era: int, *, failed: bool) -> None:
        if era != self._era:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._change(BreakerState.OPEN if failed else BreakerState.CLOSED)
            return
        now = self._monotonic()
        self._recent.add(failed=failed, now=now)
        if failed and self._tripped(now):
            self._change(BreakerState.OPEN)

    def _withdraw(self, era: int) -> None:
        if era == self._era:
            self._probing = False

    def _tripped(self, now: float) -> bool:
        calls, failures = self._recent.totals(now=now)
        return (
            calls >= self._options.breaker_min_calls
            and failures >= calls * self._options.breaker_failure_rate
        )

    def _change(self, state: BreakerState) -> None:
        self._state = state
        self._era += 1
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


class _SlidingCounts:
    """Calls and failures within a window, to a tenth of it, in constant space."""

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
