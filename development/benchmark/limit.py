"""The limit: a bare ASGI callable that lets PostgreSQL build the JSON, without any safeguard.

It gives the same answers as the service, with one statement for each; a sign-in takes two, with a
verification of the password between them. Everything else that the service does (authentication,
rate limits, logs, metrics, headers) is extra cost, which the benchmark shows.

`python -m development.benchmark.limit PORT` serves it (`DATABASE_URL`), `... argon2 SECONDS CORES`
prints how many passwords per second these cores can verify.
"""

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]  # ships no types
import uvicorn
from starlette.types import Receive, Scope, Send

from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.cores import usable_cores
from development.benchmark.data import PASSWORD

CONNECTIONS = 10

_UTC = "to_json(({} AT TIME ZONE 'UTC'))#>>'{{}}' || 'Z'"
_PRODUCT = f"""json_build_object(
    'id', p.product_id, 'title', p.title, 'price', p.price::text, 'description', p.description,
    'category', p.category, 'image', p.image,
    'rating', CASE WHEN p.rating_rate IS NOT NULL
        THEN json_build_object('rate', p.rating_rate, 'count', p.rating_count) END,
    'fetched_at', {_UTC.format("p.fetched_at")},
    'stale', p.fetched_at < now() - interval '1 hour')"""
_LIST = f"""
    SELECT json_build_object('items', coalesce(json_agg(item), '[]'))::text FROM (
        SELECT json_build_object(
            'product_id', f.product_id,
            'favorited_at', {_UTC.format("f.favorited_at")},
            'status', 'available',
            'product', {_PRODUCT},
            'when_favorited', json_build_object(
                'title', f.snapshot_title, 'price', f.snapshot_price::text,
                'image', f.snapshot_image,
                'rating', CASE WHEN f.snapshot_rate IS NOT NULL THEN json_build_object(
                    'rate', f.snapshot_rate, 'count', f.snapshot_rating_count) END),
            'price_change', (p.price - f.snapshot_price)::text
        ) AS item
        FROM favorites f JOIN products_cache p USING (product_id)
        WHERE f.customer_id = $1
        ORDER BY f.favorited_at DESC, f.product_id DESC LIMIT 25
    ) items"""  # noqa: S608 - constants
_ONE = f"SELECT {_PRODUCT}::text FROM products_cache p WHERE p.product_id = $1"  # noqa: S608
_CONTAINS = """
    SELECT json_build_object('items', json_object_agg(id, f.product_id IS NOT NULL))::text
    FROM unnest($2::int[]) id
    LEFT JOIN favorites f ON f.customer_id = $1 AND f.product_id = id"""
_ADD = """
    INSERT INTO favorites (customer_id, product_id, favorited_at, snapshot_title, snapshot_price,
        snapshot_image, snapshot_rate, snapshot_rating_count)
    SELECT $1, product_id, now(), title, price, image, rating_rate, rating_count
    FROM products_cache WHERE product_id = $2
    ON CONFLICT DO NOTHING"""
_ACCOUNT = "SELECT id, password_hash FROM customers WHERE email_key = $1"
_SESSION = """
    INSERT INTO sessions (id, customer_id, device, created_at, last_used_at, idle_expires_at,
        expires_at)
    VALUES (gen_random_uuid(), $1, '', now(), now(), now() + interval '14 days',
        now() + interval '90 days')"""


class Limit:
    """The application."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._pool: Any = None
        self._hashing = ThreadPoolExecutor(usable_cores())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        status, body = await self._respond(scope, receive)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(body)),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._pool = await asyncpg.create_pool(
            self._url, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings={"jit": "off"}
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        parts = scope["path"].split("/")
        match parts[1:]:
            case ["products", number]:
                return 200, (await self._pool.fetchval(_ONE, int(number))).encode()
            case ["customers", id_, "favorites"]:
                return 200, (await self._pool.fetchval(_LIST, UUID(id_))).encode()
            case ["customers", id_, "favorites", "contains"]:
                text = parse_qs(scope["query_string"].decode())["product_ids"][0]
                numbers = [int(number) for number in text.split(",")]
                found = await self._pool.fetchval(_CONTAINS, UUID(id_), numbers)
                return 200, found.encode()
            case ["customers", id_, "favorites", number]:
                result = await self._pool.execute(_ADD, UUID(id_), int(number))
                return 201 if result.endswith("1") else 200, b"{}"
            case ["auth", "sign-in"]:
                return await self._sign_in(**json.loads((await receive())["body"]))
            case _:
                return 200, b"{}"

    async def _sign_in(self, *, email: str, password: str) -> tuple[int, bytes]:
        customer_id, hashed = await self._pool.fetchrow(_ACCOUNT, email)
        matches = await asyncio.get_running_loop().run_in_executor(
            self._hashing, Argon2Parameters().verify, password.encode(), hashed
        )
        if not matches:
            return 401, b"{}"
        await self._pool.execute(_SESSION, customer_id)
        return 200, b"{}"


def create_app() -> Limit:
    """Build the application of one process."""
    return Limit(os.environ["DATABASE_URL"])


def verifications_per_s(seconds: float, *, cores: int) -> float:
    """Verify a password repeatedly on this many cores; return the verifications per second."""
    parameters = Argon2Parameters()
    secret = PASSWORD.encode()
    hashed = parameters.hash(secret)
    began = time.perf_counter()

    def verify() -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            parameters.verify(secret, hashed)
            done += 1
        return done

    with ThreadPoolExecutor(cores) as threads:
        total = sum(future.result() for future in [threads.submit(verify) for _ in range(cores)])
    return total / (time.perf_counter() - began)


async def _serve(port: int) -> None:
    config = uvicorn.Config(
        create_app(),
        port=port,
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        backlog=2048,
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    """Serve, or verify passwords."""
    if sys.argv[1] == "argon2":
        sys.stdout.write(
            json.dumps(verifications_per_s(float(sys.argv[2]), cores=int(sys.argv[3])))
        )
        return
    runner = asyncio.Runner(loop_factory=uvicorn.Config(None, loop="uvloop").get_loop_factory())  # type: ignore[arg-type]  # only its loop is used
    with runner:
        runner.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
