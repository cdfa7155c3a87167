"""The requests of the benchmark and their expected answers, without load."""

import json
from collections.abc import Iterator

import psycopg
import pytest

from development.benchmark import testbed as processes
from development.benchmark.data import FAVORITES, remove_added
from development.benchmark.requests import own
from development.benchmark.scenario import compared_with_limit, plain_lists, scenarios
from development.benchmark.variants import VARIANTS, beside_plain_list

pytestmark = pytest.mark.postgres

CUSTOMERS, COLLECTORS = 60, 3
_STATE = """
    SELECT (SELECT json_agg(l ORDER BY customer_id) FROM favorite_lists AS l),
        (SELECT json_agg(p ORDER BY product_id) FROM product_popularity AS p),
        (SELECT count(*) FROM favorites)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[processes.Testbed]:
    with processes.running_testbed(customers=CUSTOMERS, collectors=COLLECTORS) as started:
        yield started


def state(running: processes.Testbed) -> str:
    with psycopg.connect(running.database_url) as connection:
        return json.dumps(connection.execute(_STATE).fetchone())


def test_service_and_limit_agree(running: processes.Testbed) -> None:
    for scenario in scenarios(running.customers):
        comparison = compared_with_limit(running, scenario)
        assert bool(comparison.service.expected) is not scenario.writes


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_answered_as_expected(running: processes.Testbed, name: str) -> None:
    (comparison,) = beside_plain_list(running, [name])
    assert comparison.beside == "list"
    assert comparison.service.expected


def test_added_favorites_are_removed(running: processes.Testbed) -> None:
    before = state(running)
    for customer in running.customers[:2]:
        added = own(customer, "PUT", f"/favorites/{FAVORITES + 1}")
        assert processes.ask(running.service.port, added)[0] == 201
    assert state(running) != before
    assert remove_added(running.database_url, running.customers) == 2
    assert state(running) == before


def test_no_request_is_refused(running: processes.Testbed) -> None:
    lists = plain_lists(running.customers)
    for asked in lists:
        processes.ask(running.service.port, asked)
    counts = running.answers()
    assert counts["2xx"] >= len(lists)
    assert (counts.get("4xx", 0), counts.get("5xx", 0)) == (0, 0)
