"""How the service behaves as there is more: favorites, rows, workers, connections."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import psycopg

from development.benchmark.data import FAVORITES, remove_added
from development.benchmark.load import Load
from development.benchmark.scenario import Driver, Scenario, scenarios
from development.benchmark.stage import Stage, stage
from development.outage import say

SECONDS = 3.0
CONNECTIONS = 32
READS = ("list", "contains")
WRITES = ("add",)

Json = dict[str, Any]

_MORE_OF_ONE = """
    INSERT INTO products_cache (product_id, title, title_key, price, price_since, description,
        category, image, fetched_at)
    SELECT n, 'Product ' || n, 'product ' || n, n %% 1000, now(), 'One of many.', 'many', '', now()
    FROM generate_series(100, %(last)s) AS n
    ON CONFLICT DO NOTHING;
"""
_FAVORITES_OF_ONE = """
    INSERT INTO favorites (customer_id, product_id, favorited_at, snapshot_title, snapshot_price,
        snapshot_image)
    SELECT %(id)s, product_id, now() - product_id * interval '1 second', title, price, image
    FROM products_cache ORDER BY product_id LIMIT %(count)s
    ON CONFLICT DO NOTHING
"""
# Of customers whom nobody asks for; every row has its place in every index. What they refer to is
# there: looking for it ten million times would take longer than all that is measured.
_UNCHECKED = "SET session_replication_role = replica"
_ROWS = """
    WITH others AS (
        INSERT INTO customers (id, name, name_key, email, email_key, role, created_at, updated_at,
            version)
        SELECT gen_random_uuid(), 'Other', 'other', e, e, 'customer', now(), now(), 1
        FROM (SELECT 'other' || n || '-' || %(batch)s || '@example.com' AS e
              FROM generate_series(1, %(customers)s) AS n) AS emails
        RETURNING id
    ), lists AS (
        INSERT INTO favorite_lists (customer_id, version, size) SELECT id, 1, 10 FROM others
    )
    INSERT INTO favorites (customer_id, product_id, favorited_at, snapshot_title, snapshot_price,
        snapshot_image)
    SELECT others.id, product_id, now() - product_id * interval '1 minute', title, price, image
    FROM others CROSS JOIN products_cache WHERE product_id <= 10
"""
BATCH = 100_000


def measure(*, most_rows: int, workers: Sequence[int] = (1, 2, 4)) -> Iterator[Json]:
    """Measure the operations at every size; yields each result as it is there."""
    with stage(customers=10_000) as running:
        for connections in (32, 128, 512, 1024):
            yield from _points("connections", connections, running, connections=connections)
        rows = 100_000
        yield from _points("rows", rows, running, names=READS + WRITES)
        while rows * 10 <= most_rows:
            _add_rows(running, rows * 9)
            rows *= 10
            yield from _points("rows", rows, running, names=READS + WRITES)
        # Last: what is added for the measurement is told by its product from what was there.
        for count in (10, 100, 1000, 10_000):
            _give_one(running, count)
            yield from _points("favorites of one customer", count, running, people=1)
    for number in workers:
        with stage(customers=10_000, workers=number) as running:
            yield from _points("workers", number, running)


def as_table(points: Sequence[Json]) -> str:
    """Return the results as a table in Markdown."""
    return "\n".join(
        [
            "| what grows | to | operation | requests/s | p50 | p99 | refused (503) | limit/s |",
            "|---|---|---|---|---|---|---|---|",
            *(
                f"| {each['what']} | {each['size']:,} | {each['operation']}"
                f" | {each['service']['per_s']:.0f}"
                f" | {each['service']['p50_ms']:.1f} ms | {each['service']['p99_ms']:.1f} ms"
                f" | {each['service']['refused']}"
                f" | {each['limit']['per_s']:.0f} |"
                for each in points
            ),
        ]
    )


def _points(
    what: str,
    size: int,
    running: Stage,
    *,
    names: Collection[str] = READS,
    people: int = 10_000,
    connections: int = CONNECTIONS,
) -> Iterator[Json]:
    for scenario in scenarios(running.people[:people]):
        if scenario.name in names:
            point = _measured(scenario, running, connections=connections)
            say(f"  {what} {size} {scenario.name}: {point}")
            yield {"what": what, "size": size, "operation": scenario.name, **point}


def _measured(scenario: Scenario, running: Stage, *, connections: int) -> Json:
    drive = Driver(stage=running)
    point: Json = {}
    for side, server, requests in (
        ("limit", running.limit, scenario.limit),
        ("service", running.service, scenario.service),
    ):
        load = Load(server.port, requests, running.directory, "growth")
        load.run(seconds=1.0, connections=CONNECTIONS)
        if scenario.writes:
            remove_added(running.database_url, running.people)
        done = drive.round(server, load, seconds=SECONDS, connections=connections, may_refuse=True)
        if scenario.writes:
            remove_added(running.database_url, running.people)
        point[side] = done.as_json()
    return point


def _give_one(running: Stage, count: int) -> None:
    if count <= FAVORITES:
        return
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute(_MORE_OF_ONE, {"last": count + 100})
        connection.execute(_FAVORITES_OF_ONE, {"id": running.people[0].id, "count": count})
        connection.execute("VACUUM ANALYZE favorites, products_cache")


def _add_rows(running: Stage, rows: int) -> None:
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute(_UNCHECKED)
        for batch in range(0, rows, BATCH):
            connection.execute(
                _ROWS,
                {"batch": f"{rows}-{batch}", "customers": min(BATCH, rows - batch) // 10},
            )
        connection.execute("VACUUM ANALYZE favorites")
