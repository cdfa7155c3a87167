"""Products as they were read last, known again by the version of their row."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from app.domain.product import (
    CachedProduct,
    Product,
    ProductId,
    Rating,
    RefreshState,
    UnknownProduct,
)

Copy: TypeAlias = CachedProduct | UnknownProduct
Version: TypeAlias = int

KEPT = 2_000
"""So many products are remembered at the most; each takes a few kilobytes."""

_READ = """
    SELECT product_id, xmin, title, price, description, category, image, rating_rate, rating_count,
        fetched_at, claimed_until, blocked_until, absent_until, missing_since, removed_at
    FROM products_cache WHERE product_id = ANY ($1)"""


class Copies:
    """
    Spares reading and building again what has not changed.

    PostgreSQL tells with every row which transaction wrote it (`xmin`); as long as that is the
    same, so is the row. It is read each time, from the database: what is remembered here is
    never served because it is young.
    """

    def __init__(self, fetch: Callable[..., Awaitable[Sequence[Any]]]) -> None:
        self._fetch = fetch
        self._known: dict[int, tuple[Version, Copy]] = {}

    def recall(self, product_id: ProductId) -> CachedProduct | None:
        """Return a product as it was read last; whether it still is, `version` helps to tell."""
        _, copy = self._known.get(product_id, (0, None))
        return copy if isinstance(copy, CachedProduct) else None

    def version(self, copy: CachedProduct) -> Version | None:
        """Return the version of the row a copy was made of; None if it is not remembered."""
        version, known = self._known.get(copy.product.id, (0, None))
        return version if known is copy else None

    async def resolve(self, versions: Mapping[int, Version]) -> Mapping[int, Copy]:
        """
        Return the rows that have these versions.

        One that has changed meanwhile is returned as it is now, one that has gone is left out.
        """
        resolved: dict[int, Copy] = {}
        unknown = []
        for product_id, version in versions.items():
            known = self._known.get(product_id)
            if known is not None and known[0] == version:
                resolved[product_id] = known[1]
            else:
                unknown.append(product_id)
        return resolved | await self._read(unknown) if unknown else resolved

    async def _read(self, product_ids: Collection[int]) -> dict[int, Copy]:
        if len(self._known) + len(product_ids) > KEPT:
            self._known.clear()
        read: dict[int, Copy] = {}
        for product_id, version, *columns in await self._fetch(_READ, sorted(product_ids)):
            copy = read[product_id] = _entity(ProductId(product_id), *columns)
            self._known[product_id] = (version, copy)
        return read


def _entity(
    product_id: ProductId,
    title: str | None,
    price: Decimal | None,
    description: str | None,
    category: str | None,
    image: str | None,
    rate: Decimal | None,
    count: int | None,
    fetched_at: datetime | None,
    claimed_until: datetime | None,
    blocked_until: datetime | None,
    absent_until: datetime | None,
    missing_since: datetime | None,
    removed_at: datetime | None,
) -> Copy:
    refresh = RefreshState(claimed_until=claimed_until, blocked_until=blocked_until)
    if (
        title is None
        or price is None
        or description is None
        or category is None
        or image is None
        or fetched_at is None
    ):
        return UnknownProduct(id=product_id, absent_until=absent_until, refresh=refresh)
    return CachedProduct(
        product=Product(
            id=product_id,
            title=title,
            price=price,
            description=description,
            category=category,
            image=image,
            rating=None if rate is None or count is None else Rating(rate=rate, count=count),
        ),
        fetched_at=fetched_at,
        refresh=refresh,
        missing_since=missing_since,
        removed_at=removed_at,
    )
