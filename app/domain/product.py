"""Products of the outside catalog, and the cache policy for copies of them (RFC 5861)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NewType

from app.domain.page import DEFAULT_LIMIT, Position

ProductId = NewType("ProductId", int)

MAX_PRODUCT_ID = 2_147_483_647
"""The largest id the catalog's clients can rely on: a 32-bit integer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """The mean `rate` (0 to 5) of `count` votes."""

    rate: Decimal
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product as the catalog describes it; `price` has two decimal places."""

    id: ProductId
    title: str
    price: Decimal
    description: str
    category: str
    image: str
    rating: Rating | None


class Freshness(StrEnum):
    """How a copy may be used (RFC 5861)."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """
    The ages that decide how a copy of the catalog is used.

    Up to `soft_ttl` a copy is fresh, up to `hard_ttl` it is served while it is revalidated, beyond
    that it is served only if the catalog cannot be reached. "There is no such product" is cached
    for `negative_ttl`. One process at a time fetches a product, under a lease of length `lease`.
    After a failure the same thing is not fetched again within `backoff`.
    """

    soft_ttl: timedelta
    hard_ttl: timedelta
    negative_ttl: timedelta
    lease: timedelta
    backoff: timedelta

    def __post_init__(self) -> None:
        if not timedelta(0) < self.soft_ttl <= self.hard_ttl:
            raise ValueError("The soft TTL has to be positive and at most the hard TTL")
        if min(self.negative_ttl, self.lease, self.backoff) <= timedelta(0):
            raise ValueError("Negative TTL, lease and backoff have to be positive")

    def freshness(self, age: timedelta) -> Freshness:
        """Classify an age."""
        if age <= self.soft_ttl:
            return Freshness.FRESH
        return Freshness.STALE if age <= self.hard_ttl else Freshness.EXPIRED

    @property
    def revalidation_interval(self) -> timedelta:
        """
        How long a client that holds a list may be answered 304 without the list being read.

        Reading the list refreshes the copies in it that are due. A quarter of `soft_ttl` keeps a
        list fresh that is only ever revalidated.
        """
        return self.soft_ttl / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshState:
    """The lease on a fetch, and the pause after a failed one; in the row, for all processes."""

    leased_until: datetime | None = None
    blocked_until: datetime | None = None

    def in_progress(self, now: datetime) -> bool:
        """Whether a process is fetching from the catalog."""
        return self.leased_until is not None and self.leased_until > now

    def blocked(self, now: datetime) -> bool:
        """Whether the last failure is too recent for another attempt."""
        return self.blocked_until is not None and self.blocked_until > now

    def allowed(self, now: datetime) -> bool:
        """Whether a refresh may begin."""
        return not self.in_progress(now) and not self.blocked(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedProduct:
    """
    The last known copy of a product.

    `fetched_at` is the moment at which the request was sent that this copy answers.
    `missing_since` is set by the first answer "there is no such product" about a known product,
    `removed_at` once a second source agreed: a single odd answer is not visible to customers.
    """

    product: Product
    fetched_at: datetime
    refresh: RefreshState = RefreshState()
    missing_since: datetime | None = None
    removed_at: datetime | None = None

    def age(self, now: datetime) -> timedelta:
        """How long ago this copy was fetched; never negative."""
        return max(now - self.fetched_at, timedelta(0))

    def freshness(self, policy: CachePolicy, *, now: datetime) -> Freshness:
        """Classify this copy by its age."""
        return policy.freshness(self.age(now))

    def stale(self, policy: CachePolicy, *, now: datetime) -> bool:
        """Whether a newer copy is due: the member `stale` of answers."""
        return now > self.fresh_until(policy)

    def fresh_until(self, policy: CachePolicy) -> datetime:
        """Return the last moment at which this copy is fresh."""
        return self.fetched_at + policy.soft_ttl

    @property
    def removed(self) -> bool:
        """Whether the catalog has dropped this product."""
        return self.removed_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownProduct:
    """
    What is remembered of a product id without a copy.

    `absent_until` is set if the catalog answered that it does not exist; otherwise the row only
    holds the lease of a fetch.
    """

    id: ProductId
    absent_until: datetime | None = None
    refresh: RefreshState = RefreshState()

    def absent(self, now: datetime) -> bool:
        """Whether the cached answer "there is no such product" is still valid."""
        return self.absent_until is not None and self.absent_until > now


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogState:
    """When the complete list of the catalog was last fetched."""

    fetched_at: datetime | None = None
    refresh: RefreshState = RefreshState()

    def age(self, now: datetime) -> timedelta | None:
        """How long ago the complete list was fetched; None if it never was."""
        return None if self.fetched_at is None else max(now - self.fetched_at, timedelta(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePoint:
    """A price and since when it has been seen."""

    price: Decimal
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularProduct:
    """A product and how many customers favor it."""

    cached: CachedProduct
    favorites: int


class ServedFrom(StrEnum):
    """
    How the cache answered, for `Cache-Status` (RFC 9211) and the metrics.
    """

    HIT = "hit"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    STALE_IF_ERROR = "stale-if-error"
    MISS = "miss"
    REVALIDATED = "revalidated"
    NEGATIVE_HIT = "negative-hit"

    @property
    def stale(self) -> bool:
        """Whether the copy was older than the soft TTL."""
        return self in (ServedFrom.STALE_WHILE_REVALIDATE, ServedFrom.STALE_IF_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductReading:
    """
    A product read through the cache.

    `collapsed` tells that the answer shared a fetch that another request had begun (RFC 9211).
    """

    cached: CachedProduct
    served_from: ServedFrom
    collapsed: bool = False

    @property
    def stale(self) -> bool:
        """Whether a newer copy was due."""
        return self.served_from.stale


class ProductSort(StrEnum):
    """The orders of a list of products; a leading minus means descending."""

    ID = "id"
    CHEAPEST = "price"
    DEAREST = "-price"
    TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductQuery:
    """Which products of the catalog to list; `q` is a part of the title, case aside."""

    category: str | None = None
    q: str | None = None
    sort: ProductSort = ProductSort.ID
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
