"""The meaning of each response of the catalog."""

import asyncio
import gzip
import json
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.application.catalog.catalog_observer import CallOutcome, Operation
from app.domain.outcome import CatalogUnavailable
from app.domain.product import MAX_PRODUCT_ID, Product, ProductId
from app.infra.fakestore.options import CatalogOptions
from tests import make
from tests.integration.fakestore.upstream import (
    BODY,
    RecordingObserver,
    Scripted,
    answer,
    catalog_answered_by,
    product_json,
)

FIVE = ProductId(5)


async def _find(response: httpx2.Response, *, options: CatalogOptions | None = None) -> Any:
    """Return the product, None, or the outcome of the call that failed."""
    observer = RecordingObserver()
    catalog = catalog_answered_by(
        Scripted(response), observer=observer, options=options or CatalogOptions(max_tries=1)
    )
    try:
        return await catalog.find(FIVE)
    except CatalogUnavailable:
        [(operation, outcome, _)] = observer.calls
        assert operation is Operation.FIND
        return outcome


async def _list(response: httpx2.Response) -> Any:
    observer = RecordingObserver()
    catalog = catalog_answered_by(
        Scripted(response), observer=observer, options=CatalogOptions(max_tries=1)
    )
    try:
        return await catalog.list_all()
    except CatalogUnavailable:
        [(operation, outcome, _)] = observer.calls
        assert operation is Operation.LIST
        return outcome


