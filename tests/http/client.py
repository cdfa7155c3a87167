"""A client of the service on doubles, over HTTP within the process."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import httpx2
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.domain.access import Scope as KeyScope
from app.domain.customer import Customer
from app.infra.http.api import create_api
from app.infra.http.options import HttpOptions
from tests import make
from tests.double.service import PASSWORD, Service

CURSOR_KEY = b"a-cursor-key-that-only-tests-know"
API_KEY = "x-aiqfome-api-key"
Headers = dict[str, str]


def build(service: Service, **options: Any) -> FastAPI:
    """Build the application with the doubles of a service."""
    return create_api(
        nullcontext(service.use_cases),
        HttpOptions(**{"cursor_keys": [CURSOR_KEY], "cookie_secure": False, **options}),
    )


@asynccontextmanager
async def connect(
    api: FastAPI,
    *,
    peer: str = "192.0.2.1",
    raise_app_exceptions: bool = True,
    draining: bool = False,
) -> AsyncIterator[httpx2.AsyncClient]:
    """Start an application and yield a client, which stores cookies like a browser."""
    async with api.router.lifespan_context(api) as state:

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            # The server copies the state of the lifespan into each request.
            copied: MutableMapping[str, Any] = {**(state or {})}
            if draining:
                copied["draining"] = True
            await api({**scope, "state": copied}, receive, send)

        transport = httpx2.ASGITransport(
            app=serve, client=(peer, 40000), raise_app_exceptions=raise_app_exceptions
        )
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://favorites.test"
        ) as client:
            yield client


async def bearer(client: httpx2.AsyncClient, customer: Customer) -> Headers:
    """Sign in a customer, and return the header field with the token, without cookies."""
    response = await client.post(
        "/auth/sign-in", json={"email": customer.email.value, "password": PASSWORD}
    )
    assert response.status_code == 200, response.text
    client.cookies.clear()
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


async def api_key(service: Service, *scopes: KeyScope) -> Headers:
    """Store an API key with these scopes, and return its header field."""
    presented = make.presented_api_key()
    async with service.storage() as work:
        await work.api_keys.add(make.api_key(presented=presented, scopes=scopes))
        await work.commit()
    return {API_KEY: str(presented)}
