"""What `JsonWriter` writes is what the models of the OpenAPI document describe."""

import json

import pytest
from pydantic import BaseModel

from app.application.accounts.export_customer import CustomerExport
from app.domain.favorite import (
    ChangeKind,
    ChangePosition,
    Changes,
    FavoriteChange,
    FavoriteItem,
    RemovedFavorite,
)
from app.domain.product import PopularProduct
from app.domain.queries import CustomerRecords
from app.infra.http.json_writer import JsonWriter
from app.infra.http.paging import PageOut
from app.infra.http.router.export_schema import ExportOut, written_export
from app.infra.http.router.favorite_schema import FavoriteChangesOut, FavoriteOut
from app.infra.http.router.product_schema import PopularProductsOut, ProductOut
from tests import make
from tests.make import CACHE_POLICY, DAY, NOW

COPIES = [
    make.cached_product(),
    make.cached_product(product=make.product(rating=None)),
    make.cached_product(fetched_at=NOW - DAY),
    make.cached_product(removed_at=NOW),
]
ITEMS = {
    "available": FavoriteItem(favorite=make.favorite(), cached=COPIES[0]),
    "without a rating": FavoriteItem(favorite=make.favorite(), cached=COPIES[1]),
    "stale": FavoriteItem(favorite=make.favorite(), cached=COPIES[2]),
    "dropped": FavoriteItem(favorite=make.favorite(), cached=COPIES[3]),
    "pending": FavoriteItem(favorite=make.favorite(when_favorited=None), cached=None),
    "rejected": FavoriteItem(
        favorite=make.favorite(when_favorited=None, rejected_at=NOW), cached=None
    ),
}


@pytest.fixture
def writer() -> JsonWriter:
    return JsonWriter(CACHE_POLICY)


def expect_documented(model: type[BaseModel], text: str) -> None:
    """Expect every member of a text in its model, in the format of the model, and vice versa."""
    written = json.loads(text)
    assert model.model_validate(written).model_dump(mode="json") == written


class TestProducts:
    @pytest.mark.parametrize("stale", [True, False])
    @pytest.mark.parametrize("number", range(len(COPIES)))
    def test_are_documented(self, writer: JsonWriter, number: int, stale: bool) -> None:
        expect_documented(ProductOut, writer.product(COPIES[number], stale=stale))

    @pytest.mark.parametrize("next_url", [None, "/products?cursor=é"])
    def test_are_documented_in_pages(self, writer: JsonWriter, next_url: str | None) -> None:
        page = writer.products(COPIES, now=NOW, next_url=next_url)
        expect_documented(PageOut[ProductOut], page)

    def test_are_documented_if_popular(self, writer: JsonWriter) -> None:
        popular = [PopularProduct(cached=copy, favorites=3) for copy in COPIES]
        expect_documented(PopularProductsOut, writer.popular(popular, now=NOW))


class TestFavorites:
    @pytest.mark.parametrize("name", ITEMS)
    def test_are_documented(self, writer: JsonWriter, name: str) -> None:
        expect_documented(FavoriteOut, writer.favorite(ITEMS[name], now=NOW))

    @pytest.mark.parametrize("next_url", [None, "/customers/me/favorites?cursor=é"])
    def test_are_documented_in_pages(self, writer: JsonWriter, next_url: str | None) -> None:
        page = writer.favorites(ITEMS.values(), now=NOW, next_url=next_url)
        expect_documented(PageOut[FavoriteOut], page)

    @pytest.mark.parametrize("more", [True, False])
    def test_are_documented_as_changes(self, writer: JsonWriter, more: bool) -> None:
        items = [*ITEMS.values(), None]
        changes = Changes(
            items=[
                FavoriteChange(product_id=make.product_id(), kind=kind, item=item)
                for item in items
                for kind in ChangeKind
            ],
            seen=ChangePosition(version=5),
            more=more,
        )
        next_url = "/customers/me/favorites/changes?since=abc" if more else None
        expect_documented(
            FavoriteChangesOut, writer.changes(changes, now=NOW, cursor="abc", next_url=next_url)
        )

    def test_are_documented_in_an_export(self, writer: JsonWriter) -> None:
        customer = make.customer()
        records = CustomerRecords(
            customer=customer,
            sessions=[make.session(customer_id=customer.id)],
            favorites=[*ITEMS.values()],
            removed_favorites=[RemovedFavorite(product_id=make.product_id(), removed_at=NOW)],
        )
        export = CustomerExport(exported_at=NOW, records=records)
        expect_documented(ExportOut, written_export(export, writer))