class TestFind:
    async def test_returns_the_product(self) -> None:
        assert await _find(answer(product_json())) == make.product(id=5)

    @pytest.mark.parametrize(
        ("literal", "price"),
        [
            ("0", "0.00"),
            ("-0", "0.00"),
            ("-0.0", "0.00"),
            ("22.3", "22.30"),
            ("109.95", "109.95"),
            ("0.1", "0.10"),
            ("64.999", "65.00"),
            ("0.005", "0.01"),
            ("1e3", "1000.00"),
            ("1e-9999", "0.00"),
            ("9999999999.99", "9999999999.99"),
        ],
    )
    async def test_parses_the_price_exactly(self, literal: str, price: str) -> None:
        body = product_json(price="PRICE").replace('"PRICE"', literal)
        product = await _find(answer(body))
        assert str(product.price) == price

    @pytest.mark.parametrize(
        "literal",
        [
            "-1",
            "-0.001",
            "1e10",
            "9999999999.999",
            "10000000000",
            "1e9999",
            "1e99999999999999999999999999",
            "1" * 5_000,
            "NaN",
            "Infinity",
            "-Infinity",
            "true",
            "null",
            '"109.95"',
            "[109.95]",
            "{}",
        ],
    )
    async def test_rejects_the_price(self, literal: str) -> None:
        body = product_json(price="PRICE").replace('"PRICE"', literal)
        assert await _find(answer(body)) is CallOutcome.GARBAGE

    async def test_trims_titles_and_categories(self) -> None:
        product = await _find(answer(product_json(title=" Mens Shirt  ", category="men ")))
        assert (product.title, product.category) == ("Mens Shirt", "men")

    @pytest.mark.parametrize("rating", [None, ...])
    async def test_has_no_rating_without_one(self, rating: object) -> None:
        product = await _find(answer(product_json(rating=rating)))
        assert product == make.product(id=5, rating=None)

    async def test_accepts_the_limits_of_a_rating(self) -> None:
        product = await _find(answer(product_json(rating={"rate": 5, "count": 0})))
        assert product.rating == make.rating("5", count=0)
        assert product.rating.rate == Decimal("5.00")

    async def test_accepts_unknown_members(self) -> None:
        assert await _find(answer(product_json(brand={"a": ["\0"]}))) == make.product(id=5)

    async def test_accepts_an_empty_description(self) -> None:
        assert (await _find(answer(product_json(description="")))).description == ""

    async def test_accepts_a_compressed_body(self) -> None:
        body = gzip.compress(product_json().encode())
        response = answer(body, headers={"Content-Encoding": "GZip"})
        assert await _find(response) == make.product(id=5)

    @pytest.mark.parametrize(
        "response",
        [
            answer("null"),
            answer(" null\n"),
            answer(""),
            answer("", headers={"Content-Encoding": "gzip"}),
            answer(gzip.compress(b""), headers={"Content-Encoding": "gzip"}),
            answer("", status=404),
            answer("<html>gone</html>", status=404),
        ],
    )
    async def test_returns_none_for_an_absent_product(self, response: httpx2.Response) -> None:
        assert await _find(response) is None

    @pytest.mark.parametrize(
        "changes",
        [
            *({name: ...} for name in BODY if name != "rating"),
            *({name: None} for name in BODY if name != "rating"),
            *({name: [BODY[name]]} for name in BODY),
            {"id": 6},
            {"id": 5.0},
            {"id": "5"},
            {"id": True},
            {"id": 0},
            {"id": MAX_PRODUCT_ID + 1},
            {"title": ""},
            {"title": "   "},
            {"title": "x" * 501},
            {"title": 7},
            {"title": "a\0b"},
            {"title": "a\ud800b"},
            {"description": "a\0b"},
            {"description": "a\udfffb"},
            {"description": "x" * 10_001},
            {"category": "\0"},
            {"category": "x" * 101},
            {"category": ""},
            {"image": ""},
            {"image": "/img/5.jpg"},
            {"image": "javascript:alert(1)"},
            {"image": "ftp://catalog.test/5.jpg"},
            {"image": "https://"},
            {"image": "https://[::1"},
            {"image": "https://catalog.test/a b.jpg"},
            {"image": "https://catalog.test/a\nb.jpg"},
            {"image": "https://catalog.test/" + "x" * 2_048},
            {"rating": {}},
            {"rating": 4.6},
            {"rating": {"rate": 4.6}},
            {"rating": {"rate": 5.1, "count": 1}},
            {"rating": {"rate": -0.1, "count": 1}},
            {"rating": {"rate": True, "count": 1}},
            {"rating": {"rate": "4.6", "count": 1}},
            {"rating": {"rate": 4.6, "count": -1}},
            {"rating": {"rate": 4.6, "count": 1.0}},
            {"rating": {"rate": 4.6, "count": True}},
            {"rating": {"rate": 4.6, "count": 2**31}},
        ],
        ids=repr,
    )
    async def test_rejects_invalid_members(self, changes: dict[str, object]) -> None:
        assert await _find(answer(product_json(**changes))) is CallOutcome.GARBAGE

    @pytest.mark.parametrize(
        "body",
        [
            "{}",
            "[]",
            '""',
            "false",
            "0",
            " ",
            "\n",
            "<html><body>Welcome</body></html>",
            product_json()[:-1],
            product_json() + "x",
            f"[{product_json()}]",
            b"\xef\xbb\xbf" + product_json().encode(),
            product_json().encode("utf-16"),
            b"\xff",
            product_json(title="TITLE").encode().replace(b"TITLE", b"\xed\xa0\x80"),
            "[" * 100_000,
            '{"a":' * 100_000,
        ],
    )
    async def test_rejects_other_documents(self, body: str | bytes) -> None:
        assert await _find(answer(body)) is CallOutcome.GARBAGE

    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            (201, CallOutcome.UNEXPECTED_STATUS),
            (204, CallOutcome.UNEXPECTED_STATUS),
            (206, CallOutcome.UNEXPECTED_STATUS),
            (301, CallOutcome.UNEXPECTED_STATUS),
            (302, CallOutcome.UNEXPECTED_STATUS),
            (304, CallOutcome.UNEXPECTED_STATUS),
            (307, CallOutcome.UNEXPECTED_STATUS),
            (400, CallOutcome.UNEXPECTED_STATUS),
            (401, CallOutcome.UNEXPECTED_STATUS),
            (403, CallOutcome.UNEXPECTED_STATUS),
            (410, CallOutcome.UNEXPECTED_STATUS),
            (429, CallOutcome.RATE_LIMITED),
            (500, CallOutcome.SERVER_ERROR),
            (503, CallOutcome.SERVER_ERROR),
            (599, CallOutcome.SERVER_ERROR),
        ],
    )
    async def test_rejects_other_statuses(self, status: int, outcome: CallOutcome) -> None:
        assert await _find(answer(product_json(), status=status)) is outcome

    async def test_returns_none_for_an_empty_body_of_unknown_length(self) -> None:
        response = answer("")
        del response.headers["Content-Length"]
        assert await _find(response) is None

    @pytest.mark.parametrize("kept", [1, 5, 10, 30])
    async def test_rejects_a_truncated_compressed_body(self, kept: int) -> None:
        body = gzip.compress(product_json().encode())[:kept]
        response = answer(body, headers={"Content-Encoding": "gzip"})
        assert await _find(response) is CallOutcome.GARBAGE

    @pytest.mark.parametrize(
        ("body", "encoding"),
        [
            (b"not gzip", "gzip"),
            (gzip.compress(product_json().encode()) + b"more", "gzip"),
            (product_json().encode(), "br"),
            (product_json().encode(), "gzip, gzip"),
        ],
    )
    async def test_rejects_other_encodings(self, body: bytes, encoding: str) -> None:
        response = answer(body, headers={"Content-Encoding": encoding})
        assert await _find(response) is CallOutcome.GARBAGE

    async def test_accepts_a_body_up_to_the_limit(self) -> None:
        body = product_json()
        for limit, expected in (
            (len(body), make.product(id=5)),
            (len(body) - 1, CallOutcome.TOO_LARGE),
        ):
            options = CatalogOptions(max_body_bytes=limit)
            assert await _find(answer(body), options=options) == expected
            packed = answer(gzip.compress(body.encode()), headers={"Content-Encoding": "gzip"})
            assert await _find(packed, options=options) == expected

    @given(body=st.binary())
    def test_handles_any_bytes(self, body: bytes) -> None:
        asyncio.run(_check(body))

    @given(
        document=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_handles_any_json(self, document: object) -> None:
        asyncio.run(_check(json.dumps(document).encode()))

    @given(
        changes=st.fixed_dictionaries(
            {},
            optional={
                name: st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text(st.characters(exclude_categories=()))
                | st.dictionaries(st.sampled_from(["rate", "count"]), st.integers() | st.floats())
                for name in BODY
            },
        )
    )
    def test_handles_any_product(self, changes: dict[str, object]) -> None:
        asyncio.run(_check(product_json(**changes).encode()))


async def _check(body: bytes) -> None:
    found = await _find(answer(body))
    assert found is None or isinstance(found, Product | CallOutcome)
    listed = await _list(answer(body))
    assert isinstance(listed, list | CallOutcome)
    if isinstance(found, Product):
        assert found.id == FIVE
        assert found.title == found.title.strip() != ""
        assert 0 <= found.price < 10**10
        assert found.price.as_tuple().exponent == -2
        (found.title + found.description + found.category + found.image).encode()


class TestListAll:
    async def test_returns_all_products(self) -> None:
        body = f"[{product_json()},{product_json(id=6, price=0.5)}]"
        expected = [make.product(id=5), make.product(id=6, price="0.50")]
        assert await _list(answer(body)) == expected

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "null",
            "[]",
            "{}",
            product_json(),
            "[null]",
            f"[{product_json()},null]",
            f"[{product_json()},{{}}]",
            f"[{product_json()},{product_json(price=1)}]",
            f"[{product_json()},{product_json(id=6, price=-1)}]",
        ],
    )
    async def test_rejects_an_incomplete_list(self, body: str) -> None:
        assert await _list(answer(body)) is CallOutcome.GARBAGE

    async def test_rejects_a_missing_catalog(self) -> None:
        assert await _list(answer("[]", status=404)) is CallOutcome.UNEXPECTED_STATUS
