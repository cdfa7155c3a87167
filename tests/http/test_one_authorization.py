"""All operations on customers are authorized by one function, and share the router's guards."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import APIRouter, Depends
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute

from app.domain.access import Principal, Scope
from app.domain.customer import CustomerId, Role
from app.domain.outcome import AdminOnly
from app.infra.http import api as api_module
from app.infra.http.access import CustomerAccess
from app.infra.http.route import DirectRoute, Router
from app.infra.http.router import customers, favorite_bulk, favorites
from tests.double.service import Service
from tests.http.client import Headers, api_key, bearer, build, connect
from tests.http.test_access_matrix import ACTORS, MATRIX, OPERATIONS

DETAIL = "Refused by the test."
KEY = "key with the scope"
OF_CUSTOMERS = sorted(op for op, (_, path) in OPERATIONS.items() if path.startswith("/customers"))
OTHERS = sorted({*OPERATIONS} - {*OF_CUSTOMERS})


@dataclass(frozen=True, kw_only=True)
class World:
    """A service with a customer who has a favorite, and the credentials of three callers."""

    client: httpx2.AsyncClient
    customer_id: CustomerId
    headers: dict[str, Headers]

    async def request(
        self, operation: str, caller: str, *, target: str | None = None
    ) -> httpx2.Response:
        method, path = OPERATIONS[operation]
        row = MATRIX[operation]
        url = path.format(id=target or self.customer_id, product_id=5, session=UUID(int=1))
        return await self.client.request(
            method, url, params=row.query, json=row.body, headers=self.headers[caller]
        )


@pytest.fixture
async def world(service: Service) -> AsyncIterator[World]:
    ana = await service.customer()
    async with connect(build(service)) as client:
        headers = {
            "oneself": await bearer(client, ana),
            "admin": await bearer(client, await service.customer(role=Role.ADMIN)),
            "key": await api_key(service, *Scope),
        }
        await client.put("/customers/me/favorites/5", headers=headers["oneself"])
        yield World(client=client, customer_id=ana.id, headers=headers)


def refusing(
    principal: Principal, target: UUID | str | None, scope: Scope | None
) -> CustomerId | None:
    """Refuse every caller, in place of `authorize`."""
    raise AdminOnly(DETAIL)


def is_refused(response: httpx2.Response) -> bool:
    if response.status_code != 403:
        return False
    body = response.json()
    return (body["code"], body["detail"]) == ("admin_only", DETAIL)


class TestAuthorize:
    def test_is_for_every_operation_on_customers(self) -> None:
        assert len(OF_CUSTOMERS) >= 20
        assert {"list_customers", "list_favorites", "export_customer"} <= {*OF_CUSTOMERS}

    @pytest.mark.parametrize("caller", ["oneself", "admin", "key"])
    @pytest.mark.parametrize("operation", OF_CUSTOMERS)
    async def test_decides_every_operation_on_customers(
        self, world: World, monkeypatch: pytest.MonkeyPatch, operation: str, caller: str
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("app.infra.http.access.authorize", refusing)
            assert is_refused(await world.request(operation, caller))
            assert is_refused(await world.request(operation, caller, target="me"))
        assert not is_refused(await world.request(operation, caller))

    @pytest.mark.parametrize(("caller", "actor"), [("oneself", "oneself"), ("key", KEY)])
    @pytest.mark.parametrize("operation", OTHERS)
    async def test_does_not_affect_other_operations(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        operation: str,
        caller: str,
        actor: str,
    ) -> None:
        monkeypatch.setattr("app.infra.http.access.authorize", refusing)
        response = await world.request(operation, caller)
        assert not is_refused(response)
        assert response.status_code == MATRIX[operation].statuses[ACTORS.index(actor)]


VARIANTS = [
    ("oneself", "/customers/me/favorites"),
    ("oneself", "/customers/{id}/favorites"),
    ("oneself", "/customers/me/favorites?limit=1"),
    ("oneself", "/customers/me/favorites?cursor={cursor}"),
    ("oneself", "/customers/me/favorites?limit=1&cursor={cursor}"),
    ("oneself", "/customers/me/favorites?sort=price"),
    ("oneself", "/customers/me/favorites?category=jewelery"),
    ("oneself", "/customers/me/favorites?q=chain"),
    ("oneself", "/customers/me/favorites?unknown=1"),
    ("oneself", "/customers/me/favorites?limit=0"),
    ("key", "/customers/{id}/favorites"),
    ("key", "/customers/{id}/favorites?limit=1"),
    ("admin", "/customers/{id}/favorites"),
    ("admin", "/customers/{id}/favorites?sort=title"),
    ("oneself", "/customers/me/favorites/5"),
    ("oneself", "/customers/me/favorites/contains?product_ids=5"),
    ("oneself", "/customers/me/favorites/changes"),
    ("oneself", "/customers/me/favorites.csv"),
    ("oneself", "/customers/me/profile"),
    ("key", "/customers/{id}/profile?limit=1"),
]


async def refuse() -> None:
    """Refuse every request; a dependency."""
    raise AdminOnly(DETAIL)


def rebuilt(router: APIRouter, access: CustomerAccess, *dependencies: Dependency) -> Router:
    """Return a router with the same endpoints, and with dependencies."""
    other = Router(prefix=router.prefix, tags=[], access=access, dependencies=dependencies)
    for route in router.routes:
        assert isinstance(route, APIRoute)
        other.add_api_route(
            route.path.removeprefix(router.prefix),
            route.endpoint,
            methods=route.methods,
            response_model=None,
            operation_id=route.operation_id,
        )
    return other


class TestRouterDependency:
    """What a change such as `Router(…, dependencies=[Depends(refuse)])` affects."""

    @pytest.fixture
    def routers(self) -> list[Router]:
        return [
            rebuilt(favorites.router, favorites.FAVORITES, Depends(refuse)),
            rebuilt(favorite_bulk.router, favorites.FAVORITES, Depends(refuse)),
        ]

    def test_is_on_direct_and_on_ordinary_routes(self, routers: list[Router]) -> None:
        direct = {isinstance(route, DirectRoute) for each in routers for route in each.routes}
        assert direct == {True, False}

    @pytest.mark.parametrize(("caller", "path"), VARIANTS)
    async def test_applies_to_every_variant_of_a_request(
        self,
        service: Service,
        world: World,
        routers: list[Router],
        monkeypatch: pytest.MonkeyPatch,
        caller: str,
        path: str,
    ) -> None:
        headers = world.headers
        await world.client.put("/customers/me/favorites/1", headers=headers["oneself"])
        page = await world.client.get(
            "/customers/me/favorites?limit=1", headers=headers["oneself"]
        )
        cursor = httpx2.URL(page.json()["next"]).params["cursor"]
        url = path.format(id=world.customer_id, cursor=cursor)
        before = await world.client.get(url, headers=headers[caller])
        assert before.status_code == (422 if "limit=0" in path else 200)
        use_routes(monkeypatch, *routers)
        async with connect(build(service)) as client:
            assert is_refused(await client.get(url, headers=headers[caller]))
            anonymous = await client.get(url)
        assert anonymous.json()["code"] == "missing_credentials"

    @pytest.mark.parametrize(
        "operation", sorted(op for op in OF_CUSTOMERS if "favorite" in op or "profile" in op)
    )
    async def test_applies_to_every_operation(
        self,
        service: Service,
        world: World,
        routers: list[Router],
        monkeypatch: pytest.MonkeyPatch,
        operation: str,
    ) -> None:
        use_routes(monkeypatch, *routers)
        async with connect(build(service)) as client:
            for caller in ("oneself", "admin", "key"):
                guarded = World(
                    client=client, customer_id=world.customer_id, headers=world.headers
                )
                assert is_refused(await guarded.request(operation, caller))

    async def test_runs_around_the_endpoint(
        self, service: Service, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[str] = []

        async def surround() -> AsyncIterator[None]:
            events.append("enter")
            yield
            events.append("exit")

        list_favorites = service.use_cases.queries.list_favorites

        async def record(*args: Any, **options: Any) -> Any:
            events.append("read")
            return await list_favorites(*args, **options)

        monkeypatch.setattr(service.use_cases.queries, "list_favorites", record)
        for router in (favorites.router, favorite_bulk.router):
            use_routes(monkeypatch, rebuilt(router, favorites.FAVORITES, Depends(surround)))
            path = "" if router is favorites.router else ".csv"
            async with connect(build(service)) as client:
                response = await client.get(
                    f"/customers/me/favorites{path}", headers=world.headers["oneself"]
                )
            assert response.status_code == 200
        assert events == ["enter", "read", "exit"] * 2


def use_routes(monkeypatch: pytest.MonkeyPatch, *routers: Router) -> None:
    """Build applications with these routers, and the other routers of customers."""
    kept = [route for router in customers.routers for route in router.routes]
    routes = [route for router in routers for route in router.routes]
    monkeypatch.setattr(api_module, "_ROUTES", [*routes, *kept])
