import asyncio
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from development.chaos import compose
from development.chaos.comparison import DatabaseState, StoredCustomer, StoredFavorite, compare
from development.chaos.embedded_faults import FAULTS
from development.chaos.expectation import ExpectedList
from development.chaos.fault import draw_faults
from development.chaos.ledger import Entry, Ledger
from development.chaos.load import Sample
from development.chaos.report import InjectedFault, Outcome, as_table, draw
from development.service import ROOT

ANA = "ana@example.com"
NONEXISTENT = 900_001


def write(status: int | None, **fields: object) -> Entry:
    """Return a ledger entry of Ana; one without products is her sign-up."""
    return Entry(**{"email": ANA, "began": 1.0, "ended": 2.0, "status": status, **fields})  # type: ignore[arg-type]  # of a test


SIGNED_UP = write(201)


def added(*products: int, status: int | None = 201) -> Entry:
    return write(status, add=products)


def removed(*products: int, status: int | None = 204) -> Entry:
    return write(status, remove=products)


def batch(
    status: int | None,
    *,
    add: tuple[int, ...] = (),
    remove: tuple[int, ...] = (),
    results: Mapping[str, str] | None = None,
) -> Entry:
    return write(status, add=add, remove=remove, batch=True, results=results or {})


def held(
    *products: int,
    version: int | None = None,
    removed: Collection[int] = (),
    rejected: Collection[int] = (),
) -> DatabaseState:
    """Return a consistent database in which Ana has these favorites."""
    changes = len(products) + 2 * len(removed) if version is None else version
    customer = StoredCustomer(
        favorites={
            product_id: StoredFavorite(
                confirmed=product_id not in rejected,
                rejected=product_id in rejected,
                changed_in=0,
            )
            for product_id in products
        },
        removed={*removed},
        version=changes,
        size=len(products),
    )
    return DatabaseState(
        customers={ANA: customer},
        popularity=dict.fromkeys(products, 1),
        prices=dict.fromkeys(products, 1),
        jobs=[],
    )


def only_difference(entries: Collection[Entry], database: DatabaseState) -> str:
    """Return the only difference."""
    (difference,) = compare([SIGNED_UP, *entries], database, nonexistent=[NONEXISTENT])
    return difference


class TestComparison:
    @pytest.mark.parametrize(
        ("entries", "database"),
        [
            ([], held()),
            ([added(1)], held(1)),
            ([added(1), removed(1)], held(removed=[1])),
            ([added(1), removed(1), added(1)], held(1, version=3)),
            ([added(1), added(1, status=200)], held(1)),
            ([added(1, status=202)], held(1, version=2)),
            ([added(1, status=404)], held()),
            ([batch(200, add=(1, 2), results={"1": "added", "2": "added"})], held(1, 2)),
            (
                [added(NONEXISTENT, status=202)],
                held(NONEXISTENT, rejected=[NONEXISTENT], version=2),
            ),
        ],
    )
    def test_accepts_a_consistent_database(
        self, entries: list[Entry], database: DatabaseState
    ) -> None:
        assert compare([SIGNED_UP, *entries], database, nonexistent=[NONEXISTENT]) == []

    @pytest.mark.parametrize("status", [None, 503])
    @pytest.mark.parametrize("done", [True, False])
    def test_accepts_both_outcomes_of_an_unknown_write(
        self, status: int | None, done: bool
    ) -> None:
        adding, removing = added(1, status=status), removed(2, status=status)
        database = held(1, version=3, removed=[2]) if done else held(2)
        assert compare([SIGNED_UP, added(2), adding, removing], database) == []

    def test_finds_a_favorite_that_was_lost(self) -> None:
        assert "1 was acknowledged as a favorite and is lost" in only_difference(
            [added(1)], held(version=1)
        )

    def test_finds_a_removal_that_was_undone(self) -> None:
        entries = [added(1), removed(1)]
        assert "1 is a favorite, though its removal was acknowledged" in only_difference(
            entries, held(1, version=2)
        )

    def test_finds_a_removal_that_is_not_remembered(self) -> None:
        assert "removal of product 1 is not remembered" in only_difference(
            [added(1), removed(1)], held(version=2)
        )

    def test_finds_a_change_applied_twice(self) -> None:
        assert "the list has changed 2 times" in only_difference([added(1)], held(1, version=2))

    def test_finds_a_change_that_was_not_counted(self) -> None:
        assert "the list has changed 0 times" in only_difference([added(1)], held(1, version=0))

    def test_finds_a_favorite_that_was_never_requested(self) -> None:
        faults = compare([SIGNED_UP], held(1, version=0))
        assert [fault for fault in faults if "that was never requested" in fault]

    def test_finds_a_loss_between_two_answers(self) -> None:
        # Present at the end, but the second 201 says that it was missing in between.
        assert "a favorite, and was lost" in only_difference([added(1), added(1)], held(1))

    def test_finds_a_removal_undone_between_two_answers(self) -> None:
        entries = [added(1), removed(1), added(1, status=200)]
        assert "removed, and was a favorite again" in only_difference(entries, held(1, version=3))

    def test_finds_a_batch_that_was_applied_in_part(self) -> None:
        assert "done in part" in only_difference([batch(None, add=(1, 2))], held(1))

    @pytest.mark.parametrize("database", [held(), held(1, 2)])
    def test_accepts_a_batch_applied_whole_or_not_at_all(self, database: DatabaseState) -> None:
        assert compare([SIGNED_UP, batch(503, add=(1, 2))], database) == []

    def test_finds_a_wrong_list_size(self) -> None:
        database = held(1)
        database.customers[ANA].size = 2
        assert "counts 2 favorites and has 1" in only_difference([added(1)], database)

    @pytest.mark.parametrize("popularity", [{1: 2}, {}, {1: 1, 5: 1}])
    def test_finds_a_wrong_popularity(self, popularity: dict[int, int]) -> None:
        fault = only_difference([added(1)], replace(held(1), popularity=popularity))
        assert "counts" in fault

    def test_finds_a_favorite_that_is_still_pending(self) -> None:
        database = held(1, version=1)
        database.customers[ANA].favorites[1] = StoredFavorite(
            confirmed=False, rejected=False, changed_in=1
        )
        assert "still pending" in only_difference([added(1, status=202)], database)

    def test_finds_an_existing_product_that_was_rejected(self) -> None:
        assert "product 1 was rejected" in only_difference([added(1)], held(1, rejected=[1]))

    def test_finds_a_nonexistent_product_that_was_confirmed(self) -> None:
        assert f"product {NONEXISTENT} was confirmed" in only_difference(
            [added(NONEXISTENT, status=202)], held(NONEXISTENT)
        )

    def test_finds_a_remaining_job(self) -> None:
        assert (
            only_difference([added(1)], replace(held(1), jobs=["job 7 is todo"]))
            == "job 7 is todo"
        )

    def test_finds_a_price_recorded_twice(self) -> None:
        fault = only_difference([added(1)], replace(held(1), prices={1: 2}))
        assert "the price of product 1 was recorded 2 times" in fault

    def test_finds_an_account_that_was_lost(self) -> None:
        empty = DatabaseState(customers={}, popularity={}, prices={}, jobs=[])
        assert compare([SIGNED_UP], empty) == [f"{ANA}: the account was acknowledged and is lost"]
        # The attempt of unknown outcome has created the account.
        assert compare([write(None), write(409)], empty)

    def test_finds_a_duplicate_and_an_unrequested_account(self) -> None:
        assert "has an account that was never requested" in compare([], held())[0]
        twice = held()
        twice.customers[ANA].accounts = 2
        assert only_difference([], twice) == f"{ANA}: has 2 accounts"

    @pytest.mark.parametrize("customers", [{}, {ANA: StoredCustomer()}])
    def test_accepts_both_outcomes_of_an_unknown_sign_up(
        self, customers: dict[str, StoredCustomer]
    ) -> None:
        database = DatabaseState(customers=customers, popularity={}, prices={}, jobs=[])
        assert compare([write(None)], database) == []


