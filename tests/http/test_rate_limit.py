"""The rate limit, on doubles."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
from fastapi import FastAPI
from typing_extensions import override

from app.domain.access import Scope
from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.create import create_limiter
from app.infra.http.rate_limit.limiter import Admission, RateLimiter
from app.infra.http.rate_limit.process_limiter import ProcessLimiter
from tests.double.clock import Seconds
from tests.double.service import Service
from tests.http.client import API_KEY, api_key, bearer, build, connect

RULE = ThrottleRule(limit=3, window=timedelta(minutes=1))
ALLOWED, REFUSED = 200, 429


class RecordingLimiter(RateLimiter):
    """Accepts every request, and records the keys."""

    rule = RULE

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.closed = False

    @override
    async def admit(self, key: str) -> Admission:
        self.keys.append(key)
        return Admission(accepted=True, remaining=2, reset=timedelta(seconds=12.2))

    @override
    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def seconds() -> Seconds:
    """Return the clock of the limiter."""
    return Seconds()


@pytest.fixture
def api(service: Service, seconds: Seconds) -> FastAPI:
    """Return the application with a limit of three requests a minute."""
    limiter = ProcessLimiter(RULE, clock=seconds)
    return build(service, limiter=limiter)


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of that application."""
    async with connect(api) as client:
        yield client


async def statuses(
    client: httpx2.AsyncClient, path: str, count: int, headers: dict[str, str] | None = None
) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for _ in range(count)]


