"""Strategies for products and favorites, and the JSON that is expected of them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from app.domain.favorite import (
    ChangeKind,
    FavoriteChange,
    FavoriteItem,
    FavoriteStatus,
    Snapshot,
)
from app.domain.product import CachedProduct, Rating
from tests import make
from tests.make import NOW

POLICY = make.CACHE_POLICY

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.integers(1, 5)
moments = st.datetimes(timezones=st.just(UTC))
ages = st.timedeltas(timedelta(0), timedelta(days=2)) | st.just(POLICY.soft_ttl)
next_urls = st.none() | texts.map(lambda text: f"/next?{text}")
ratings = st.none() | st.builds(
    make.rating, st.decimals("0", "5", places=1).map(str), st.integers(0, 10**9)
)
products = st.builds(
    make.product,
    id=ids,
    title=texts,
    price=st.decimals("0", "99999999.99", places=2).map(str),
    description=texts,
    category=texts,
    image=texts,
    rating=ratings,
)


@st.composite
def cached_products(draw: st.DrawFn) -> CachedProduct:
    removed = draw(st.booleans())
    return make.cached_product(
        product=draw(products),
        fetched_at=NOW - draw(ages),
        missing_since=NOW if removed else None,
        removed_at=NOW if removed else None,
    )


@st.composite
def items(draw: st.DrawFn) -> FavoriteItem:
    """Draw a favorite: available, pending, rejected, of a dropped product or without a copy."""
    cached = draw(st.none() | cached_products())
    state = draw(st.sampled_from(["confirmed", "pending", "rejected"]))
    return FavoriteItem(
        favorite=make.favorite(
            product_id=draw(ids) if cached is None else cached.product.id,
            favorited_at=draw(moments),
            when_favorited=Snapshot.of(draw(products)) if state == "confirmed" else None,
            rejected_at=NOW if state == "rejected" else None,
        ),
        cached=cached,
    )


@st.composite
def change_items(draw: st.DrawFn) -> FavoriteChange:
    item = draw(items())
    kind = draw(st.sampled_from(ChangeKind))
    return FavoriteChange(
        product_id=item.favorite.product_id,
        kind=kind,
        item=None if kind is ChangeKind.REMOVED else item,
    )


def time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def rating_of(rating: Rating | None) -> Any:
    return None if rating is None else {"rate": float(rating.rate), "count": rating.count}


def product_of(cached: CachedProduct) -> dict[str, Any]:
    product = cached.product
    return {
        "id": product.id,
        "title": product.title,
        "price": str(product.price),
        "description": product.description,
        "category": product.category,
        "image": product.image,
        "rating": rating_of(product.rating),
        "fetched_at": time(cached.fetched_at),
        "stale": NOW - cached.fetched_at > POLICY.soft_ttl,
    }


def snapshot_of(snapshot: Snapshot | None) -> Any:
    if snapshot is None:
        return None
    return {
        "title": snapshot.title,
        "price": str(snapshot.price),
        "image": snapshot.image,
        "rating": rating_of(snapshot.rating),
    }


def favorite_of(item: FavoriteItem) -> dict[str, Any]:
    favorite, cached = item.favorite, item.cached
    pending = item.status is FavoriteStatus.PENDING
    change = None
    if cached is not None and favorite.when_favorited is not None:
        change = str(cached.product.price - favorite.when_favorited.price)
    return {
        "product_id": favorite.product_id,
        "favorited_at": time(favorite.favorited_at),
        "status": item.status.value,
        **({} if item.reason is None else {"reason": item.reason}),
        "product": None if cached is None or pending else product_of(cached),
        "when_favorited": snapshot_of(favorite.when_favorited),
        "price_change": change,
    }


def page_of(written: Iterable[Any], next_url: str | None) -> dict[str, Any]:
    return {"items": [*written], **({} if next_url is None else {"next": next_url})}


def exact(value: Any) -> str:
    """Return JSON that differs for 1, 1.0 and true, which are equal in Python."""
    return json.dumps(value, sort_keys=True)


def check_members(text: str, model: type[BaseModel]) -> None:
    """
    Assert that a text has every member of its model, and no other.

    A member that only one of them has is lost or added when the model is written again. Members
    that may be absent (`exclude_if`) are absent from both.
    """
    again = json.loads(model.model_validate_json(text).model_dump_json())
    assert exact(json.loads(text)) == exact(again)
