"""A service with customers and favorites, and requests of several callers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from app.domain.access import Scope
from app.domain.customer import Role
from tests.double.service import Service
from tests.http.client import API_KEY, Headers, api_key, bearer, build, connect

LIST = "/customers/me/favorites"
PENDING = 77
UNKNOWN = 999


@dataclass(frozen=True, kw_only=True)
class World:
    """A service with customers; Ana has four favorites, one of them pending."""

    service: Service
    client: httpx2.AsyncClient
    ids: Mapping[str, str]
    headers: Mapping[str, Headers]

    async def request(
        self, method: str, path: str, caller: str = "ana", **headers: str
    ) -> httpx2.Response:
        path = path.format(**self.ids)
        return await self.client.request(method, path, headers={**self.headers[caller], **headers})

    def by_id(self, path: str, name: str = "ana") -> str:
        """Return the path with the UUID of a customer instead of `me`."""
        return path.replace("/me/", f"/{self.ids[name]}/")


@asynccontextmanager
async def favorites_world(service: Service) -> AsyncIterator[World]:
    """Set up a world, with credentials that are valid and credentials that are not."""
    ana, bia = await service.customer(), await service.customer(name="Bia")
    async with connect(build(service)) as client:
        as_ana = await bearer(client, ana)
        ended = await bearer(client, ana)
        await client.post("/auth/sign-out", headers=ended)
        token = as_ana["Authorization"].removeprefix("Bearer ")
        headers = {
            "ana": as_ana,
            "cookie": {"Cookie": f"access_token={token}"},
            "ended": ended,
            "bia": await bearer(client, bia),
            "admin": await bearer(client, await service.customer(role=Role.ADMIN)),
            "key": await api_key(service, Scope.FAVORITES_READ, Scope.FAVORITES_WRITE),
            "other key": await api_key(service, Scope.CUSTOMERS_READ, Scope.CUSTOMERS_WRITE),
            "anonymous": {},
            "malformed": {"Authorization": "Bearer abc"},
            "several": {**as_ana, API_KEY: "aiq_x_" + "0" * 64},
        }
        for number in (1, 2, 5):
            await client.put(f"{LIST}/{number}", headers=as_ana)
        service.catalog.down = True
        await client.put(f"{LIST}/{PENDING}", headers=as_ana)
        service.catalog.down = False
        # Fill the cache: the list of the catalog, and a product that does not exist.
        await client.get("/products")
        await client.get(f"/products/{UNKNOWN}")
        ids = {"ana": str(ana.id), "bia": str(bia.id), "ANA": str(ana.id).upper()}
        yield World(service=service, client=client, ids=ids, headers=headers)


def problem(response: httpx2.Response) -> tuple[int, str]:
    """Return the status and the code of a problem."""
    return response.status_code, response.json()["code"]