class TestLimit:
    async def test_is_described_on_every_response(self, client: httpx2.AsyncClient) -> None:
        found = await client.get("/products/1")
        missing = await client.get("/nowhere")
        assert found.headers["RateLimit-Policy"] == '"default";q=3;w=60'
        assert found.headers["RateLimit"] == '"default";r=2;t=60'
        assert missing.headers["RateLimit"] == '"default";r=1;t=60'

    async def test_refuses_requests_over_it(self, client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/products/1", 3) == [ALLOWED] * 3
        response = await client.get("/products/1")
        assert response.status_code == REFUSED
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "rate_limited"
        assert response.headers["Retry-After"] == "60"
        assert response.headers["RateLimit"] == '"default";r=0;t=60'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.json()["request_id"] == response.headers["X-Request-ID"]

    async def test_moves_with_each_request(
        self, client: httpx2.AsyncClient, seconds: Seconds
    ) -> None:
        await client.get("/products/1")
        seconds.now += 20
        assert await statuses(client, "/products/1", 3) == [ALLOWED, ALLOWED, REFUSED]
        seconds.now += 39.5
        response = await client.get("/products/1")
        assert (response.status_code, response.headers["Retry-After"]) == (REFUSED, "1")
        seconds.now += 0.5
        assert await statuses(client, "/products/1", 2) == [ALLOWED, REFUSED]

    async def test_is_not_used_up_by_refusals(
        self, client: httpx2.AsyncClient, seconds: Seconds
    ) -> None:
        await statuses(client, "/products/1", 10)
        seconds.now += 60
        assert await statuses(client, "/products/1", 4) == [ALLOWED] * 3 + [REFUSED]

    async def test_runs_before_the_route(
        self, service: Service, client: httpx2.AsyncClient
    ) -> None:
        await statuses(client, "/products/1", 3)
        await client.get("/products/2")
        assert service.catalog.found == [1]

    @pytest.mark.parametrize(
        "path", ["/health/live", "/health/ready", "/openapi.json", "/docs", "/redoc", "/problems"]
    )
    async def test_does_not_count(self, client: httpx2.AsyncClient, path: str) -> None:
        assert await statuses(client, path, 5) == [ALLOWED] * 5
        assert "RateLimit" not in (await client.get(path)).headers

    async def test_counts_paths_that_only_share_a_prefix(self, client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/healthy", 4) == [404] * 3 + [REFUSED]

    async def test_can_be_switched_off(self, service: Service) -> None:
        assert create_limiter(None, redis_url=None) is None
        async with connect(build(service)) as client:
            assert "RateLimit" not in (await client.get("/products/1")).headers


class TestKey:
    @pytest.fixture
    def limiter(self) -> RecordingLimiter:
        return RecordingLimiter()

    @pytest.fixture
    async def client(
        self, service: Service, limiter: RecordingLimiter
    ) -> AsyncIterator[httpx2.AsyncClient]:
        async with connect(build(service, limiter=limiter)) as client:
            yield client
        assert limiter.closed

    async def test_of_a_customer_is_their_id(
        self, service: Service, client: httpx2.AsyncClient, limiter: RecordingLimiter
    ) -> None:
        customer = await service.customer()
        headers = await bearer(client, customer)
        await client.get("/customers/me", headers=headers)
        await client.get("/products/1", headers=headers)
        assert limiter.keys == ["ip:192.0.2.1", *[f"customer:{customer.id}"] * 2]

    async def test_of_an_api_key_is_its_id(
        self, service: Service, client: httpx2.AsyncClient, limiter: RecordingLimiter
    ) -> None:
        headers = await api_key(service, *Scope)
        exchanged = await client.post("/auth/token", headers=headers)
        token = {"Authorization": f"Bearer {exchanged.json()['access_token']}"}
        assert (await client.get("/customers", headers=headers)).status_code == 200
        assert (await client.get("/customers", headers=token)).status_code == 200
        (key,) = set(limiter.keys)
        assert key == f"key:{headers[API_KEY].split('_')[1]}"

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer x.y.z"},
            {"Authorization": "Basic eDp5"},
            {"Cookie": "access_token=x"},
            {"Cookie": "access_token=x; access_token=y"},
            {API_KEY: "x"},
            {API_KEY: "aiq_nobody_" + "0" * 64},
            {API_KEY: "x", "Authorization": "Bearer x"},
        ],
    )
    async def test_of_wrong_credentials_is_the_address(
        self, client: httpx2.AsyncClient, limiter: RecordingLimiter, headers: dict[str, str]
    ) -> None:
        assert (await client.get("/customers", headers=headers)).status_code == 401
        assert limiter.keys == ["ip:192.0.2.1"]

    async def test_of_ipv6_is_the_network_of_the_client(
        self, service: Service, limiter: RecordingLimiter
    ) -> None:
        api = build(service, limiter=limiter)
        for peer in ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::", "unknown"):
            async with connect(api, peer=peer) as client:
                await client.get("/products/1")
        assert limiter.keys == ["ip:2001:db8:1:2::/64"] * 2 + ["ip:unknown"]


class TestIdentity:
    async def test_is_independent_of_others_at_its_address(
        self, service: Service, client: httpx2.AsyncClient
    ) -> None:
        customer = await bearer(client, await service.customer())
        key = await api_key(service, *Scope)
        await statuses(client, "/products/1", 3)
        assert await statuses(client, "/products/1", 1) == [REFUSED]
        assert await statuses(client, "/customers/me", 4, customer) == [ALLOWED] * 3 + [REFUSED]
        assert await statuses(client, "/customers", 4, key) == [ALLOWED] * 3 + [REFUSED]

    async def test_is_not_counted_for_wrong_secrets(
        self, service: Service, client: httpx2.AsyncClient
    ) -> None:
        key = await api_key(service, *Scope)
        wrong = {API_KEY: key[API_KEY][:-64] + "0" * 64}
        assert await statuses(client, "/customers", 4, wrong) == [401] * 3 + [REFUSED]
        assert await statuses(client, "/customers", 1, key) == [ALLOWED]


class TestProcessLimiter:
    async def test_forgets_idle_keys(self, seconds: Seconds) -> None:
        limiter = ProcessLimiter(RULE, clock=seconds)
        for number in range(100):
            await limiter.admit(f"ip:{number}")
        seconds.now += 60
        await limiter.admit("ip:0")
        assert len(limiter) == 1
