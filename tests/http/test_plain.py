"""Plain requests are answered the same way with and without the shorter way for them."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.domain.customer import Role
from app.domain.favorite import FavoriteItem, Snapshot
from app.infra.http.middleware.envelope import Envelope
from app.infra.http.middleware.error_boundary import ErrorBoundary
from app.infra.http.plain.fragments import Fragments
from app.infra.http.plain.requests import PlainRequests
from app.infra.http.router.favorite_schema import FavoriteOut
from app.infra.http.router.product_schema import ProductOut
from tests import make
from tests.double.service import Service
from tests.http.client import bearer, build, connect
from tests.make import NOW

PER_REQUEST = {"x-request-id", "content-length"}


@dataclass
class BothWays:
    """The same service twice: with the shorter way, and by its routes alone."""

    short: httpx2.AsyncClient
    long: httpx2.AsyncClient
    service: Service
    ids: Mapping[str, str]
    headers: Mapping[str, Mapping[str, str]]

    async def ask(
        self, method: str, path: str, who: str, **headers: str
    ) -> tuple[httpx2.Response, httpx2.Response]:
        sent = {**self.headers[who], **headers}
        path = path.format(**self.ids)
        return (
            await self.short.request(method, path, headers=sent),
            await self.long.request(method, path, headers=sent),
        )


def seen(response: httpx2.Response) -> Any:
    """Return what a client sees of an answer but what is different each time."""
    fields = {name: value for name, value in response.headers.items() if name not in PER_REQUEST}
    content = response.content
    if response.headers.get("content-type") == "application/problem+json":
        problem = json.loads(content or b"{}")
        content = json.dumps([problem.get("code"), problem.get("detail")]).encode()
    return response.status_code, fields, content


@pytest.fixture
async def both(service: Service) -> AsyncIterator[BothWays]:
    ana, bia = await service.customer(), await service.customer(name="Bia")
    root = await service.customer(role=Role.ADMIN)
    async with AsyncExitStack() as stack:
        short_api, long_api = build(service), build(service)
        long_api.user_middleware = [
            each for each in long_api.user_middleware if str(each.cls) != str(PlainRequests)
        ]
        assert len(long_api.user_middleware) == len(short_api.user_middleware) - 1
        short = await stack.enter_async_context(connect(short_api))
        long = await stack.enter_async_context(connect(long_api))
        headers = {
            "ana": await bearer(short, ana),
            "bia": await bearer(short, bia),
            "root": await bearer(short, root),
            "nobody": {},
            "liar": {"Authorization": "Bearer abc"},
            "twice": {**(await bearer(short, ana)), "x-aiqfome-api-key": "aiq_x_" + "0" * 64},
        }
        headers["cookie"] = {
            "Cookie": f"access_token={headers['ana']['Authorization'].removeprefix('Bearer ')}"
        }
        for number in (1, 2, 5):
            await short.put(f"/customers/me/favorites/{number}", headers=headers["ana"])
        service.catalog.down = True
        await short.put("/customers/me/favorites/77", headers=headers["ana"])
        service.catalog.down = False
        # That there is no such product is news only once.
        await short.get("/products/999")
        ids = {"ana": str(ana.id), "bia": str(bia.id), "ANA": str(ana.id).upper()}
        yield BothWays(short=short, long=long, service=service, ids=ids, headers=headers)


PATHS = [
    "/products/1",
    "/products/1?x=1",
    "/products/01",
    "/products/0",
    "/products/999",
    "/products/4294967296",
    "/products/popular",
    "/products/1/",
    "/customers/me/favorites",
    "/customers/{ana}/favorites",
    "/customers/{ANA}/favorites",
    "/customers/{bia}/favorites",
    "/customers/{ana}/favorites/",
    "/customers/%6de/favorites",
    "/customers/x/favorites",
    "/customers/me/favorites?limit=2",
    "/customers/me/favorites?limit=4",
    "/customers/me/favorites?limit=02",
    "/customers/me/favorites?limit=0",
    "/customers/me/favorites?limit=101",
    "/customers/me/favorites?limit=2&limit=3",
    "/customers/me/favorites?cursor=x",
    "/customers/me/favorites?sort=price",
    "/customers/me/favorites?unknown=1",
    "/customers/me/favorites/contains?product_ids=1,2,3,77",
    "/customers/me/favorites/contains?product_ids=2,1,2",
    "/customers/me/favorites/contains?product_ids=1,",
    "/customers/me/favorites/contains?product_ids=1%2C2",
    "/customers/me/favorites/contains?product_ids=",
    "/customers/me/favorites/contains?product_ids=" + ",".join(map(str, range(1, 101))),
    "/customers/me/favorites/contains?product_ids=" + ",".join(map(str, range(1, 102))),
    "/customers/me/favorites/contains",
    "/customers/{ana}/favorites/contains?product_ids=1",
    "/customers/me/favorites/1",
]


class TestPlainRequests:
    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_that_read_are_answered_as_by_the_routes(
        self, both: BothWays, method: str, path: str
    ) -> None:
        for who in both.headers:
            with capture_logs() as logs:
                short, long = await both.ask(method, path, who)
            assert seen(short) == seen(long), who
            lines = [line for line in logs if line["event"] == "http_request"]
            for line in lines:
                del line["duration_ms"]
            assert lines[0] == lines[1]

    @pytest.mark.parametrize("method", ["PUT", "POST"])
    @pytest.mark.parametrize(
        "path",
        [
            "/customers/me/favorites/1",
            "/customers/{ana}/favorites/2",
            "/customers/{bia}/favorites/2",
            "/customers/me/favorites/77",
            "/customers/me/favorites/999",
            "/customers/me/favorites/0",
            "/customers/me/favorites/contains",
            "/customers/me/favorites/import",
        ],
    )
    async def test_that_favor_what_is_a_favorite_are_answered_as_by_the_routes(
        self, both: BothWays, method: str, path: str
    ) -> None:
        for who in both.headers:
            if who in ("bia", "root"):
                continue  # These would add, and a second time is another answer.
            for headers in (
                {},
                {"Sec-Fetch-Site": "cross-site"},
                {"Content-Type": "text/plain"},
            ):
                short, long = await both.ask(method, path, who, **headers)
                assert seen(short) == seen(long), who

    @pytest.mark.parametrize("first", ["short", "long"])
    async def test_that_add_are_answered_as_by_the_routes(
        self, both: BothWays, first: str
    ) -> None:
        other = {"short": both.long, "long": both.short}[first]
        me = both.headers["bia"]
        added = await getattr(both, first).put("/customers/me/favorites/1", headers=me)
        assert added.status_code == 201
        await other.delete("/customers/me/favorites/1", headers=me)
        again = await other.put("/customers/me/favorites/1", headers=me)
        assert seen(added) == seen(again)

    @pytest.mark.parametrize(
        "path",
        [
            "/customers/me/favorites",
            "/customers/me/favorites?limit=2",
            "/customers/me/favorites/contains?product_ids=1,2",
            "/products/1",
        ],
    )
    async def test_are_revalidated_as_by_the_routes(self, both: BothWays, path: str) -> None:
        for who in ("ana", "bia"):
            answer, _ = await both.ask("GET", path, who)
            tag = answer.headers.get("etag", '"x"')
            for known in (tag, tag.removeprefix("W/"), f'"y", {tag}', "*", '"y"', "y", ""):
                short, long = await both.ask("GET", path, who, **{"If-None-Match": known})
                assert seen(short) == seen(long), known
            statuses = {
                (await both.ask("GET", path, who, **{"If-None-Match": tag}))[0].status_code
            }
            if who == "ana" and "etag" in answer.headers:
                assert statuses == {304}

    async def test_are_refused_when_their_session_has_ended(self, both: BothWays) -> None:
        await both.long.post("/auth/sign-out", headers=both.headers["ana"])
        for method, path in (
            ("GET", "/customers/me/favorites"),
            ("GET", "/customers/me/favorites/contains?product_ids=1"),
            ("PUT", "/customers/me/favorites/5"),
        ):
            short, long = await both.ask(method, path, "ana")
            assert short.status_code == 401
            assert seen(short) == seen(long)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Length": "0"},
            {"Content-Length": "70000"},
            {"Sec-Fetch-Site": "same-origin"},
            {"Origin": "https://elsewhere.test"},
            {"X-Request-ID": "mine"},
            {"Accept": "text/html"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("method", ["GET", "PUT"])
    async def test_are_answered_as_by_the_routes_whatever_they_say_besides(
        self, both: BothWays, method: str, headers: Mapping[str, str]
    ) -> None:
        content = b"x" * int(headers.get("Content-Length", "0"))
        for path in ("/customers/me/favorites", "/customers/me/favorites/1", "/products/1"):
            answers = [
                await client.request(
                    method, path, headers={**both.headers["ana"], **headers}, content=content
                )
                for client in (both.short, both.long)
            ]
            assert seen(answers[0]) == seen(answers[1])

    async def test_do_not_pass_by_what_stands_before_the_routes(self, service: Service) -> None:
        layers = [str(each.cls) for each in build(service).user_middleware]
        assert layers.index(str(ErrorBoundary)) == layers.index(str(PlainRequests)) - 1

    async def test_meet_no_layer_but_ours(self, service: Service) -> None:
        assert isinstance(build(service).build_middleware_stack(), Envelope)


ratings = st.none() | st.builds(
    make.rating,
    st.decimals("0", "5", places=1).map(str),
    st.integers(0, 10**9),
)
products = st.builds(
    make.product,
    title=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    price=st.decimals("0", "9999", places=2).map(str),
    rating=ratings,
)


@given(
    product=products,
    before=products,
    age=st.timedeltas(timedelta(0), timedelta(days=2)),
    removed=st.booleans(),
    pending=st.booleans(),
    rejected=st.booleans(),
    copied=st.booleans(),
    favorited_at=st.datetimes(timezones=st.just(NOW.tzinfo)),
)
def test_fragments_are_written_as_the_schemas_write_them(
    product: Any,
    before: Any,
    age: timedelta,
    favorited_at: Any,
    *,
    removed: bool,
    pending: bool,
    rejected: bool,
    copied: bool,
) -> None:
    policy = make.CACHE_POLICY
    fragments = Fragments(policy)
    cached = make.cached_product(
        product=product,
        fetched_at=NOW - age,
        missing_since=NOW if removed else None,
        removed_at=NOW if removed else None,
    )
    item = FavoriteItem(
        favorite=make.favorite(
            product_id=product.id,
            favorited_at=favorited_at,
            when_favorited=None if pending or rejected else Snapshot.of(before),
            rejected_at=NOW if rejected else None,
        ),
        cached=cached if copied else None,
    )
    stale = cached.freshness(policy, now=NOW) != "fresh"
    for _ in range(2):
        assert (
            fragments.product(cached, stale=stale)
            == ProductOut.of(cached, stale=stale).model_dump_json()
        )
        assert (
            fragments.favorite(item, now=NOW)
            == FavoriteOut.of(item, stale=lambda _: stale).model_dump_json()
        )
