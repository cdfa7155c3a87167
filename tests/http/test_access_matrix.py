"""
Authorization of every operation for every kind of caller.

An operation without a row fails: adding one requires a decision about who may call it.
"""

import threading
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest

from app.domain.access import Scope
from app.domain.customer import Customer, Role
from app.domain.product import ProductId
from app.infra.http.openapi import operations
from tests import make
from tests.double.service import PASSWORD, Service
from tests.http.client import Headers, api_key, bearer, build, connect

ACTORS = ["anonymous", "oneself", "another", "admin", "key with the scope", "key without it"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The status for each of the `ACTORS`, in their order; without `scope` not for API keys."""

    statuses: tuple[int, int, int, int, int, int]
    scope: Scope | None = None
    body: dict[str, Any] | None = field(default=None)
    query: dict[str, str] = field(default_factory=dict)


def public(status: int, body: dict[str, Any] | None = None) -> Row:
    return Row(statuses=(status,) * 6, body=body)


def owned(status: int, scope: Scope, body: dict[str, Any] | None = None) -> Row:
    return Row(statuses=(401, status, 404, status, status, 403), scope=scope, body=body)


def private(status: int) -> Row:
    return Row(statuses=(401, status, 404, status, 403, 403))


NEW = {"name": "Caio", "email": "caio@example.com", "password": "uma senha bem longa"}
PASSWORDS = {"current_password": PASSWORD, "new_password": "uma senha bem longa"}
CUSTOMERS_READ, CUSTOMERS_WRITE = Scope.CUSTOMERS_READ, Scope.CUSTOMERS_WRITE
FAVORITES_READ, FAVORITES_WRITE = Scope.FAVORITES_READ, Scope.FAVORITES_WRITE

MATRIX = {
    "sign_up": public(201, NEW),
    "sign_in": public(401, {"email": "nobody@example.com", "password": "a guess"}),
    # Needs a refresh token, which no actor has.
    "refresh_session": public(401),
    "exchange_api_key": Row(statuses=(401, 401, 401, 401, 200, 200)),
    "sign_out": Row(statuses=(401, 204, 204, 204, 403, 403)),
    "list_customers": Row(statuses=(401, 403, 403, 200, 200, 403), scope=CUSTOMERS_READ),
    "create_customer": Row(
        statuses=(401, 403, 403, 201, 201, 403), scope=CUSTOMERS_WRITE, body=NEW
    ),
    "read_customer": owned(200, CUSTOMERS_READ),
    "change_customer": owned(200, CUSTOMERS_WRITE, {"name": "Lia"}),
    "delete_customer": owned(204, CUSTOMERS_WRITE),
    "change_password": Row(statuses=(401, 204, 404, 404, 403, 403), body=PASSWORDS),
    "list_sessions": private(200),
    "end_all_sessions": private(204),
    "end_session": private(204),
    "export_customer": private(200),
    "list_favorites": owned(200, FAVORITES_READ),
    "export_favorites": owned(200, FAVORITES_READ),
    "read_favorite_changes": owned(200, FAVORITES_READ),
    "change_favorites": owned(200, FAVORITES_WRITE, {"add": [1], "remove": [5]}),
    "import_favorites": owned(200, FAVORITES_WRITE, {"product_ids": [1, 5]}),
    "restore_favorite": owned(200, FAVORITES_WRITE),
    "contains_favorites": replace(owned(200, FAVORITES_READ), query={"product_ids": "5"}),
    "read_favorite": owned(200, FAVORITES_READ),
    "read_profile": owned(200, FAVORITES_READ),
    "favorite_product": owned(200, FAVORITES_WRITE),
    "favorite_product_by_post": owned(200, FAVORITES_WRITE),
    "remove_favorite": owned(204, FAVORITES_WRITE),
    "list_products": public(200),
    "list_popular": public(200),
    "read_product": public(200),
    "read_price_history": public(200),
    "live": public(200),
    "ready": public(200),
}

OPERATIONS = {
    operation["operationId"]: (method, path)
    for path, method, operation in operations(build(Service()).openapi())
}


def test_has_a_row_for_every_operation() -> None:
    assert set(MATRIX) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "actor"),
    [
        (operation, actor)
        for operation, (_, path) in sorted(OPERATIONS.items())
        for actor in ("admin", "key with the scope")
        if "{id}" in path and MATRIX[operation].statuses[ACTORS.index(actor)] < 400
    ],
)
async def test_unknown_customer_is_not_found(service: Service, operation: str, actor: str) -> None:
    row = MATRIX[operation]
    method, path = OPERATIONS[operation]
    async with connect(build(service)) as client:
        service.catalog.put(make.product(id=5))
        response = await client.request(
            method,
            path.format(id=make.customer_id(), product_id=5, session=make.uuid()),
            params=row.query,
            json=row.body,
            headers=await credentials(client, service, actor, row),
        )
    assert response.status_code == 404, response.text


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
async def test_matrix(service: Service, operation: str, actor: str) -> None:
    row = MATRIX[operation]
    method, path = OPERATIONS[operation]
    async with connect(build(service)) as client:
        ana = await service.customer(name="Ana Souza")
        as_ana = await bearer(client, ana)
        await client.put("/customers/me/favorites/5", headers=as_ana)
        [session] = (await client.get("/customers/me/sessions", headers=as_ana)).json()["items"]
        url = path.format(id=ana.id, product_id=5, session=session["id"])
        response = await client.request(
            method,
            url,
            params=row.query,
            json=row.body,
            headers=as_ana
            if actor == "oneself"
            else await credentials(client, service, actor, row),
        )
    assert response.status_code == row.statuses[ACTORS.index(actor)], response.text
    assert not [each for each in threading.enumerate() if each.name.startswith("AnyIO")], (
        "a dependency that is not async uses a thread for every request"
    )
    if response.status_code >= 400:
        assert await untouched(service, ana)
        assert ana.email.value not in response.text


async def credentials(
    client: httpx2.AsyncClient, service: Service, actor: str, row: Row
) -> Headers:
    """Return the header fields of an actor other than the customer."""
    match actor:
        case "another":
            return await bearer(client, await service.customer(name="Bia Lima"))
        case "admin":
            return await bearer(client, await service.customer(role=Role.ADMIN))
        case "key with the scope":
            return await api_key(service, *(Scope if row.scope is None else [row.scope]))
        case "key without it":
            return await api_key(service, *(set(Scope) - {row.scope}))
        case _:
            return {}


async def untouched(service: Service, customer: Customer) -> bool:
    """Tell whether a refusal left the customer and their favorite unchanged."""
    queries = service.use_cases.queries
    found = await queries.find_favorite(customer.id, ProductId(5))
    return await queries.find_customer(customer.id) == customer and found.item is not None
