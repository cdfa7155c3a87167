from collections.abc import AsyncIterator

import httpx2
import pytest

from app.domain.access import Scope
from tests import make
from tests.double.service import Service
from tests.http.client import Headers, api_key, build, connect


@pytest.fixture
def service() -> Service:
    """Return the service in memory, with a catalog of three products."""
    service = Service()
    service.catalog.put(*(make.product(id=make_id) for make_id in (1, 2, 5)))
    return service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of that service."""
    async with connect(build(service)) as client:
        yield client


@pytest.fixture
async def key(service: Service) -> Headers:
    """Return the header field of an API key with all scopes."""
    return await api_key(service, *Scope)
