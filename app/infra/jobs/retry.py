"""When a job that failed is tried again."""

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random, SystemRandom

from procrastinate import BaseRetryStrategy, RetryDecision
from procrastinate.jobs import Job
from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff(BaseRetryStrategy):
    """
    Exponential backoff with jitter, up to a longest wait, for about `patience`.

    The waits are 1, 2, 4 … seconds up to `longest`, each shortened at random by up to a half, so
    that the jobs of an outage do not come back together. A job that failed longer than `patience`
    stays failed: it is a dead letter.
    """

    longest: timedelta = timedelta(minutes=5)
    patience: timedelta = timedelta(days=1)
    random: Random = field(default_factory=SystemRandom)

    @override
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if self._waited(job.attempts) >= self.patience:
            return None
        wait = self._wait(job.attempts) * self.random.uniform(0.5, 1)
        return RetryDecision(retry_in={"milliseconds": round(wait / timedelta(milliseconds=1))})

    def _wait(self, attempts: int) -> timedelta:
        # Beyond 2^20 seconds every wait is the longest one; the power is not worth computing.
        return min(timedelta(seconds=2 ** min(attempts, 20)), self.longest)

    def _waited(self, attempts: int) -> timedelta:
        """Return how long the waits so far were meant to be together."""
        doubling = 0
        while timedelta(seconds=2**doubling) < self.longest:
            doubling += 1
        rising = timedelta(seconds=2 ** min(attempts, doubling) - 1)
        return rising + max(attempts - doubling, 0) * self.longest
