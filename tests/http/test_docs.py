import re

import httpx2
import pytest

from tests.double.service import Service
from tests.http.client import build, connect

PAGES = ["/docs", "/redoc"]
REFERENCE = re.compile(r'(?:src|href|spec-url)="([^"]+)"')


class TestDocs:
    @pytest.mark.parametrize("page", PAGES)
    async def test_load_only_own_assets(self, client: httpx2.AsyncClient, page: str) -> None:
        html = await client.get(page)
        assert html.status_code == 200
        assert "://" not in html.text
        references = REFERENCE.findall(html.text)
        assert len(references) > 2
        for reference in references:
            assert reference.startswith("/")
            asset = await client.get(reference)
            assert asset.status_code == 200, reference
            assert asset.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize("page", PAGES)
    async def test_run_only_own_scripts(self, client: httpx2.AsyncClient, page: str) -> None:
        html = await client.get(page)
        policy = html.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert not re.search(r"<script(?![^>]*src=)", html.text)
        assert not re.search(r"\son\w+=", html.text)

    async def test_have_assets_that_can_be_cached(self, client: httpx2.AsyncClient) -> None:
        html = (await client.get("/docs")).text
        for reference in REFERENCE.findall(html):
            if reference.startswith("/docs/assets/"):
                response = await client.head(reference)
                assert "immutable" in response.headers["Cache-Control"]

    async def test_come_with_the_openapi_document(self, client: httpx2.AsyncClient) -> None:
        document = (await client.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1")

    @pytest.mark.parametrize(
        "path", ["/docs", "/redoc", "/openapi.json", "/docs/assets/favicon.png"]
    )
    async def test_can_be_switched_off(self, service: Service, path: str) -> None:
        async with connect(build(service, docs_enabled=False)) as client:
            assert (await client.get(path)).status_code == 404

    @pytest.mark.parametrize(
        "path", ["/docs/assets/../../api.py", "/docs/assets/%2e%2e/core.py", "/docs/assets/x"]
    )
    async def test_serve_no_other_files(self, client: httpx2.AsyncClient, path: str) -> None:
        response = await client.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "route_not_found")


class TestSecurityHeaders:
    @pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/products", "/customers"])
    async def test_are_on_every_response(self, client: httpx2.AsyncClient, path: str) -> None:
        headers = (await client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in headers

    async def test_require_https_if_cookies_do(self, service: Service) -> None:
        async with connect(build(service, cookie_secure=True)) as client:
            headers = (await client.get("/health/live")).headers
        assert "max-age=" in headers["Strict-Transport-Security"]

    async def test_prevent_caching(self, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/customers/me")).headers["Cache-Control"] == "no-store"
