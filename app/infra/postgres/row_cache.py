"""Products as they were read last, identified by the version of their row."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from app.domain.product import CachedProduct
from app.infra.postgres.rows import PRODUCT_COLUMNS, Copy, read_product

Version: TypeAlias = int
Fetch: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]

MAX_ROWS = 2_000
"""How many products are kept; each takes a few kilobytes."""

_READ = f"""
    SELECT p.xmin, {PRODUCT_COLUMNS} FROM products_cache AS p WHERE p.product_id = ANY ($1)
"""  # noqa: S608 - constants


class ProductRowCache:
    """
    Avoids reading and building products whose row has not changed.

    PostgreSQL returns with each row the transaction that wrote it (`xmin`): the row is unchanged
    as long as that is. Statements read it each time, so a cached product is never served because
    it is recent. The same row is always the same object.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._rows: dict[int, tuple[Version, Copy]] = {}

    def recall(self, product_id: int) -> CachedProduct | None:
        """Return the copy that was read last; `version` helps to verify that it is current."""
        _, copy = self._rows.get(product_id, (0, None))
        return copy if isinstance(copy, CachedProduct) else None

    def version(self, copy: CachedProduct) -> Version | None:
        """Return the version of the row that a copy was built from; None if it is not cached."""
        version, cached = self._rows.get(copy.product.id, (0, None))
        return version if cached is copy else None

    async def resolve(
        self, versions: Mapping[int, Version], *, fetch: Fetch | None = None
    ) -> Mapping[int, Copy]:
        """
        Return the rows that have these versions.

        A row that has changed since is returned as it is now, one that is gone is left out. Rows
        that are not cached are read with `fetch`, by default that of this cache.
        """
        resolved: dict[int, Copy] = {}
        missing = []
        for product_id, version in versions.items():
            row = self._rows.get(product_id)
            if row is not None and row[0] == version:
                resolved[product_id] = row[1]
            else:
                missing.append(product_id)
        if missing:
            resolved.update(await self._read(missing, fetch or self._fetch))
        return resolved

    async def _read(self, product_ids: Collection[int], fetch: Fetch) -> dict[int, Copy]:
        rows = {
            columns[0]: (version, read_product(*columns))
            for version, *columns in await fetch(_READ, sorted(product_ids))
        }
        # A list that would displace everything is not kept.
        if len(rows) <= MAX_ROWS:
            if len(self._rows) + len(rows) > MAX_ROWS:
                self._rows.clear()
            self._rows.update(rows)
        return {product_id: copy for product_id, (_, copy) in rows.items()}
