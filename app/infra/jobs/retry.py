"""When a failed job is retried."""

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random, SystemRandom

from procrastinate import BaseRetryStrategy, RetryDecision
from procrastinate.jobs import Job
from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff(BaseRetryStrategy):
    """
    Exponential backoff with jitter, up to `max_wait` between attempts, for about `give_up_after`.

    The waits are 1, 2, 4 … seconds, each shortened at random by up to a half, so that the jobs of
    an outage are not retried all at once. A job that still fails after that stays failed: it is a
    dead letter.
    """

    max_wait: timedelta = timedelta(minutes=5)
    give_up_after: timedelta = timedelta(days=1)
    random: Random = field(default_factory=SystemRandom)

    @override
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if self._waited(job.attempts) >= self.give_up_after:
            return None
        wait = self._wait(job.attempts) * self.random.uniform(0.5, 1)
        return RetryDecision(retry_in={"milliseconds": round(wait / timedelta(milliseconds=1))})

    def _wait(self, attempts: int) -> timedelta:
        # The exponent is capped: 2^20 seconds exceed any maximum.
        return min(timedelta(seconds=2 ** min(attempts, 20)), self.max_wait)

    def _waited(self, attempts: int) -> timedelta:
        """Return the sum of the waits before this attempt, without jitter."""
        doublings = 0
        while timedelta(seconds=2**doublings) < self.max_wait:
            doublings += 1
        rising = timedelta(seconds=2 ** min(attempts, doublings) - 1)
        return rising + max(attempts - doublings, 0) * self.max_wait
