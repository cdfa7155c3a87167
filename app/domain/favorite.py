"""Favorites: which product a customer marked, when, and how the product was then."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Self

from app.domain.customer import CustomerId
from app.domain.page import DEFAULT_LIMIT, Position
from app.domain.product import CachedProduct, Product, ProductId, Rating


class FavoriteStatus(StrEnum):
    """
    How things stand with the product of a favorite.

    `pending`: accepted while the catalog could not be asked. `removed`: the catalog dropped the
    product, or said that a pending one does not exist.
    """

    AVAILABLE = "available"
    PENDING = "pending"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A product as it was when somebody favorited it."""

    title: str
    price: Decimal
    image: str
    rating: Rating | None

    @classmethod
    def of(cls, product: Product) -> Self:
        """Keep what a customer remembers of a product."""
        return cls(
            title=product.title, price=product.price, image=product.image, rating=product.rating
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Favorite:
    """
    A product that a customer marked.

    `when_favorited` is None as long as the catalog has not confirmed the product; `rejected_at` is
    the moment at which it said that there is no such product.
    """

    customer_id: CustomerId
    product_id: ProductId
    favorited_at: datetime
    when_favorited: Snapshot | None = None
    rejected_at: datetime | None = None

    @property
    def pending(self) -> bool:
        """Whether this waits for the catalog to say that there is such a product."""
        return self.when_favorited is None and self.rejected_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFavorite:
    """A favorite as it is kept, and whether it is the one that was just added."""

    favorite: Favorite
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteItem:
    """A favorite together with the last known copy of its product: what a list shows."""

    favorite: Favorite
    cached: CachedProduct | None

    @property
    def status(self) -> FavoriteStatus:
        """Whether the product can be had, is not confirmed yet, or is gone."""
        if self.favorite.rejected_at is not None or (self.cached and self.cached.removed):
            return FavoriteStatus.REMOVED
        if self.favorite.when_favorited is None or self.cached is None:
            return FavoriteStatus.PENDING
        return FavoriteStatus.AVAILABLE

    @property
    def reason(self) -> str | None:
        """Why the product is gone, as a stable word; None unless it is."""
        if self.favorite.rejected_at is not None:
            return "not_in_catalog"
        return "dropped_by_catalog" if self.cached and self.cached.removed else None

    @property
    def price_change(self) -> Decimal | None:
        """What the price gained since the product was favorited; None if either is unknown."""
        if self.cached is None or self.favorite.when_favorited is None:
            return None
        return self.cached.product.price - self.favorite.when_favorited.price


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVersion:
    """
    What a list of favorites depends on, as numbers that only grow.

    `favorites` counts the changes of one customer's list, `catalog` those of what products look
    like. As long as both are the same, so is every answer that shows the list.
    """

    favorites: int
    catalog: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedFavorite:
    """That a product was a favorite; remembered for clients that come back."""

    product_id: ProductId
    removed_at: datetime


class ChangeKind(StrEnum):
    """What happened to a favorite since somebody last looked."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteChange:
    """What became of one favorite; `item` is how it is now, None once it was removed."""

    product_id: ProductId
    kind: ChangeKind
    item: FavoriteItem | None


@dataclass(frozen=True, slots=True, order=True)
class ChangePosition:
    """
    How much of a list's history was seen: up to a version, and within it up to a product.

    While the list is read from the beginning, in several steps, `began` is its version at the
    first of them: what was removed before that is of no interest.
    """

    version: int = 0
    product_id: int = 0
    began: int = 0

    @property
    def from_beginning(self) -> bool:
        """Whether the list is read as it is, and not what became of one seen before."""
        return self.version == 0 or self.began > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """
    Changes in the order in which they happened, each favorite at most once: as it is now.

    `seen` is the position to ask from next time; `more` tells that there is more already.
    """

    items: Sequence[FavoriteChange]
    seen: ChangePosition
    more: bool


class BatchResult(StrEnum):
    """What became of one product in a batch."""

    ADDED = "added"
    ALREADY_PRESENT = "already_present"
    PENDING = "pending"
    PRODUCT_NOT_FOUND = "product_not_found"
    REMOVED = "removed"
    NOT_PRESENT = "not_present"
    FAVORITES_FULL = "favorites_full"
    TOO_MANY_PENDING = "too_many_pending"


class FavoriteSort(StrEnum):
    """The orders in which favorites can be listed; a leading minus turns one around."""

    NEWEST = "-favorited_at"
    OLDEST = "favorited_at"
    CHEAPEST = "price"
    DEAREST = "-price"
    TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteQuery:
    """Which favorites of a customer to list; `q` is looked for in titles, case aside."""

    customer_id: CustomerId
    category: str | None = None
    q: str | None = None
    sort: FavoriteSort = FavoriteSort.NEWEST
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
