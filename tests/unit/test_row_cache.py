"""What is read again, and what is not."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.product import CachedProduct, UnknownProduct
from app.infra.postgres import row_cache
from app.infra.postgres.row_cache import ProductRowCache
from tests import make


class Table:
    """Rows of products by id, each with the version that wrote it; records what is read."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, CachedProduct | UnknownProduct]] = {}
        self.reads: list[list[int]] = []

    def put(self, *product_ids: int, version: int) -> None:
        for product_id in product_ids:
            self.rows[product_id] = (version, make.cached_product(id=product_id))

    async def fetch(self, _statement: str, product_ids: Sequence[int]) -> Sequence[Any]:
        self.reads.append(list(product_ids))
        return [
            (self.rows[product_id][0], *columns(self.rows[product_id][1]))
            for product_id in product_ids
            if product_id in self.rows
        ]


def columns(copy: CachedProduct | UnknownProduct) -> tuple[Any, ...]:
    if isinstance(copy, UnknownProduct):
        return (copy.id, *[None] * 10, copy.absent_until, None, None)
    product = copy.product
    shown = (product.title, product.price, product.description, product.category, product.image)
    rating = (
        (None, None) if product.rating is None else (product.rating.rate, product.rating.count)
    )
    return (product.id, *shown, *rating, copy.fetched_at, None, None, None, None, None)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def cache(table: Table) -> ProductRowCache:
    return ProductRowCache(table.fetch)


async def test_a_row_is_read_once_for_each_version(table: Table, cache: ProductRowCache) -> None:
    table.put(1, 2, version=10)
    first = await cache.resolve({2: 10, 1: 10})
    assert first == {1: table.rows[1][1], 2: table.rows[2][1]}
    again = await cache.resolve({1: 10, 2: 10})
    assert table.reads == [[1, 2]]
    assert again[1] is first[1]
    table.put(2, version=11)
    assert (await cache.resolve({1: 10, 2: 11}))[2] == table.rows[2][1]
    assert table.reads == [[1, 2], [2]]


async def test_a_row_that_changed_meanwhile_is_returned_as_it_is(
    table: Table, cache: ProductRowCache
) -> None:
    table.put(1, version=11)
    assert await cache.resolve({1: 10, 2: 10}) == {1: table.rows[1][1]}
    # It has the version with which it was read.
    await cache.resolve({1: 11})
    assert table.reads == [[1, 2]]


async def test_a_copy_is_recalled_with_its_version(table: Table, cache: ProductRowCache) -> None:
    assert cache.recall(1) is None
    table.put(1, version=10)
    table.rows[2] = (10, make.unknown_product(id=2))
    await cache.resolve({1: 10, 2: 10})
    copy = cache.recall(1)
    assert copy == table.rows[1][1]
    assert copy is not None
    assert cache.version(copy) == 10
    assert cache.version(make.cached_product(id=1)) is None
    assert cache.recall(2) is None


async def test_rows_are_read_with_the_given_function(table: Table, cache: ProductRowCache) -> None:
    other = Table()
    other.put(1, version=10)
    assert await cache.resolve({1: 10}, fetch=other.fetch) == {1: other.rows[1][1]}
    assert (table.reads, other.reads) == ([], [[1]])


async def test_the_number_of_kept_rows_is_bounded(
    table: Table, cache: ProductRowCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_cache, "MAX_ROWS", 3)
    table.put(*range(1, 9), version=10)
    await cache.resolve({1: 10, 2: 10})
    await cache.resolve({2: 10, 3: 10, 4: 10})
    assert [product_id for product_id in range(1, 9) if cache.recall(product_id)] == [3, 4]
    # More than there is room for: nothing else is kept, and nothing displaced.
    everything = await cache.resolve(dict.fromkeys(range(1, 9), 11))
    assert len(everything) == 8
    assert [product_id for product_id in range(1, 9) if cache.recall(product_id)] == [3, 4]
