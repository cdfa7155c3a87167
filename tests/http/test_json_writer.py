"""The JSON of direct routes has exactly the members of the documented models."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from app.application.accounts.export_customer import CustomerExport
from app.domain.customer import Role
from app.domain.favorite import (
    ChangePosition,
    Changes,
    FavoriteChange,
    FavoriteItem,
    RemovedFavorite,
)
from app.domain.product import CachedProduct, PopularProduct, ProductId
from app.domain.queries import CustomerRecords
from app.infra.http.json_writer import JsonWriter
from app.infra.http.paging import PageOut
from app.infra.http.router.export_schema import ExportOut, written_export
from app.infra.http.router.favorite_schema import FavoriteChangesOut, FavoriteOut
from app.infra.http.router.product_schema import PopularProductsOut, ProductOut
from tests import make
from tests.http.expected_json import (
    cached_products,
    change_items,
    check_members,
    exact,
    favorite_of,
    items,
    moments,
    next_urls,
    page_of,
    product_of,
    texts,
    time,
)
from tests.make import NOW

POLICY = make.CACHE_POLICY
# Used by all examples, so that it has kept texts of other products with the same ids.
SHARED = JsonWriter(POLICY)


def check(write: Callable[[JsonWriter], str], model: type[BaseModel], expected: Any) -> None:
    """Assert that a new and a used writer write what is expected, also repeatedly."""
    text = write(JsonWriter(POLICY))
    assert exact(json.loads(text)) == exact(expected)
    check_members(text, model)
    assert [write(SHARED) for _ in range(2)] == [text, text]


class TestWrittenMembers:
    @given(st.lists(cached_products(), max_size=3), next_urls)
    def test_are_those_of_products(
        self, copies: list[CachedProduct], next_url: str | None
    ) -> None:
        for cached in copies:
            expected = product_of(cached)
            check(
                lambda writer: writer.product(cached, stale=expected["stale"]),  # noqa: B023 - called at once
                ProductOut,
                expected,
            )
        check(
            lambda writer: writer.products(copies, now=NOW, next_url=next_url),
            PageOut[ProductOut],
            page_of(map(product_of, copies), next_url),
        )

    @given(st.lists(st.tuples(cached_products(), st.integers(1, 10**9)), max_size=3))
    def test_are_those_of_popular_products(self, popular: list[tuple[CachedProduct, int]]) -> None:
        check(
            lambda writer: writer.popular(
                [PopularProduct(cached=cached, favorites=count) for cached, count in popular],
                now=NOW,
            ),
            PopularProductsOut,
            {"items": [{**product_of(cached), "favorites": count} for cached, count in popular]},
        )

    @given(items())
    def test_are_those_of_a_favorite(self, item: FavoriteItem) -> None:
        check(lambda writer: writer.favorite(item, now=NOW), FavoriteOut, favorite_of(item))

    @given(st.lists(items(), max_size=4), next_urls)
    def test_are_those_of_favorites(self, found: list[FavoriteItem], next_url: str | None) -> None:
        check(
            lambda writer: writer.favorites(found, now=NOW, next_url=next_url),
            PageOut[FavoriteOut],
            page_of(map(favorite_of, found), next_url),
        )

    @given(st.lists(change_items(), max_size=3), st.booleans(), next_urls)
    def test_are_those_of_changes(
        self, changes: list[FavoriteChange], more: bool, next_url: str | None
    ) -> None:
        check(
            lambda writer: writer.changes(
                Changes(items=changes, seen=ChangePosition(), more=more),
                now=NOW,
                cursor="AZaz09-_",
                next_url=next_url,
            ),
            FavoriteChangesOut,
            {
                **page_of(
                    (
                        {
                            "product_id": each.product_id,
                            "change": each.kind.value,
                            "favorite": None if each.item is None else favorite_of(each.item),
                        }
                        for each in changes
                    ),
                    next_url,
                ),
                "cursor": "AZaz09-_",
                "more": more,
            },
        )

    @given(st.lists(items(), max_size=3), st.lists(moments, max_size=2), texts)
    def test_are_those_of_an_export(
        self, found: list[FavoriteItem], removals: list[datetime], text: str
    ) -> None:
        customer = make.customer(name=f"Ana {text}", role=Role.ADMIN)
        session = make.session(customer_id=customer.id, device=text)
        ended = make.session(customer_id=customer.id, ended_at=NOW)
        removed = [RemovedFavorite(product_id=ProductId(7), removed_at=each) for each in removals]
        export = CustomerExport(
            exported_at=NOW,
            records=CustomerRecords(customer, [session, ended], found, removed),
        )
        check(
            lambda writer: written_export(export, writer),
            ExportOut,
            {
                "exported_at": time(NOW),
                "customer": {
                    "id": str(customer.id),
                    "name": customer.name,
                    "email": customer.email.value,
                    "role": "admin",
                    "created_at": time(customer.created_at),
                    "updated_at": time(customer.updated_at),
                },
                "sessions": [
                    {
                        "id": str(each.id),
                        "device": each.device,
                        "created_at": time(each.created_at),
                        "last_used_at": time(each.last_used_at),
                        "idle_expires_at": time(each.idle_expires_at),
                        "expires_at": time(each.expires_at),
                        "ended_at": None if each.ended_at is None else time(each.ended_at),
                    }
                    for each in (session, ended)
                ],
                "favorites": [favorite_of(item) for item in found],
                "removed_favorites": [
                    {"product_id": each.product_id, "removed_at": time(each.removed_at)}
                    for each in removed
                ],
            },
        )
