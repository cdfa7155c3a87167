"""Requests that pages of other sites initiate."""

from itertools import product

import httpx2
import pytest

from tests.double.service import Service
from tests.http.client import build, connect

ALLOWED, OWN, FOREIGN = "https://shop.test", "http://favorites.test", "https://evil.test"

SITES = [None, "same-origin", "none", "same-site", "cross-site", "Cross-Site", "unheard-of"]
ORIGINS = [None, OWN, "https://favorites.test", ALLOWED, FOREIGN, "null", "garbage", "http://["]
TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded"]
UNSAFE = [
    ("POST", "/auth/sign-in"),
    ("POST", "/auth/sign-up"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/sign-out"),
    ("POST", "/auth/token"),
    ("PUT", "/customers/me/favorites/5"),
    ("PATCH", "/customers/me"),
    ("DELETE", "/customers/me"),
    ("POST", "/nowhere"),
]


def refused(site: str | None, origin: str | None) -> bool:
    """Tell whether the rule refuses a request; a second implementation."""
    if site in ("cross-site", "same-site", "Cross-Site"):
        return True
    if site in ("same-origin", "none"):
        return False
    return origin not in (None, OWN, "https://favorites.test", ALLOWED)


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize(("site", "origin"), list(product(SITES, ORIGINS)))
async def test_matrix(
    service: Service, site: str | None, origin: str | None, media_type: str
) -> None:
    headers = {"Content-Type": media_type}
    headers |= {"Sec-Fetch-Site": site} if site else {}
    headers |= {"Origin": origin} if origin else {}
    async with connect(build(service, allowed_origins=frozenset({ALLOWED}))) as client:
        for method, path in UNSAFE:
            response = await client.request(method, path, headers=headers, content=b"{}")
            assert (response.json().get("code") == "cross_site_request") is refused(site, origin)
            assert (response.status_code == 403) is refused(site, origin)
        assert (await client.get("/products", headers=headers)).status_code == 200


PREFLIGHT = {"Access-Control-Request-Method": "PUT"}


class TestCors:
    async def test_allows_the_configured_origin(self, service: Service) -> None:
        async with connect(build(service, allowed_origins=frozenset({ALLOWED}))) as client:
            preflight = await client.options(
                "/customers/me", headers={"Origin": ALLOWED, **PREFLIGHT}
            )
            answer = await client.get("/nowhere", headers={"Origin": ALLOWED})
        assert preflight.status_code == 204
        for response in (preflight, answer):
            assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
            assert response.headers["Access-Control-Allow-Credentials"] == "true"

    @pytest.mark.parametrize(
        "origin", [FOREIGN, "null", "https://shop.test.evil.test", "http://shop.test"]
    )
    async def test_refuses_other_origins(self, service: Service, origin: str) -> None:
        async with connect(build(service, allowed_origins=frozenset({ALLOWED}))) as client:
            preflight = await client.options(
                "/customers/me", headers={"Origin": origin, **PREFLIGHT}
            )
            answer = await client.get("/products", headers={"Origin": origin})
        assert (preflight.status_code, preflight.json()["code"]) == (400, "cors_refused")
        assert preflight.headers["content-type"] == "application/problem+json"
        assert "Access-Control-Allow-Origin" not in answer.headers

    async def test_is_off_without_configured_origins(self, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/products", headers={"Origin": ALLOWED})
        assert not [name for name in answer.headers if name.startswith("access-control")]
