"""When a replica is used, and what is logged about it; with a pool that a test scripts."""

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.replica import Replica, ReplicaFirstPool
from app.infra.postgres.statement_pool import StatementPool
from tests import make


class ScriptedPool(StatementPool):
    """Returns one row with a value; with None, it cannot reach its database."""

    def __init__(self, value: object) -> None:
        self.value = value

    @override
    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        if self.value is None:
            raise StorageUnavailable("There is no such database", retry_after=make.SECOND)
        return [(self.value,)]


class TestReplica:
    async def test_logs_each_change_once(self) -> None:
        pool = ScriptedPool(0.0)
        replica = Replica(pool, max_lag=make.SECOND)
        usable = []
        with capture_logs() as logs:
            for lag_s in (0.0, 0.0, 1.5, 1.5, 1.0, 1.0):
                pool.value = lag_s
                await replica.check()
                usable.append(replica.usable)
            pool.value = None
            for _ in range(2):
                assert await replica.fetch("SELECT 1") is None
        assert usable == [True, True, False, False, True, True]
        assert logs == [
            {"event": "replica_used", "log_level": "info"},
            {"event": "replica_lost", "log_level": "warning", "reason": "lag"},
            {"event": "replica_used", "log_level": "info"},
            {"event": "replica_lost", "log_level": "warning", "reason": "StorageUnavailable"},
        ]

    async def test_logs_nothing_if_it_was_never_usable(self) -> None:
        with capture_logs() as logs:
            await Replica(ScriptedPool(None), max_lag=make.SECOND).check()
        assert logs == []


class TestReplicaFirstPool:
    @pytest.mark.parametrize(("usable", "value"), [(True, 0.0), (False, 2.0)])
    async def test_uses_the_primary_unless_the_replica_is_usable(
        self, *, usable: bool, value: float
    ) -> None:
        replica = Replica(ScriptedPool(value), max_lag=make.SECOND)
        await replica.check()
        rows = await ReplicaFirstPool(replica, ScriptedPool("primary")).fetch("SELECT 1")
        assert rows == [(value,)] if usable else [("primary",)]

    async def test_repeats_on_the_primary_what_failed_on_the_replica(self) -> None:
        pool = ScriptedPool(0.0)
        replica = Replica(pool, max_lag=make.SECOND)
        await replica.check()
        pool.value = None
        reads = ReplicaFirstPool(replica, ScriptedPool("primary"))
        assert await reads.fetch("SELECT 1") == [("primary",)]
        assert not replica.usable
