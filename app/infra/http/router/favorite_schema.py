"""How favorites appear in requests and answers."""

from collections.abc import Callable
from typing import Annotated, Self, TypeAlias

from fastapi import Depends, Request
from pydantic import Field

from app.domain.favorite import FavoriteItem, FavoriteStatus
from app.domain.product import CachedProduct, Freshness
from app.infra.http.router.product_schema import ProductOut, RatingOut
from app.infra.http.schema import Money, Out, TimeOut
from app.infra.http.use_cases import wired

IsStale: TypeAlias = Callable[[CachedProduct], bool]


async def staleness(request: Request) -> IsStale:
    """Return what tells whether a newer copy of a product is due, at this moment."""
    products = wired(request.scope).products
    now = products.clock()
    return lambda cached: cached.freshness(products.policy, now=now) is not Freshness.FRESH


StaleCheck = Annotated[IsStale, Depends(staleness)]


class SnapshotOut(Out):
    """The product as it was when it was favorited."""

    title: str
    price: Money
    image: str
    rating: RatingOut | None


class FavoriteOut(Out):
    """A favorite with the last known copy of its product."""

    product_id: int
    favorited_at: TimeOut
    status: Annotated[
        FavoriteStatus,
        Field(
            description="`pending`: accepted while the catalog could not be asked; `removed`: the "
            "catalog does not list the product (any more)."
        ),
    ]
    reason: Annotated[
        str | None,
        Field(
            exclude_if=lambda value: value is None,
            description="Why it is `removed`: `dropped_by_catalog` or `not_in_catalog`.",
        ),
    ] = None
    product: ProductOut | None
    when_favorited: SnapshotOut | None
    price_change: Annotated[
        Money | None, Field(description="The price now minus the price when favorited.")
    ]

    @classmethod
    def of(cls, item: FavoriteItem, *, stale: IsStale) -> Self:
        """Describe a favorite."""
        favorite, cached = item.favorite, item.cached
        snapshot = favorite.when_favorited
        pending = item.status is FavoriteStatus.PENDING
        return cls(
            product_id=favorite.product_id,
            favorited_at=favorite.favorited_at,
            status=item.status,
            reason=item.reason,
            product=None
            if cached is None or pending
            else ProductOut.of(cached, stale=stale(cached)),
            when_favorited=None if snapshot is None else SnapshotOut.model_validate(snapshot),
            price_change=item.price_change,
        )


class ContainsOut(Out):
    """Which products are favorites, by their ids."""

    items: dict[str, bool]
