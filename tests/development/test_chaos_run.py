"""A short chaos run; `task chaos` makes a long one."""

import tempfile
from pathlib import Path

import pytest

from development.chaos.embedded import embedded_deployment
from development.chaos.embedded_faults import FAULTS
from development.chaos.run import Plan, run

pytestmark = pytest.mark.postgres


def test_nothing_is_lost_in_a_short_run() -> None:
    # PostgreSQL may have no access to pytest's own directories.
    with (
        tempfile.TemporaryDirectory(prefix="favorites-chaos-") as name,
        embedded_deployment(directory := Path(name), servers=1, workers=1) as deployment,
    ):
        outcome = run(
            deployment,
            FAULTS,
            directory / "ledger.jsonl",
            Plan(
                seed=7,
                faults=["backend-killed", "worker", "api-process"],
                customers=3,
                readers=1,
                pause_s=0.5,
            ),
        )
    assert outcome.violations == []
    assert len(outcome.injected) == 3
    assert outcome.entries > 4 * 2
