"""Items of lists of favorites, from the rows of a statement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.domain.customer import CustomerId
from app.domain.favorite import Favorite, FavoriteItem, Snapshot
from app.domain.product import CachedProduct
from app.infra.postgres.row_cache import ProductRowCache, Version
from app.infra.postgres.rows import SNAPSHOT_COLUMNS, Copy, read_snapshot

# `f` is a favorite with the `version` of its product's row. The contents of products are not part
# of it: many lists share them, and most are cached.
FAVORITE_COLUMNS = f"f.product_id, f.favorited_at, f.rejected_at, f.version, {SNAPSHOT_COLUMNS}"
ROW_NUMBER = 9
"""The column behind `FAVORITE_COLUMNS`, with which rows begin: the number of the read."""

_VERSION = 3
_SNAPSHOT = slice(4, 9)

KEPT_SNAPSHOTS = 4_000


class FavoriteRows:
    """Builds items; favorites with equal snapshots share one object."""

    def __init__(self, row_cache: ProductRowCache) -> None:
        self._row_cache = row_cache
        self._snapshots: dict[tuple[Any, ...], Snapshot | None] = {}

    async def copies(self, rows: Iterable[Any]) -> Mapping[int, Copy]:
        """Return the products of these rows."""
        versions: dict[int, Version] = {
            row[0]: row[_VERSION] for row in rows if row[_VERSION] is not None
        }
        return await self._row_cache.resolve(versions)

    def item(self, customer_id: CustomerId, row: Any, copies: Mapping[int, Copy]) -> FavoriteItem:
        """Build an item."""
        product_id = row[0]
        copy = copies.get(product_id)
        return FavoriteItem(
            favorite=Favorite(
                customer_id=customer_id,
                product_id=product_id,
                favorited_at=row[1],
                when_favorited=self._snapshot(row[_SNAPSHOT]),
                rejected_at=row[2],
            ),
            cached=copy if isinstance(copy, CachedProduct) else None,
        )

    def _snapshot(self, columns: tuple[Any, ...]) -> Snapshot | None:
        try:
            return self._snapshots[columns]
        except KeyError:
            if len(self._snapshots) >= KEPT_SNAPSHOTS:
                self._snapshots.clear()
            snapshot = self._snapshots[columns] = read_snapshot(*columns)
            return snapshot


def rows_by_read(rows: Sequence[Any], reads: int) -> Sequence[Sequence[Any]]:
    """Return the rows of each read; each has at least one."""
    if reads == 1:
        return [rows]
    grouped: list[list[Any]] = [[] for _ in range(reads)]
    for row in rows:
        grouped[row[ROW_NUMBER] - 1].append(row)
    return grouped
