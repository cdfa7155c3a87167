"""The export of favorites as CSV, and the import of CSV and JSON."""

import csv
import io
from typing import Any

import httpx2
import pytest

from app.domain.customer import Customer
from app.infra.http.router import favorite_csv
from app.infra.http.router.favorite_csv import neutralize
from tests import make
from tests.double.service import Service
from tests.http.client import Headers, bearer

LIST = "/customers/me/favorites"
EXPORT, IMPORT = f"{LIST}.csv", f"{LIST}/import"


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.fixture
async def ana(service: Service) -> Customer:
    return await service.customer()


@pytest.fixture
async def me(client: httpx2.AsyncClient, ana: Customer) -> Headers:
    return await bearer(client, ana)


async def send(client: httpx2.AsyncClient, me: Headers, body: bytes | str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else body.encode()
    headers = {**me, "Content-Type": "text/csv"}
    return await client.post(IMPORT, headers=headers, content=content)


class TestExport:
    async def test_is_a_csv_file(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        title = 'Mochila, "grande"\r\nà prova d\'água'
        service.catalog.put(make.product(id=7, title=title, price="695.00"))
        await client.put(f"{LIST}/7", headers=me)
        service.clock.advance(make.SECOND)
        service.catalog.down = True
        await client.put(f"{LIST}/9", headers=me)
        response = await client.get(EXPORT, headers=me)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert response.headers["Content-Disposition"] == 'attachment; filename="favorites.csv"'
        assert response.headers["Cache-Control"] == "no-store"
        assert response.content.startswith(b"product_id,favorited_at,status,title,")
        assert b'"Mochila, ""grande""\r\n' in response.content
        pending, known = csv.DictReader(io.StringIO(response.text, newline=""))
        assert (pending["product_id"], pending["status"], pending["title"]) == ("9", "pending", "")
        assert known == {
            "product_id": "7",
            "favorited_at": "2026-11-20T12:00:00Z",
            "status": "available",
            "title": title,
            "price": "695.00",
            "category": "jewelery",
            "image": "https://catalog.test/img/5.jpg",
            "price_when_favorited": "695.00",
        }

    @pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
    async def test_neutralizes_formulas(
        self, client: httpx2.AsyncClient, service: Service, me: Headers, begin: str
    ) -> None:
        formula = f'{begin}HYPERLINK("https://evil.test";"x")'
        service.catalog.put(make.product(id=7, title=formula, category=formula, image=formula))
        await client.put(f"{LIST}/7", headers=me)
        text = (await client.get(EXPORT, headers=me)).text
        [row] = csv.DictReader(io.StringIO(text, newline=""))
        for column in ("title", "category", "image"):
            assert row[column] == f"'{formula}"

    def test_keeps_other_text(self) -> None:
        assert neutralize("A=B") == "A=B"
        assert neutralize("") == ""

    async def test_is_read_page_by_page(
        self,
        client: httpx2.AsyncClient,
        service: Service,
        me: Headers,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for product_id in (1, 5, 2):
            await client.put(f"{LIST}/{product_id}", headers=me)
            service.clock.advance(make.SECOND)
        whole = await client.get(EXPORT, headers=me)
        monkeypatch.setattr("app.infra.http.router.favorite_bulk.PAGE", 2)
        assert favorite_csv.PAGE > 2
        assert (await client.get(EXPORT, headers=me)).text == whole.text
        assert [line.partition(",")[0] for line in whole.text.splitlines()] == [
            "product_id",
            "2",
            "5",
            "1",
        ]

    async def test_of_an_unknown_customer_is_404(
        self, client: httpx2.AsyncClient, key: Headers
    ) -> None:
        path = f"/customers/{make.customer_id()}/favorites.csv"
        assert code(await client.get(path, headers=key)) == (404, "customer_not_found")


class TestImport:
    async def test_reports_line_by_line(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        await client.put(f"{LIST}/5", headers=me)
        lines = ["product_id", "1", "5", "99", "x", "1", '"2', '"', "", "2", "1,2"]
        response = await send(client, me, "\r\n".join(lines))
        assert response.status_code == 200
        wrong = {
            "code": "product_id",
            "detail": "A product id is a whole number from 1 to 2147483647.",
        }
        assert response.json() == {
            "items": [
                {"line": 2, "product_id": 1, "result": "added"},
                {"line": 3, "product_id": 5, "result": "already_present"},
                {"line": 4, "product_id": 99, "result": "product_not_found"},
                {"line": 5, "error": wrong},
                {
                    "line": 6,
                    "product_id": 1,
                    "error": {
                        "code": "duplicate",
                        "detail": "Line 2 already contains this product.",
                    },
                },
                {"line": 7, "error": wrong},
                {"line": 10, "product_id": 2, "result": "added"},
                {
                    "line": 11,
                    "error": {
                        "code": "cells",
                        "detail": "The number of cells differs from the header.",
                    },
                },
            ],
            "dry_run": False,
            "summary": {
                "lines": 8,
                "added": 2,
                "already_present": 1,
                "pending": 0,
                "product_not_found": 1,
                "favorites_full": 0,
                "too_many_pending": 0,
                "errors": 4,
            },
        }
        assert len((await client.get(LIST, headers=me)).json()["items"]) == 3

    async def test_accepts_an_export(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.put(make.product(id=7, title='=1+"\n",'), make.product(id=8))
        for product_id in (7, 8):
            await client.put(f"{LIST}/{product_id}", headers=me)
        file = (await client.get(EXPORT, headers=me)).content
        bia = await bearer(client, await service.customer(name="Bia Lima"))
        summary = (await send(client, bia, file)).json()["summary"]
        assert (summary["lines"], summary["added"]) == (2, 2)

    async def test_accepts_json(self, client: httpx2.AsyncClient, me: Headers) -> None:
        entries: list[Any] = [5, "5", 0, True, 1.0, None, [1], 5]
        response = await client.post(IMPORT, headers=me, json={"product_ids": entries})
        items = response.json()["items"]
        assert items[0] == {"line": 1, "product_id": 5, "result": "added"}
        assert [each["line"] for each in items] == list(range(1, 9))
        codes = [each["error"]["code"] for each in items[1:]]
        assert codes == [*["product_id"] * 6, "duplicate"]

    async def test_changes_nothing_in_a_dry_run(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        body = {"product_ids": [1, 99]}
        dry = await client.post(f"{IMPORT}?dry_run=true", headers=me, json=body)
        assert dry.json()["dry_run"] is True
        assert [each["result"] for each in dry.json()["items"]] == ["added", "product_not_found"]
        assert (await client.get(LIST, headers=me)).json()["items"] == []
        wet = await client.post(f"{IMPORT}?dry_run=false", headers=me, json=body)
        assert wet.json()["items"] == dry.json()["items"]
        for flag in ("1", "yes", "True", ""):
            response = await client.post(f"{IMPORT}?dry_run={flag}", headers=me, json=body)
            assert code(response) == (422, "validation_failed")

    async def test_applies_the_total_limit_in_a_dry_run(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        most = service.favorites_max
        service.catalog.put(*(make.product(id=number) for number in range(1, 2 * most)))
        await client.put(f"{LIST}/5", headers=me)
        body = {"product_ids": list(range(1, 2 * most))}
        dry = await client.post(f"{IMPORT}?dry_run=true", headers=me, json=body)
        wet = await client.post(IMPORT, headers=me, json=body)
        assert dry.json()["summary"] == wet.json()["summary"]
        assert dry.json()["items"] == wet.json()["items"]
        assert wet.json()["summary"]["favorites_full"] == most - 1

    async def test_applies_the_limit_of_pending_favorites_in_a_dry_run(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.down = True
        body = {"product_ids": list(range(1, 300))}
        dry = await client.post(f"{IMPORT}?dry_run=true", headers=me, json=body)
        wet = await client.post(IMPORT, headers=me, json=body)
        assert dry.json()["items"] == wet.json()["items"]
        assert wet.json()["summary"]["pending"] == service.pending_max
        assert len(service.catalog.found) + service.catalog.listed == 1

    async def test_calls_the_catalog_once(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.put(*(make.product(id=number) for number in range(1, 201)))
        body = {"product_ids": list(range(1, 1001))}
        response = await client.post(IMPORT, headers=me, json=body)
        summary = response.json()["summary"]
        assert summary == {
            "lines": 1000,
            "added": service.favorites_max,
            "already_present": 0,
            "pending": 0,
            "product_not_found": 800,
            "favorites_full": 200 - service.favorites_max,
            "too_many_pending": 0,
            "errors": 0,
        }
        assert service.catalog.calls == 1

    @pytest.mark.parametrize("newline", ["\r\n", "\n", "\r"])
    async def test_accepts_every_line_ending(
        self, client: httpx2.AsyncClient, me: Headers, newline: str
    ) -> None:
        body = newline.join(["\ufefftitle, product_id ", '"a', 'b",1', "c,5", ""])
        items = (await send(client, me, body)).json()["items"]
        assert [(each["line"], each["product_id"]) for each in items] == [(2, 1), (4, 5)]

    async def test_skips_lines_with_invalid_quotes(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        items = (await send(client, me, 'product_id\n"1"x\n5\n"2\n1')).json()["items"]
        assert [(each["line"], each.get("result")) for each in items] == [
            (2, None),
            (3, "added"),
            (4, None),
        ]
        assert items[0]["error"]["code"] == items[2]["error"]["code"] == "quotes"

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"product_id\n\xff", (400, "malformed_body")),
            ("product_id\n1".encode("utf-16"), (400, "malformed_body")),
            (b"product_id\n\xed\xa0\x80", (400, "malformed_body")),
            (b"product_id\n1\x00", (422, "validation_failed")),
            (b"", (422, "validation_failed")),
            (b"1\n5", (422, "validation_failed")),
            (b"product_id;title\n5;x", (422, "validation_failed")),
            (b"product_id,product_id\n5,1", (422, "validation_failed")),
            (b'"product_id', (422, "validation_failed")),
            (b"product_id\n" + b"1\n" * 1001, (422, "validation_failed")),
            (b"product_id\n" + b"1\n" * 33_000, (413, "body_too_large")),
        ],
    )
    async def test_refuses_invalid_files(
        self, client: httpx2.AsyncClient, me: Headers, body: bytes, problem: tuple[int, str]
    ) -> None:
        assert code(await send(client, me, body)) == problem

    async def test_accepts_a_thousand_lines(self, client: httpx2.AsyncClient, me: Headers) -> None:
        response = await send(client, me, b"product_id\n" + b"1\n" * 1000)
        assert response.json()["summary"]["lines"] == 1000
        header_only = await send(client, me, b"product_id\n")
        assert header_only.json()["items"] == []

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"", (400, "malformed_body")),
            (b"{", (400, "malformed_body")),
            (b'{"product_ids": [NaN]}', (400, "malformed_body")),
            (b'{"product_ids": [1], "product_ids": [2]}', (400, "malformed_body")),
            (b'{"product_ids": ["\\u0000"]}', (422, "validation_failed")),
            (b'{"product_ids": {"1": 1}}', (422, "validation_failed")),
            (b'{"product_ids": [1], "more": 1}', (422, "validation_failed")),
            (b"[1]", (422, "validation_failed")),
            (b"null", (422, "validation_failed")),
            (b"{}", (422, "validation_failed")),
        ],
    )
    async def test_refuses_invalid_json(
        self, client: httpx2.AsyncClient, me: Headers, body: bytes, problem: tuple[int, str]
    ) -> None:
        headers = {**me, "Content-Type": "application/json"}
        response = await client.post(IMPORT, headers=headers, content=body)
        assert code(response) == problem

    @pytest.mark.parametrize(
        "declared", ["", "text/plain", "text/csv; charset=iso-8859-1", "multipart/form-data"]
    )
    async def test_refuses_other_media_types(
        self, client: httpx2.AsyncClient, me: Headers, declared: str
    ) -> None:
        headers = {**me, "Content-Type": declared}
        response = await client.post(IMPORT, headers=headers, content=b"product_id\n5")
        assert code(response) == (415, "unsupported_media_type")

    async def test_accepts_parameters_of_the_media_type(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        headers = {**me, "Content-Type": 'Text/CSV; charset="UTF-8"; header=present'}
        response = await client.post(IMPORT, headers=headers, content=b"product_id\n5")
        assert response.json()["summary"]["added"] == 1

    async def test_of_an_unknown_customer_is_404(
        self, client: httpx2.AsyncClient, key: Headers
    ) -> None:
        path = f"/customers/{make.customer_id()}/favorites/import"
        response = await client.post(path, headers=key, json={"product_ids": [5]})
        assert code(response) == (404, "customer_not_found")
