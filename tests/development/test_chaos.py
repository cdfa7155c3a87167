import asyncio
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from development.chaos import compose
from development.chaos.account import Account
from development.chaos.comparison import Held, HeldCustomer, HeldFavorite, compare
from development.chaos.embedded_faults import FAULTS
from development.chaos.ledger import Entry, Ledger
from development.chaos.load import Sample
from development.chaos.report import Outcome, Struck, as_table, draw
from development.chaos.scene import plan
from development.outage import ROOT

ANA = "ana@example.com"
INVENTED = 900_001


def write(status: int | None, **fields: object) -> Entry:
    """Return an entry of Ana's ledger; one without products is her sign-up."""
    return Entry(**{"who": ANA, "began": 1.0, "ended": 2.0, "status": status, **fields})  # type: ignore[arg-type]  # of a test


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
) -> Held:
    """Return a database in which Ana has these favorites, and everything is in order."""
    changes = len(products) + 2 * len(removed) if version is None else version
    customer = HeldCustomer(
        favorites={
            product_id: HeldFavorite(
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
    return Held(
        customers={ANA: customer},
        popularity=dict.fromkeys(products, 1),
        prices=dict.fromkeys(products, 1),
        jobs=[],
    )


def only_fault(entries: Collection[Entry], database: Held) -> str:
    """Return the one thing that is wrong."""
    (fault,) = compare([SIGNED_UP, *entries], database, invented=[INVENTED])
    return fault


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
            ([added(INVENTED, status=202)], held(INVENTED, rejected=[INVENTED], version=2)),
        ],
    )
    def test_has_nothing_to_say_if_all_is_well(self, entries: list[Entry], database: Held) -> None:
        assert compare([SIGNED_UP, *entries], database, invented=[INVENTED]) == []

    @pytest.mark.parametrize("status", [None, 503])
    @pytest.mark.parametrize("done", [True, False])
    def test_takes_what_is_unknown_either_way(self, status: int | None, done: bool) -> None:
        adding, removing = added(1, status=status), removed(2, status=status)
        database = held(1, version=3, removed=[2]) if done else held(2)
        assert compare([SIGNED_UP, added(2), adding, removing], database) == []

    def test_finds_a_favorite_that_was_lost(self) -> None:
        assert "1 was acknowledged as a favorite, and is lost" in only_fault(
            [added(1)], held(version=1)
        )

    def test_finds_a_removal_that_was_undone(self) -> None:
        entries = [added(1), removed(1)]
        assert "1 is a favorite, though its removal was acknowledged" in only_fault(
            entries, held(1, version=2)
        )

    def test_finds_a_removal_that_is_not_remembered(self) -> None:
        assert "removal of product 1 is not remembered" in only_fault(
            [added(1), removed(1)], held(version=2)
        )

    def test_finds_a_change_that_was_made_twice(self) -> None:
        assert "the list has changed 2 times" in only_fault([added(1)], held(1, version=2))

    def test_finds_a_change_that_was_not_counted(self) -> None:
        assert "the list has changed 0 times" in only_fault([added(1)], held(1, version=0))

    def test_finds_a_favorite_that_nobody_asked_for(self) -> None:
        faults = compare([SIGNED_UP], held(1, version=0))
        assert [fault for fault in faults if "nobody ever asked for that" in fault]

    def test_finds_a_loss_between_two_answers(self) -> None:
        # There again in the end, but the second 201 says that it had gone.
        assert "a favorite, and was lost" in only_fault([added(1), added(1)], held(1))

    def test_finds_a_removal_undone_between_two_answers(self) -> None:
        entries = [added(1), removed(1), added(1, status=200)]
        assert "removed, and was a favorite again" in only_fault(entries, held(1, version=3))

    def test_finds_a_batch_that_was_done_in_part(self) -> None:
        assert "done in part" in only_fault([batch(None, add=(1, 2))], held(1))

    @pytest.mark.parametrize("database", [held(), held(1, 2)])
    def test_takes_a_batch_done_whole_or_not_at_all(self, database: Held) -> None:
        assert compare([SIGNED_UP, batch(503, add=(1, 2))], database) == []

    def test_finds_a_list_that_counts_wrong(self) -> None:
        database = held(1)
        database.customers[ANA].size = 2
        assert "counts 2 favorites and has 1" in only_fault([added(1)], database)

    @pytest.mark.parametrize("popularity", [{1: 2}, {}, {1: 1, 5: 1}])
    def test_finds_a_product_that_counts_wrong(self, popularity: dict[int, int]) -> None:
        fault = only_fault([added(1)], replace(held(1), popularity=popularity))
        assert "counts" in fault

    def test_finds_a_favorite_that_still_waits(self) -> None:
        database = held(1, version=1)
        database.customers[ANA].favorites[1] = HeldFavorite(
            confirmed=False, rejected=False, changed_in=1
        )
        assert "pending for ever" in only_fault([added(1, status=202)], database)

    def test_finds_what_the_catalog_has_rejected(self) -> None:
        assert "product 1 was rejected" in only_fault([added(1)], held(1, rejected=[1]))

    def test_finds_what_the_catalog_does_not_have_confirmed(self) -> None:
        assert f"product {INVENTED} was confirmed" in only_fault(
            [added(INVENTED, status=202)], held(INVENTED)
        )

    def test_finds_a_job_that_is_left(self) -> None:
        assert only_fault([added(1)], replace(held(1), jobs=["job 7 is todo"])) == "job 7 is todo"

    def test_finds_a_price_written_twice(self) -> None:
        fault = only_fault([added(1)], replace(held(1), prices={1: 2}))
        assert "the price of product 1 was written down 2 times" in fault

    def test_finds_an_account_that_was_lost(self) -> None:
        nobody = Held(customers={}, popularity={}, prices={}, jobs=[])
        assert compare([SIGNED_UP], nobody) == [
            f"{ANA}: the account was acknowledged, and is lost"
        ]
        # Taken by the try before, of which nobody heard.
        assert compare([write(None), write(409)], nobody)

    def test_finds_an_account_twice_or_of_nobody(self) -> None:
        assert "nobody ever asked" in compare([], held())[0]
        twice = held()
        twice.customers[ANA].accounts = 2
        assert only_fault([], twice) == f"{ANA}: has 2 accounts"

    @pytest.mark.parametrize("customers", [{}, {ANA: HeldCustomer()}])
    def test_takes_an_account_of_unknown_outcome_either_way(
        self, customers: dict[str, HeldCustomer]
    ) -> None:
        database = Held(customers=customers, popularity={}, prices={}, jobs=[])
        assert compare([write(None)], database) == []


class TestAccount:
    def test_does_not_miss_what_may_be_on_another_page(self) -> None:
        account = Account()
        assert list(account.note(added(1))) == []
        assert list(account.contradictions([], whole=False)) == []
        assert len(list(account.contradictions([]))) == 1


class TestLedger:
    def test_gives_back_what_was_written(self, tmp_path: Path) -> None:
        entries = [
            SIGNED_UP,
            added(1, status=None),
            batch(200, add=(1,), remove=(2,), results={"1": "added", "2": "removed"}),
        ]
        with Ledger(tmp_path / "ledger") as ledger:
            for entry in entries:
                asyncio.run(ledger.note(entry))
            assert list(ledger.entries()) == entries


class TestPlan:
    def test_is_the_same_for_a_seed(self) -> None:
        assert plan(FAULTS, 40, seed=7) == plan(FAULTS, 40, seed=7) != plan(FAULTS, 40, seed=8)

    def test_has_every_fault_before_any_comes_again(self) -> None:
        assert set(plan(FAULTS, len(FAULTS), seed=7)) == set(FAULTS)

    def test_names_containers_that_there_are(self) -> None:
        said = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
        services = re.findall("^  ([a-z0-9-]+):", said.partition("\nservices:")[2], re.MULTILINE)
        disturbed = (ROOT / "development/chaos/compose.yaml").read_text(encoding="utf-8")
        changed = re.findall(
            "^  ([a-z0-9-]+):", disturbed.partition("\nservices:")[2], re.MULTILINE
        )
        assert {*compose.WANTED, *compose.PROGRAMS, *changed} <= {*services}
        assert changed


OUTCOME = Outcome(
    seed=7,
    seconds=10,
    struck=[
        Struck(title="a worker", at_s=1, ended_s=2, answered_s=2.5, healed_s=4),
        Struck(title="PostgreSQL", at_s=6, ended_s=6, answered_s=7, healed_s=7),
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
    faults=["a favorite is lost"],
)


class TestReport:
    def test_counts_for_each_fault_what_was_met_until_the_next(self) -> None:
        worker, postgres = OUTCOME.numbers()["faults"]
        assert (worker["unavailable"], worker["without_answer"]) == (1, 0)
        assert (postgres["unavailable"], postgres["without_answer"]) == (0, 1)
        assert (worker["answered_after_s"], worker["healed_after_s"]) == (0.5, 2)

    def test_measures_answers_alone(self) -> None:
        assert len(OUTCOME.latencies()) == 2

    def test_says_whether_anything_is_wrong(self) -> None:
        assert "**1 lost" in as_table(OUTCOME)
        assert "**Nothing lost" in as_table(replace(OUTCOME, faults=[]))

    def test_is_drawn_well_formed(self) -> None:
        root = ElementTree.fromstring(draw(OUTCOME))  # noqa: S314 - our own text
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
