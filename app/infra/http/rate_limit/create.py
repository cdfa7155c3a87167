"""Selection of the rate limiter of a process."""

from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.limiter import RateLimiter
from app.infra.http.rate_limit.process_limiter import ProcessLimiter


def create_limiter(rule: ThrottleRule | None, *, redis_url: str | None) -> RateLimiter | None:
    """
    Create the limiter of this process without connecting; None without a rule.

    Without Redis each process counts separately: the effective limit grows with their number.
    """
    if rule is None:
        return None
    if redis_url is not None:
        # Imported here, because Redis and OpenTelemetry cost memory in every process.
        from app.infra.http.rate_limit.redis_limiter import RedisLimiter

        return RedisLimiter(redis_url, rule)
    return ProcessLimiter(rule)
