"""Throughput as the amounts grow: connections, rows, favorites of one customer, API processes."""

from collections.abc import Collection, Iterator, Sequence

import psycopg

from development.benchmark.data import FAVORITES, remove_added
from development.benchmark.load import Load
from development.benchmark.rounds import CONNECTIONS, Json, Side
from development.benchmark.scenario import Scenario, scenarios
from development.benchmark.testbed import Testbed, running_testbed
from development.service import say

SECONDS = 3.0
READS = ("list", "contains")
WRITES = ("add",)
BATCH = 100_000

_MORE_PRODUCTS = """
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
# Foreign keys are valid by construction: checking ten million would take longer than the
# measurements. The indexes are maintained as always.
_WITHOUT_CHECKS = "SET session_replication_role = replica"
_OTHER_CUSTOMERS = """
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


def measure(*, most_rows: int, workers: Sequence[int] = (1, 2, 4)) -> Iterator[Json]:
    """Measure the operations at each size; yield each result when it is known."""
    with running_testbed(customers=10_000) as testbed:
        for connections in (32, 128, 512, 1024):
            yield from _points("connections", connections, testbed, connections=connections)
        rows = 100_000
        yield from _points("rows", rows, testbed, names=READS + WRITES)
        while rows * 10 <= most_rows:
            _add_rows(testbed, rows * 9)
            rows *= 10
            yield from _points("rows", rows, testbed, names=READS + WRITES)
        # Last, because `remove_added` would remove these favorites too.
        for count in (10, 100, 1000, 10_000):
            _give_one_customer(testbed, count)
            yield from _points("favorites of one customer", count, testbed, customers=1)
    for number in workers:
        with running_testbed(customers=10_000, workers=number) as testbed:
            yield from _points("workers", number, testbed)


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
    testbed: Testbed,
    *,
    names: Collection[str] = READS,
    customers: int = 10_000,
    connections: int = CONNECTIONS,
) -> Iterator[Json]:
    for scenario in scenarios(testbed.customers[:customers]):
        if scenario.name in names:
            point = _measured(scenario, testbed, connections=connections)
            say(f"  {what} {size} {scenario.name}: {point}")
            yield {"what": what, "size": size, "operation": scenario.name, **point}


def _measured(scenario: Scenario, testbed: Testbed, *, connections: int) -> Json:
    point: Json = {}
    for name, server, requests in (
        ("limit", testbed.limit, scenario.limit),
        ("service", testbed.service, scenario.service),
    ):
        load = Load(server.port, requests, testbed.directory, "growth")
        load.run(seconds=1.0, connections=CONNECTIONS)
        if scenario.writes:
            remove_added(testbed.database_url, testbed.customers)
        side = Side(server=server, load=load, connections=connections)
        done = side.drive(seconds=SECONDS, may_refuse=True)
        if scenario.writes:
            remove_added(testbed.database_url, testbed.customers)
        point[name] = done.as_json()
    return point


def _give_one_customer(testbed: Testbed, count: int) -> None:
    if count <= FAVORITES:
        return
    with psycopg.connect(testbed.database_url, autocommit=True) as connection:
        connection.execute(_MORE_PRODUCTS, {"last": count + 100})
        connection.execute(_FAVORITES_OF_ONE, {"id": testbed.customers[0].id, "count": count})
        connection.execute("VACUUM ANALYZE favorites, products_cache")


def _add_rows(testbed: Testbed, rows: int) -> None:
    with psycopg.connect(testbed.database_url, autocommit=True) as connection:
        connection.execute(_WITHOUT_CHECKS)
        for batch in range(0, rows, BATCH):
            connection.execute(
                _OTHER_CUSTOMERS,
                {"batch": f"{rows}-{batch}", "customers": min(BATCH, rows - batch) // 10},
            )
        connection.execute("VACUUM ANALYZE favorites")
