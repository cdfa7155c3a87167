"""The hot tier in Redis."""

import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from typing_extensions import override

from app.application.catalog.hot_products import HotLookup, HotProducts
from app.application.ports import Clock
from app.domain.product import CachedProduct, ProductId
from app.infra.redis.guard import RETRY_INTERVAL, RedisGuard, RedisUnavailable
from app.infra.redis.hot_value import TICK, HotValue, ticks

TIMEOUT = timedelta(milliseconds=50)
MAX_CLOCK_SKEW = timedelta(seconds=5)
"""Processes ignore each other's copies if their clocks differ by more than this."""

# The number is the version of the value format: versions of the service with another format ignore
# these keys. Change it with the format.
KEY = "favorites:product:1:{}"
MAX_BYTES = 64 * 1024

# Stores a value (ARGV[4]) for some milliseconds (ARGV[5]) under each of KEYS, unless the key has a
# valid value with a stamp of at least ARGV[1]. A value is valid if it expires after its stamp,
# after now (ARGV[2]), and not after the latest possible time (ARGV[3]). Anything else is replaced.
REPLACE = """
for _, key in ipairs(KEYS) do
    local current, stamp, till = redis.pcall('GETRANGE', key, 0, 63), nil, nil
    if type(current) == 'string' then
        stamp, till = string.match(current, '^(%d+):(%d+):')
    end
    local stays = stamp
        and tonumber(stamp) >= tonumber(ARGV[1])
        and tonumber(stamp) <= tonumber(till)
        and tonumber(till) > tonumber(ARGV[2])
        and tonumber(till) <= tonumber(ARGV[3])
    if not stays then
        redis.call('SET', key, ARGV[4], 'PX', ARGV[5])
    end
end
"""

logger = structlog.get_logger(__name__)


class RedisHotProducts(HotProducts):
    """
    Store copies in Redis for at most `ttl`.

    No call takes longer than `timeout`, and an invalid value is a miss. Losing and recovering
    Redis is logged once each. Times are those of the processes, not of Redis.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: timedelta,
        clock: Clock,
        observe: Callable[[HotLookup], None],
        timeout: timedelta = TIMEOUT,
        retry_interval: timedelta = RETRY_INTERVAL,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the client without connecting."""
        self._guard = RedisGuard(
            url,
            timeout=timeout,
            retry_interval=retry_interval,
            on_lost=_log_lost,
            on_recovered=_log_recovered,
            monotonic=monotonic,
        )
        self._client = Redis(connection_pool=self._guard.pool)
        self._replace = self._client.register_script(REPLACE)
        self._ttl = ttl
        self._clock = clock
        self._observe = observe

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._guard.aclose()

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | None:
        async def read() -> bytes:
            try:
                # Limited, in case another client stored a larger value.
                value = await self._client.getrange(KEY.format(product_id), 0, MAX_BYTES)
            except ResponseError:
                return b""  # the key exists, but is not a string
            return cast("bytes", value)  # responses are not decoded

        try:
            value = await self._guard.call(read)
        except RedisUnavailable as error:
            self._observe(HotLookup.SPARED if error.skipped else HotLookup.ERROR)
            return None
        copy = self._decode(value, product_id)
        self._observe(HotLookup.MISS if copy is None else HotLookup.HIT)
        return copy

    @override
    async def keep(self, copy: CachedProduct, *, until: datetime) -> None:
        latest = self._clock() + self._ttl
        await self._store(
            [copy.product.id],
            HotValue(copy.fetched_at, min(until, latest), copy.product),
            unless_stamped_from=copy.fetched_at + TICK,
        )

    @override
    async def outdate(self, product_ids: Collection[ProductId], *, before: datetime) -> None:
        marker = HotValue(before, self._clock() + self._ttl, None)
        await self._store(product_ids, marker, unless_stamped_from=before)

    async def _store(
        self,
        product_ids: Collection[ProductId],
        value: HotValue,
        *,
        unless_stamped_from: datetime,
    ) -> None:
        now = self._clock()
        milliseconds = (value.until - now) // timedelta(milliseconds=1)
        if milliseconds <= 0 or not product_ids:
            return

        async def store() -> bool:
            encoded = value.encode()
            if len(encoded) > MAX_BYTES:
                return True
            latest = now + self._ttl + MAX_CLOCK_SKEW
            times = (ticks(unless_stamped_from), ticks(now), ticks(latest))
            try:
                await self._replace(
                    keys=[KEY.format(product_id) for product_id in product_ids],
                    args=[*times, encoded, milliseconds],
                )
            except ResponseError:
                return False  # full or read-only; reading still works
            return True

        try:
            stored = await self._guard.call(store)
        except RedisUnavailable as error:
            stored = error.skipped
        if not stored:
            self._observe(HotLookup.ERROR)

    def _decode(self, value: bytes, product_id: ProductId) -> CachedProduct | None:
        """Return the copy in a value; None if it is not valid, or not of this product."""
        now = self._clock()
        try:
            stamp, until, product = HotValue.decode(value)
        except ValueError:
            return None
        latest = now + self._ttl + MAX_CLOCK_SKEW
        if product is None or product.id != product_id:
            return None
        if not (stamp <= until and now < until <= latest):
            return None
        return CachedProduct(product=product, fetched_at=stamp)


def _log_lost(reason: str) -> None:
    logger.warning("hot_products_redis_lost", reason=reason)


def _log_recovered() -> None:
    logger.info("hot_products_redis_back")
