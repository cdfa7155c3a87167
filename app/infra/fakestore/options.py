"""The limits and timeouts of calls to the catalog."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOptions:
    """
    Limits and timeouts; times are in seconds, sizes in bytes.

    A call comprises the wait for a slot, up to `max_tries` requests and the pauses between them;
    it ends within `deadline_s`. Before retry `n` there is a random pause of up to
    `backoff_base_s * 2 ** (n - 1)`, at most `backoff_max_s`. Retries come from a budget: each call
    adds `retry_ratio` of one, up to `retry_reserve`, which is also the initial budget.

    Of the calls beyond `max_concurrent`, at most `max_queued` wait, each at most
    `queue_timeout_s`. If at least `breaker_min_calls` were made within `breaker_window_s` and the
    share `breaker_failure_rate` of them failed, calls are refused for `breaker_open_s`; then one
    call is allowed as a probe.

    Callers are told to retry after `retry_after_default_s` unless the catalog sent a
    `Retry-After`, which is limited to `retry_after_max_s`.

    A connection that was idle for `keepalive_s` is not reused. Servers close idle connections
    themselves, Node and uvicorn after 5 seconds; a request sent at that moment fails and costs a
    retry.
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
            raise ValueError("Times, sizes and numbers of calls must be positive")
        if not self.queue_timeout_s < self.deadline_s:
            raise ValueError("The queue timeout must be shorter than the deadline")
