"""Products of the outside catalog, and how long a copy of one may be believed."""

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
    """What buyers think: the mean `rate` (0 to 5) over `count` votes."""

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
    """How far a copy may be believed (the terms of RFC 5861)."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """
    The ages that decide what a copy of the catalog is good for.

    Up to `soft_ttl` a copy is fresh, up to `hard_ttl` it is served while it is revalidated, beyond
    that it is served only if the catalog cannot be asked. "There is no such product" is believed
    for `negative_ttl`. One process at a time may ask for a product; its right ends after `lease`.
    After a failure nobody asks for the same thing again within `backoff`.
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
        """Place an age."""
        if age <= self.soft_ttl:
            return Freshness.FRESH
        return Freshness.STALE if age <= self.hard_ttl else Freshness.EXPIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshState:
    """Who may ask the catalog again, and when; part of the row so that all processes agree."""

    claimed_until: datetime | None = None
    blocked_until: datetime | None = None

    def in_progress(self, now: datetime) -> bool:
        """Whether somebody is asking the catalog at this moment."""
        return self.claimed_until is not None and self.claimed_until > now

    def blocked(self, now: datetime) -> bool:
        """Whether a failure is too recent for another attempt."""
        return self.blocked_until is not None and self.blocked_until > now

    def claimable(self, now: datetime) -> bool:
        """Whether a refresh may begin."""
        return not self.in_progress(now) and not self.blocked(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedProduct:
    """
    The last known copy of a product.

    `fetched_at` is the moment at which the question was sent that this copy answers.
    `missing_since` is set by the first answer "there is no such product" about a product we know,
    `removed_at` once a second source agreed: one odd answer changes nothing that a customer can
    see.
    """

    product: Product
    fetched_at: datetime
    refresh: RefreshState = RefreshState()
    missing_since: datetime | None = None
    removed_at: datetime | None = None

    def age(self, now: datetime) -> timedelta:
        """How long ago the catalog was asked; never negative."""
        return max(now - self.fetched_at, timedelta(0))

    def freshness(self, policy: CachePolicy, *, now: datetime) -> Freshness:
        """Place this copy's age within the policy."""
        return policy.freshness(self.age(now))

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
    What is remembered of a product id that we hold no copy of.

    `absent_until` is set if the catalog said that it does not exist; otherwise this is only the
    place for the lease of whoever asks for it.
    """

    id: ProductId
    absent_until: datetime | None = None
    refresh: RefreshState = RefreshState()

    def absent(self, now: datetime) -> bool:
        """Whether "there is no such product" is still to be believed."""
        return self.absent_until is not None and self.absent_until > now


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogState:
    """What is known of the catalog as a whole: when the complete list was last asked for."""

    fetched_at: datetime | None = None
    refresh: RefreshState = RefreshState()

    def age(self, now: datetime) -> timedelta | None:
        """How long ago the catalog was asked for all of it; None if it never was."""
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
    Where an answer about the catalog came from, for `Cache-Status` (RFC 9211) and the metrics.
    """

    HIT = "hit"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    STALE_IF_ERROR = "stale-if-error"
    MISS = "miss"
    REVALIDATED = "revalidated"
    NEGATIVE_HIT = "negative-hit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductReading:
    """
    A product as it was read through the cache.

    `collapsed` tells that this answer shared a call that somebody else had begun.
    """

    cached: CachedProduct
    served_from: ServedFrom
    stale: bool
    collapsed: bool = False


class ProductSort(StrEnum):
    """The orders in which products can be listed; a leading minus turns one around."""

    ID = "id"
    CHEAPEST = "price"
    DEAREST = "-price"
    TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductQuery:
    """Which products of the catalog to list; `q` is looked for in titles, case aside."""

    category: str | None = None
    q: str | None = None
    sort: ProductSort = ProductSort.ID
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
