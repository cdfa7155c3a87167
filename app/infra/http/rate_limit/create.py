"""Which limiter a process has."""

from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.limiter import RateLimiter
from app.infra.http.rate_limit.memory import ProcessLimiter


def create_limiter(rule: ThrottleRule | None, *, redis_url: str | None) -> RateLimiter | None:
    """
    Make the limiter of a process, None without a rule; nothing connects yet.

    Without Redis each process counts for itself, so several let through as much more.
    """
    if rule is None:
        return None
    if redis_url is not None:
        # Here and not above: Redis's library loads OpenTelemetry's where it is installed, and
        # both cost memory in every process.
        from app.infra.http.rate_limit.shared import RedisLimiter

        return RedisLimiter(redis_url, rule)
    return ProcessLimiter(rule)
