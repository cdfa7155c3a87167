"""The numbers by which the catalog is called."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOptions:
    """
    How patient, how insistent and how many we are. Times are seconds, sizes bytes.

    A call is everything done for one question: waiting for a slot, up to `max_tries` requests,
    and the pauses between them; it ends by `deadline_s`. Before retry `n` there is a random pause
    of up to `backoff_base_s` doubled `n - 1` times, at most `backoff_max_s`. Retries are paid for:
    each call earns `retry_ratio` of one, and `retry_reserve` is what can be saved up, and what
    there is at the start.

    Calls beyond `max_concurrent` wait, at most `max_queued` of them and each at most
    `queue_timeout_s`. If of at least `breaker_min_calls` within `breaker_window_s` the share
    `breaker_failure_rate` failed, none is made for `breaker_open_s`; then one is, as a probe.

    `retry_after_default_s` is when we tell our callers to come back if the catalog said nothing;
    what it says is believed up to `retry_after_max_s`.

    A connection that was idle for `keepalive_s` is not used again. Servers hang up by themselves,
    Node and uvicorn after 5 seconds: what is sent at that moment is lost, and costs a retry.
    """

    connect_timeout_s: float = 1.0
    deadline_s: float = 3.0
    max_tries: int = 3
    backoff_base_s: float = 0.1
    backoff_max_s: float = 1.0
    retry_ratio: float = 0.1
    retry_reserve: float = 10.0
    max_concurrent: int = 16
    max_queued: int = 64
    queue_timeout_s: float = 1.0
    breaker_window_s: float = 30.0
    breaker_min_calls: int = 10
    breaker_failure_rate: float = 0.5
    breaker_open_s: float = 5.0
    max_body_bytes: int = 1024 * 1024
    retry_after_default_s: float = 5.0
    retry_after_max_s: float = 60.0
    keepalive_s: float = 4.0
    user_agent: str = "favorites"

    def __post_init__(self) -> None:
        positive = (
            self.connect_timeout_s,
            self.deadline_s,
            self.max_tries,
            self.max_concurrent,
            self.queue_timeout_s,
            self.breaker_window_s,
            self.breaker_min_calls,
            self.breaker_failure_rate,
            self.breaker_open_s,
            self.max_body_bytes,
            self.retry_after_default_s,
            self.retry_after_max_s,
        )
        if min(positive) <= 0:
            raise ValueError("Times, sizes and numbers of calls have to be positive")
        if not self.queue_timeout_s < self.deadline_s:
            raise ValueError("Waiting for a slot has to end before the call does")
