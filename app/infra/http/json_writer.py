"""
The JSON of products and favorites.

All responses with a product or a favorite are written here. The models in
`router/product_schema.py` and `router/favorite_schema.py` document them; a test compares every
member with them.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from app.domain.favorite import Changes, FavoriteItem, FavoriteStatus, Snapshot
from app.domain.product import CachedProduct, CachePolicy, PopularProduct, Rating
from app.infra.http.schema import format_money, format_rate, format_time

KEPT = 2_000
"""The maximum number of kept texts of each kind."""


class JsonWriter:
    """
    Writes products and favorites, and keeps the texts of unchanged ones.

    A product is in many lists. Its text is kept while storage returns the same object; an entry
    holds a reference to it, so that its identity is a valid key.
    """

    def __init__(self, policy: CachePolicy) -> None:
        self._policy = policy
        self._products: dict[tuple[int, bool], tuple[CachedProduct, str]] = {}
        self._snapshots: dict[Snapshot, Snapshot] = {}
        self._contents: dict[tuple[int, int, bool, bool], tuple[object, object, str]] = {}

    def product(self, cached: CachedProduct, *, stale: bool) -> str:
        """Write a product."""
        product = cached.product
        key = (product.id, stale)
        known = self._products.get(key)
        if known is not None and known[0] is cached:
            return known[1]
        text = write_json(
            {
                "id": product.id,
                "title": product.title,
                "price": format_money(product.price),
                "description": product.description,
                "category": product.category,
                "image": product.image,
                "rating": _rating(product.rating),
                "fetched_at": format_time(cached.fetched_at),
                "stale": stale,
            }
        )
        if len(self._products) >= KEPT:
            self._products.clear()
        self._products[key] = (cached, text)
        return text

    def products(
        self, copies: Iterable[CachedProduct], *, now: datetime, next_url: str | None
    ) -> str:
        """Write a page of products."""
        return written_page(
            [self.product(each, stale=each.stale(self._policy, now=now)) for each in copies],
            next_url,
        )

    def popular(self, products: Iterable[PopularProduct], *, now: datetime) -> str:
        """Write products with their numbers of favorites."""
        return written_page(
            [
                f"{self.product(each.cached, stale=each.cached.stale(self._policy, now=now))[:-1]}"
                f',"favorites":{each.favorites}}}'
                for each in products
            ],
            None,
        )

    def favorite(self, item: FavoriteItem, *, now: datetime) -> str:
        """Write a favorite."""
        favorite, cached = item.favorite, item.cached
        snapshot, rejected = favorite.when_favorited, favorite.rejected_at is not None
        stale = cached is not None and cached.stale(self._policy, now=now)
        known = self._contents.get((id(cached), id(snapshot), rejected, stale))
        content = self._content(item, stale=stale) if known is None else known[2]
        return (
            f'{{"product_id":{favorite.product_id}'
            f',"favorited_at":"{format_time(favorite.favorited_at)}"{content}'
        )

    def favorites(
        self, items: Iterable[FavoriteItem], *, now: datetime, next_url: str | None
    ) -> str:
        """Write a page of favorites."""
        return written_page([self.favorite(item, now=now) for item in items], next_url)

    def changes(
        self, changes: Changes, *, now: datetime, cursor: str, next_url: str | None
    ) -> str:
        """Write changes of favorites, with the cursor that continues after them."""
        items = ",".join(
            [
                f'{{"product_id":{each.product_id},"change":"{each.kind.value}","favorite":'
                f"{'null' if each.item is None else self.favorite(each.item, now=now)}}}"
                for each in changes.items
            ]
        )
        rest = "" if next_url is None else f',"next":{write_json(next_url)}'
        more = "true" if changes.more else "false"
        return f'{{"items":[{items}],"cursor":"{cursor}","more":{more}{rest}}}'

    def _content(self, item: FavoriteItem, *, stale: bool) -> str:
        """Write what favorites with the same copy and the same snapshot have in common."""
        cached, snapshot = item.cached, item.favorite.when_favorited
        if snapshot is not None:
            # Equal snapshots are shared: each new favorite comes with another object.
            if len(self._snapshots) >= KEPT:
                self._snapshots.clear()
            snapshot = self._snapshots.setdefault(snapshot, snapshot)
        key = (id(cached), id(snapshot), item.favorite.rejected_at is not None, stale)
        known = self._contents.get(key)
        if known is not None:
            return known[2]
        shown = None if item.status is FavoriteStatus.PENDING else cached
        reason = "" if item.reason is None else f',"reason":"{item.reason}"'
        product = "null" if shown is None else self.product(shown, stale=stale)
        change = item.price_change
        text = (
            f',"status":"{item.status.value}"{reason}'
            f',"product":{product}'
            f',"when_favorited":{write_json(_snapshot(snapshot))}'
            f',"price_change":{write_json(None if change is None else format_money(change))}}}'
        )
        if len(self._contents) >= KEPT:
            self._contents.clear()
        self._contents[key] = (cached, snapshot, text)
        return text


def write_json(value: Any) -> str:
    """Write plain values as JSON."""
    return to_json(value).decode()


def written_page(items: list[str], next_url: str | None) -> str:
    """Write a page of items that are JSON already."""
    rest = "" if next_url is None else f',"next":{write_json(next_url)}'
    return f'{{"items":[{",".join(items)}]{rest}}}'


def _snapshot(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    return {
        "title": snapshot.title,
        "price": format_money(snapshot.price),
        "image": snapshot.image,
        "rating": _rating(snapshot.rating),
    }


def _rating(rating: Rating | None) -> dict[str, Any] | None:
    return None if rating is None else {"rate": format_rate(rating.rate), "count": rating.count}
