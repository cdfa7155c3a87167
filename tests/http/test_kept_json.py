"""Texts of products and favorites that are kept and used again."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from app.infra.http import json_writer
from app.infra.http.json_writer import JsonWriter, write_json
from tests import make
from tests.double.service import Service
from tests.http.client import bearer
from tests.http.expected_json import POLICY, exact, favorite_of, page_of
from tests.make import NOW


class TestKeptTexts:
    def test_are_used_for_the_same_object(self) -> None:
        writer, cached = JsonWriter(POLICY), make.cached_product(id=1)
        text = writer.product(cached, stale=False)
        assert writer.product(cached, stale=False) is text
        assert '"stale":true' in writer.product(cached, stale=True)
        assert writer.product(cached, stale=False) is text

    def test_are_shared_by_favorites_of_several_customers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[Any] = []

        def record(value: Any) -> str:
            written.append(value)
            return write_json(value)

        monkeypatch.setattr(json_writer, "write_json", record)
        writer, cached = JsonWriter(POLICY), make.cached_product(id=1)
        favorites = [
            make.favorite(product_id=1, when_favorited=make.snapshot(price="1.00"))
            for _ in range(2)
        ]
        texts = [
            writer.favorite(make.favorite_item(favorite=favorite, cached=cached), now=NOW)
            for favorite in favorites
            for _ in range(2)
        ]
        assert len({*texts}) == 1
        # The product, the snapshot and the change of the price, once each.
        assert len(written) == 3

    def test_are_not_used_for_another_object(self) -> None:
        writer, cached = JsonWriter(POLICY), make.cached_product(product=make.product(id=1))
        item = make.favorite_item(favorite=make.favorite(product_id=1), cached=cached)
        assert '"price":"695.00"' in writer.favorite(item, now=NOW)
        changed = replace(cached, product=make.product(id=1, price="1.00"))
        assert '"price":"1.00"' in writer.product(changed, stale=False)
        assert '"price":"1.00"' in writer.favorite(replace(item, cached=changed), now=NOW)
        assert '"price":"695.00"' in writer.favorite(item, now=NOW)
        rejected = replace(item, favorite=replace(item.favorite, rejected_at=NOW))
        assert '"reason":"not_in_catalog"' in writer.favorite(rejected, now=NOW)

    def test_become_stale(self) -> None:
        writer, cached = JsonWriter(POLICY), make.cached_product(id=1)
        item = make.favorite_item(favorite=make.favorite(product_id=1), cached=cached)
        for _ in range(2):
            for now, stale in (
                (NOW + POLICY.soft_ttl, "false"),
                (NOW + POLICY.soft_ttl + timedelta(microseconds=1), "true"),
            ):
                for text in (
                    writer.favorite(item, now=now),
                    writer.products([cached], now=now, next_url=None),
                ):
                    assert f'"stale":{stale}' in text

    def test_are_limited_in_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_writer, "KEPT", 2)
        writer = JsonWriter(POLICY)
        found = [
            make.favorite_item(
                favorite=make.favorite(
                    product_id=number, when_favorited=make.snapshot(price=price)
                ),
                cached=make.cached_product(id=number),
            )
            for number, price in ((1, "1.00"), (2, "2.00"), (3, "3.00"), (4, "4.00"))
        ]
        for _ in range(2):
            text = writer.favorites(found, now=NOW, next_url=None)
            assert exact(json.loads(text)) == exact(page_of(map(favorite_of, found), None))

    async def test_are_the_same_bytes_in_every_response(
        self, service: Service, client: httpx2.AsyncClient
    ) -> None:
        me = await bearer(client, await service.customer())
        await client.put("/customers/me/favorites/5", headers=me)
        paths = ("/customers/me/favorites", "/customers/me/favorites/5", "/products/5")
        before = {path: (await client.get(path, headers=me)).content for path in paths}
        for path in paths:
            assert (await client.get(path, headers=me)).content == before[path]
        service.catalog.put(make.product(id=5, price="1.00"))
        service.clock.advance(POLICY.soft_ttl + make.SECOND)
        await client.get("/products/5")
        await service.tasks.run()
        for path in paths:
            after = await client.get(path, headers=me)
            assert after.content != before[path]
            assert '"price":"1.00"' in after.text
