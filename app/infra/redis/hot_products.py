"""The hot tier in Redis."""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Annotated, Self, cast

import structlog
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from typing_extensions import override

from app.application.catalog.hot_products import HotLookup, HotProducts
from app.application.ports import Clock
from app.domain.product import MAX_PRODUCT_ID, CachedProduct, Product, ProductId, Rating
from app.infra.redis.link import PAUSE, RedisAway, RedisLink

PATIENCE = timedelta(milliseconds=50)
SKEW = timedelta(seconds=5)
"""How far the clocks of processes may be apart before they disregard each other's copies."""

# Whatever changes the form of values changes the number: versions of the service that run side by
# side do not see each other's.
KEY = "favorites:product:1:{}"
MAX_BYTES = 64 * 1024

# A value is `<stamp>:<until>:` and the product; without one it is only a mark, which keeps out
# what is older. Both are microseconds since 1970, which fit the numbers of Lua exactly.
#
# KEYS: the values to replace. ARGV: the stamp from which on a value that is there stays, now, the
# latest `until` that is to be believed, the new value and for how many milliseconds it is held.
#
# Whatever else is under the key is replaced, be it garbage or what claims to stay for longer.
REPLACE = """
for _, key in ipairs(KEYS) do
    local held, stamp, till = redis.pcall('GETRANGE', key, 0, 63), nil, nil
    if type(held) == 'string' then
        stamp, till = string.match(held, '^(%d+):(%d+):')
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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)

logger = structlog.get_logger(__name__)


class RedisHotProducts(HotProducts):
    """
    Holds copies for `ttl` at the most.

    Nobody waits for Redis longer than `patience`; what is not a copy of ours is a miss. A change
    between answering and not answering is logged once. Times are those of the processes.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: timedelta,
        clock: Clock,
        observe: Callable[[HotLookup], None],
        patience: timedelta = PATIENCE,
        pause: timedelta = PAUSE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing connects yet."""
        self._redis = RedisLink(
            url, patience=patience, pause=pause, lost=_lost, back=_back, monotonic=monotonic
        )
        self._client = Redis(connection_pool=self._redis.pool)
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
        await self._redis.aclose()

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | None:
        async def ask() -> bytes:
            try:
                # No more than a copy can have, whatever somebody has put there.
                found = await self._client.getrange(KEY.format(product_id), 0, MAX_BYTES)
            except ResponseError:
                return b""  # it is there, and no text
            return cast("bytes", found)  # the link lets nothing be decoded

        try:
            value = await self._redis.ask(ask)
        except RedisAway as away:
            self._observe(HotLookup.SPARED if away.spared else HotLookup.ERROR)
            return None
        copy = self._read(value, product_id)
        self._observe(HotLookup.MISS if copy is None else HotLookup.HIT)
        return copy

    @override
    async def keep(self, copy: CachedProduct, *, until: datetime) -> None:
        await self._put(
            [copy.product.id],
            stamp=copy.fetched_at,
            stays=copy.fetched_at + _TICK,
            until=until,
            copy=copy,
        )

    @override
    async def outdate(self, product_ids: Collection[ProductId], *, before: datetime) -> None:
        await self._put(product_ids, stamp=before, stays=before)

    async def _put(
        self,
        product_ids: Collection[ProductId],
        *,
        stamp: datetime,
        stays: datetime,
        until: datetime | None = None,
        copy: CachedProduct | None = None,
    ) -> None:
        now = self._clock()
        latest = now + self._ttl
        until = latest if until is None else min(until, latest)
        milliseconds = (until - now) // timedelta(milliseconds=1)
        if milliseconds <= 0 or not product_ids:
            return

        async def ask() -> bool:
            body = b"" if copy is None else _Copy.of(copy.product).model_dump_json().encode()
            value = b"%d:%d:%b" % (_ticks(stamp), _ticks(until), body)
            if len(value) > MAX_BYTES:
                return True
            keys = [KEY.format(product_id) for product_id in product_ids]
            horizon = latest + SKEW
            moments = (_ticks(stays), _ticks(now), _ticks(horizon))
            try:
                await self._replace(keys=keys, args=[*moments, value, milliseconds])
            except ResponseError:
                return False  # full, or read only: it answers, and what it has can be read
            return True

        try:
            kept = await self._redis.ask(ask)
        except RedisAway as away:
            kept = away.spared
        if not kept:
            self._observe(HotLookup.ERROR)

    def _read(self, value: bytes, product_id: ProductId) -> CachedProduct | None:
        """Return the copy that a value is; None if it is none that can be given out."""
        now = self._clock()
        try:
            stamp, until, body = value.split(b":", 2)
            fetched_at, held_until = _moment(stamp), _moment(until)
            latest = now + self._ttl + SKEW
            if not (body and fetched_at <= held_until and now < held_until <= latest):
                return None
            product = _Copy.model_validate_json(body).to_entity()
        except (ValueError, OverflowError):
            return None
        if product.id != product_id:
            return None
        return CachedProduct(product=product, fetched_at=fetched_at)


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class _Rating(_Form):
    rate: Annotated[Decimal, Field(ge=0, le=5)]
    count: Annotated[int, Field(ge=0)]


class _Copy(_Form):
    """A product as it is held; as storage keeps it, so that both are shown alike."""

    id: Annotated[int, Field(ge=1, le=MAX_PRODUCT_ID)]
    title: str
    price: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
    description: str
    category: str
    image: str
    rating: _Rating | None

    @classmethod
    def of(cls, product: Product) -> "_Copy":
        rating = product.rating
        return _Copy.model_construct(
            id=product.id,
            title=product.title,
            price=product.price,
            description=product.description,
            category=product.category,
            image=product.image,
            rating=None
            if rating is None
            else _Rating.model_construct(rate=rating.rate, count=rating.count),
        )

    def to_entity(self) -> Product:
        return Product(
            id=ProductId(self.id),
            title=self.title,
            price=self.price,
            description=self.description,
            category=self.category,
            image=self.image,
            rating=None
            if self.rating is None
            else Rating(rate=self.rating.rate, count=self.rating.count),
        )


def _ticks(moment: datetime) -> int:
    return (moment - _EPOCH) // _TICK


def _moment(ticks: bytes) -> datetime:
    return _EPOCH + int(ticks) * _TICK


def _lost(reason: str) -> None:
    logger.warning("hot_products_redis_lost", reason=reason)


def _back() -> None:
    logger.info("hot_products_redis_back")
