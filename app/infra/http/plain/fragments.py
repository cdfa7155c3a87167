"""Answers joined from pieces of JSON that have been written before."""

from collections.abc import Iterable
from datetime import datetime

from app.domain.favorite import FavoriteItem, FavoriteStatus, Snapshot
from app.domain.product import CachedProduct, CachePolicy
from app.infra.http.router.favorite_schema import FavoriteOut, SnapshotOut
from app.infra.http.router.product_schema import ProductOut
from app.infra.http.schema import format_money, format_time

KEPT = 2_000
"""So many pieces of a kind are kept at the most."""


class Fragments:
    """
    Writes products and favorites as the schemas of answers do, letter by letter.

    A product is in many lists, and the same each time: its JSON is written once, and kept as long
    as storage hands out the same object. That it is the same is told by identity, for what is kept
    holds on to the object.
    """

    def __init__(self, policy: CachePolicy) -> None:
        self._policy = policy
        self._products: dict[tuple[int, bool], tuple[CachedProduct, str]] = {}
        self._snapshots: dict[int, tuple[Snapshot, str]] = {}
        self._texts: dict[Snapshot, str] = {}

    def product(self, cached: CachedProduct, *, stale: bool) -> str:
        """Write a product as `ProductOut` does."""
        key = (cached.product.id, stale)
        known = self._products.get(key)
        if known is not None and known[0] is cached:
            return known[1]
        if len(self._products) >= KEPT:
            self._products.clear()
        text = ProductOut.of(cached, stale=stale).model_dump_json()
        self._products[key] = (cached, text)
        return text

    def favorite(self, item: FavoriteItem, *, now: datetime) -> str:
        """Write a favorite as `FavoriteOut` does."""
        favorite, cached = item.favorite, item.cached
        snapshot = favorite.when_favorited
        if snapshot is None or cached is None or item.status is not FavoriteStatus.AVAILABLE:
            return FavoriteOut.of(
                item, stale=lambda copy: self._is_stale(copy, now)
            ).model_dump_json()
        change = cached.product.price - snapshot.price
        return (
            f'{{"product_id":{favorite.product_id}'
            f',"favorited_at":"{format_time(favorite.favorited_at)}"'
            ',"status":"available"'
            f',"product":{self.product(cached, stale=self._is_stale(cached, now))}'
            f',"when_favorited":{self._snapshot(snapshot)}'
            f',"price_change":"{format_money(change)}"}}'
        )

    def favorites(self, items: Iterable[FavoriteItem], *, now: datetime, next: str | None) -> str:
        """Write a page as `PageOut` does; `next` is JSON already."""
        written = ",".join([self.favorite(item, now=now) for item in items])
        rest = "" if next is None else f',"next":{next}'
        return f'{{"items":[{written}]{rest}}}'

    def _is_stale(self, cached: CachedProduct, now: datetime) -> bool:
        return now > cached.fresh_until(self._policy)

    def _snapshot(self, snapshot: Snapshot) -> str:
        known = self._snapshots.get(id(snapshot))
        if known is not None:
            return known[1]
        if len(self._snapshots) >= KEPT:
            self._snapshots.clear()
            self._texts.clear()
        # Another object may be an equal one: whoever favorites a product today gets the same.
        text = self._texts.get(snapshot)
        if text is None:
            text = self._texts[snapshot] = SnapshotOut.model_validate(snapshot).model_dump_json()
        self._snapshots[id(snapshot)] = (snapshot, text)
        return text
