"""A short run of the chaos, so that it cannot rot; `task chaos` makes a long one."""

import tempfile
from pathlib import Path

import pytest

from development.chaos.embedded import embedded_world
from development.chaos.embedded_faults import FAULTS
from development.chaos.run import Plan, run

pytestmark = pytest.mark.postgres


def test_nothing_is_lost_in_a_short_run() -> None:
    # Not pytest's own directory, which PostgreSQL might not be allowed to enter.
    with (
        tempfile.TemporaryDirectory(prefix="favorites-chaos-") as name,
        embedded_world(directory := Path(name), servers=1, workers=1) as world,
    ):
        outcome = run(
            world,
            FAULTS,
            directory / "ledger.jsonl",
            Plan(
                seed=7,
                faults=["backend-killed", "worker", "api-process"],
                customers=3,
                visitors=1,
                pause_s=0.5,
            ),
        )
    assert outcome.faults == []
    assert len(outcome.struck) == 3
    assert outcome.entries > 4 * 2
