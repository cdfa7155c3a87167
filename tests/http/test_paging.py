import base64
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.page import DEFAULT_LIMIT, MAX_LIMIT
from app.infra.http.openapi import operations
from app.infra.http.paging import CursorCodec
from app.infra.http.problem import InvalidCursor
from tests.double.service import Service
from tests.http.client import bearer, build

positions = st.lists(st.none() | st.text(st.characters(codec="utf-8")), max_size=4).map(tuple)
OLD, NEW = b"o" * 32, b"n" * 32


class TestCursorCodec:
    @given(positions, st.text(st.characters(codec="utf-8")))
    def test_decodes_what_it_encoded(self, position: tuple[str | None, ...], context: str) -> None:
        codec = CursorCodec([NEW])
        assert codec.decode(codec.encode(position, context=context), context=context) == position

    @given(positions, st.data())
    def test_refuses_modified_cursors(
        self, position: tuple[str | None, ...], data: st.DataObject
    ) -> None:
        codec = CursorCodec([NEW])
        cursor = codec.encode(position, context="list")
        at = data.draw(st.integers(0, len(cursor) - 1))
        letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcxyz0189-_=é \n"))
        changed = cursor[:at] + letter + cursor[at + 1 :]
        if changed != cursor:
            with pytest.raises(InvalidCursor):
                codec.decode(changed, context="list")

    @given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
    def test_refuses_arbitrary_text(self, cursor: str) -> None:
        with pytest.raises(InvalidCursor):
            CursorCodec([NEW]).decode(cursor, context="list")

    @given(positions)
    def test_refuses_cursors_of_another_context(self, position: tuple[str | None, ...]) -> None:
        codec = CursorCodec([NEW])
        with pytest.raises(InvalidCursor):
            codec.decode(codec.encode(position, context="one"), context="another")

    def test_accepts_previous_keys(self) -> None:
        cursor = CursorCodec([OLD]).encode(("a",), context="list")
        assert CursorCodec([NEW, OLD]).decode(cursor, context="list") == ("a",)
        with pytest.raises(InvalidCursor):
            CursorCodec([NEW]).decode(cursor, context="list")


class TestPages:
    @pytest.fixture
    async def names(self, service: Service) -> list[str]:
        return [(await service.customer(name=f"Ana {number:02}")).name for number in range(7)]

    async def test_are_linked(
        self, client: httpx2.AsyncClient, key: dict[str, str], names: list[str]
    ) -> None:
        seen, url = [], "/customers?sort=name&limit=3&name=ana+0"
        while url:
            body = (await client.get(url, headers=key)).json()
            assert len(body["items"]) <= 3
            seen += [each["name"] for each in body["items"]]
            url = body.get("next")
            assert "next" not in body or url.startswith("/customers?")
        assert seen == names

    @pytest.mark.parametrize(
        "other",
        ["/customers?sort=email&limit=3", "/customers?sort=name&limit=3&name=b", "/customers"],
    )
    async def test_belong_to_one_list(
        self, client: httpx2.AsyncClient, key: dict[str, str], names: list[str], other: str
    ) -> None:
        first = (await client.get("/customers?sort=name&limit=3", headers=key)).json()
        cursor = httpx2.URL(first["next"]).params["cursor"]
        response = await client.get(
            httpx2.URL(other).copy_merge_params({"cursor": cursor}), headers=key
        )
        assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")

    async def test_belong_to_one_customer(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        """The path `me` is the same for all customers."""
        ana, bia = await service.customer(), await service.customer()
        path = "/customers/me/favorites"
        as_ana, as_bia = await bearer(client, ana), await bearer(client, bia)
        for headers in (as_ana, as_bia):
            await client.post(f"{path}/batch", headers=headers, json={"add": [1, 2, 5]})
        for first in (f"{path}?limit=1", "/customers/me/profile?limit=1"):
            body = (await client.get(first, headers=as_ana)).json()
            url = body.get("favorites", body)["next"]
            response = await client.get(url, headers=as_bia)
            assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")
            for same in (url, url.replace("/me/", f"/{ana.id}/")):
                assert (await client.get(same, headers=as_ana)).status_code == 200
            for other in (f"{url}&sort=price", f"{url}&q=a", f"{url}&category=b"):
                response = await client.get(other, headers=as_ana)
                assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")

    @pytest.mark.parametrize("cursor", ["", "x", "é", "A" * 5000, "'; drop table"])
    async def test_refuse_invalid_cursors(self, client: httpx2.AsyncClient, cursor: str) -> None:
        response = await client.get("/products", params={"cursor": cursor})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")

    async def test_may_change_their_size(
        self, client: httpx2.AsyncClient, key: dict[str, str], names: list[str]
    ) -> None:
        first = (await client.get("/customers?sort=name&limit=3", headers=key)).json()
        rest = httpx2.URL(first["next"]).copy_set_param("limit", "100")
        assert len((await client.get(rest, headers=key)).json()["items"]) == len(names) - 3


DOCUMENT = build(Service()).openapi()
LIMITED = [
    (operation["operationId"], path, parameter["schema"])
    for path, _, operation in operations(DOCUMENT)
    for parameter in operation.get("parameters", ())
    if parameter["name"] == "limit"
]


def is_paged(operation: dict[str, Any]) -> bool:
    """Tell whether the documented response has a link to the next page."""
    content = operation["responses"].get("200", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = DOCUMENT["components"]["schemas"].get(reference.rpartition("/")[2], {})
    return "next" in schema.get("properties", {})


class TestLimit:
    def test_is_a_parameter_of_every_page(self) -> None:
        paged = {each["operationId"] for _, _, each in operations(DOCUMENT) if is_paged(each)}
        assert paged >= {"list_customers", "list_favorites", "list_products"}
        assert paged | {"list_popular", "read_profile"} <= {name for name, _, _ in LIMITED}

    @pytest.mark.parametrize(("operation", "path", "schema"), LIMITED)
    async def test_is_validated_as_documented(
        self,
        client: httpx2.AsyncClient,
        service: Service,
        key: dict[str, str],
        operation: str,
        path: str,
        schema: dict[str, Any],
    ) -> None:
        assert (schema["minimum"], schema["maximum"]) == (1, MAX_LIMIT)
        assert schema["default"] == DEFAULT_LIMIT
        ana = await service.customer()
        as_ana = await bearer(client, ana)
        for caller, target in ((as_ana, "me"), (key, ana.id)):
            headers = key if operation == "list_customers" else caller
            url = path.format(id=target)
            for limit, status in (
                (schema["minimum"] - 1, 422),
                (schema["minimum"], 200),
                (schema["maximum"], 200),
                (schema["maximum"] + 1, 422),
            ):
                response = await client.get(url, params={"limit": limit}, headers=headers)
                assert response.status_code == status
                if status == 422:
                    [fault] = response.json()["errors"]
                    assert fault["pointer"] == "/query/limit"

    async def test_is_the_largest_size_of_a_page(
        self, client: httpx2.AsyncClient, service: Service, key: dict[str, str]
    ) -> None:
        for _ in range(MAX_LIMIT + 1):
            await service.customer()
        for query, size in (("", DEFAULT_LIMIT), (f"?limit={MAX_LIMIT}", MAX_LIMIT)):
            response = await client.get(f"/customers{query}", headers=key)
            assert len(response.json()["items"]) == size
