"""Those who use the service: each with a client of their own, cookies kept as a browser does."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx2

from app.domain.access import Scope
from app.domain.customer import Role
from app.infra.dependency import wire
from tests.integration.service.harness import API_KEY_HEADER, Service, settings_of
from tests.plain_http import plain_client

PASSWORD = "açaí com guaraná e tapioca"


@dataclass(kw_only=True)
class Customer:
    """A customer who is signed in."""

    id: str
    name: str
    email: str
    password: str
    client: httpx2.AsyncClient
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        """The header of a client that keeps no cookies."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def refresh_token(self) -> str:
        """The refresh token the browser holds now."""
        return str(self.client.cookies["refresh_token"])


@dataclass(frozen=True, kw_only=True)
class Staff:
    """What the operators made: an administrator, and an API key for each scope and for all."""

    admin_email: str
    admin_password: str
    keys: dict[frozenset[Scope], str]

    def key(self, *scopes: Scope) -> dict[str, str]:
        """Return the header of a key with exactly these scopes."""
        return {API_KEY_HEADER: self.keys[frozenset(scopes)]}


@dataclass
class People:
    """Makes customers and clients, and lets go of them at the end."""

    service: Service
    staff: Staff
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def client(
        self, *, server: int = 0, connections: int = 100, **options: Any
    ) -> httpx2.AsyncClient:
        """Return a client of one of the API servers without credentials."""
        return await self._open.enter_async_context(
            plain_client(
                self.service.urls[server],
                limits=httpx2.Limits(max_connections=connections),
                **{"timeout": 30, **options},
            )
        )

    async def customer(self, *, name: str = "Inês Conceição", server: int = 0) -> Customer:
        """Sign a customer up and in."""
        client = await self.client(server=server)
        email = f"{uuid4().hex}@example.com"
        signed_up = await client.post(
            "/auth/sign-up", json={"name": name, "email": email, "password": PASSWORD}
        )
        assert signed_up.status_code == 201, signed_up.text
        return await self.sign_in(client, email=email, password=PASSWORD)

    async def admin(self) -> Customer:
        """Sign the administrator in."""
        return await self.sign_in(
            await self.client(), email=self.staff.admin_email, password=self.staff.admin_password
        )

    async def sign_in(self, client: httpx2.AsyncClient, *, email: str, password: str) -> Customer:
        """Sign in a customer who has an account."""
        response = await client.post("/auth/sign-in", json={"email": email, "password": password})
        assert response.status_code == 200, response.text
        body = response.json()
        return Customer(
            id=body["customer"]["id"],
            name=body["customer"]["name"],
            email=email,
            password=password,
            client=client,
            token=body["access_token"],
        )


def employ(database_url: str, scope_sets: Iterable[frozenset[Scope]]) -> Staff:
    """Make an administrator and keys, as the command line does."""
    settings = settings_of(database_url, database_pool_timeout="30", refresh_lease="60")
    email, password = f"admin-{uuid4().hex}@example.com", "pão de queijo às três"

    async def make() -> Staff:
        async with wire(settings) as use_cases:
            await use_cases.create_customer(
                name="Administradora", email=email, password=password, role=Role.ADMIN
            )
            keys = {
                scopes: str(
                    await use_cases.manage_api_keys.create(
                        name=f"with {len(scopes)}", scopes=scopes, lifetime=None
                    )
                )
                for scopes in scope_sets
            }
        return Staff(admin_email=email, admin_password=password, keys=keys)

    # In a thread of its own, since pytest may have a loop in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, make()).result()