class TestExpectedList:
    def test_allows_favorites_on_other_pages(self) -> None:
        expected = ExpectedList()
        assert list(expected.note(added(1))) == []
        assert list(expected.contradictions([], whole=False)) == []
        assert len(list(expected.contradictions([]))) == 1


class TestLedger:
    def test_returns_the_entries_written(self, tmp_path: Path) -> None:
        entries = [
            SIGNED_UP,
            added(1, status=None),
            batch(200, add=(1,), remove=(2,), results={"1": "added", "2": "removed"}),
        ]
        with Ledger(tmp_path / "ledger") as ledger:
            for entry in entries:
                asyncio.run(ledger.note(entry))
            assert list(ledger.entries()) == entries


class TestDrawnFaults:
    def test_are_the_same_for_a_seed(self) -> None:
        assert (
            draw_faults(FAULTS, 40, seed=7)
            == draw_faults(FAULTS, 40, seed=7)
            != draw_faults(FAULTS, 40, seed=8)
        )

    def test_contain_each_fault_before_any_occurs_again(self) -> None:
        assert set(draw_faults(FAULTS, len(FAULTS), seed=7)) == set(FAULTS)


class TestContainers:
    def test_are_those_of_the_compose_file(self) -> None:
        text = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
        services = re.findall("^  ([a-z0-9-]+):", text.partition("\nservices:")[2], re.MULTILINE)
        disturbed = (ROOT / "development/chaos/compose.yaml").read_text(encoding="utf-8")
        changed = re.findall(
            "^  ([a-z0-9-]+):", disturbed.partition("\nservices:")[2], re.MULTILINE
        )
        assert {*compose.WANTED, *compose.PROGRAMS, *changed} <= {*services}
        assert changed


OUTCOME = Outcome(
    seed=7,
    seconds=10,
    injected=[
        InjectedFault(title="a worker", at_s=1, ended_s=2, answered_s=2.5, recovered_s=4),
        InjectedFault(title="PostgreSQL", at_s=6, ended_s=6, answered_s=7, recovered_s=7),
    ],
    samples=[
        Sample(
            server=0,
            method="PUT",
            path="/customers/me/favorites/1",
            began=0.5,
            ended=0.6,
            status=201,
        ),
        Sample(
            server=0,
            method="PUT",
            path="/customers/me/favorites/1",
            began=1.5,
            ended=1.6,
            status=503,
        ),
        Sample(server=1, method="GET", path="/products", began=6.5, ended=6.6, status=None),
    ],
    entries=2,
    violations=["a favorite is lost"],
)


class TestReport:
    def test_counts_the_requests_of_each_fault_until_the_next(self) -> None:
        worker, postgres = OUTCOME.numbers()["faults"]
        assert (worker["unavailable"], worker["without_answer"]) == (1, 0)
        assert (postgres["unavailable"], postgres["without_answer"]) == (0, 1)
        assert (worker["answered_after_s"], worker["healed_after_s"]) == (0.5, 2)

    def test_measures_answered_requests_only(self) -> None:
        assert len(OUTCOME.latencies()) == 2

    def test_says_how_many_violations_occurred(self) -> None:
        assert "**1 lost" in as_table(OUTCOME)
        assert "**Nothing lost" in as_table(replace(OUTCOME, violations=[]))

    def test_is_drawn_as_well_formed_svg(self) -> None:
        root = ElementTree.fromstring(draw(OUTCOME))  # noqa: S314 - our own text
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
