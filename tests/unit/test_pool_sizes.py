import pytest

from app.infra.dependency import PoolSizes
from app.settings import Settings


class TestPoolSizes:
    @pytest.mark.parametrize("connections", [3, 4, 5, 6, 10, 12, 500])
    def test_add_up_to_what_was_set(self, connections: int) -> None:
        settings = Settings(_env_file=None, database_pool_size=connections)
        sizes = PoolSizes.of(settings.database_pool_size)
        assert sum(sizes) == connections
        assert min(sizes) >= 1

    @pytest.mark.parametrize("connections", [1, 2])
    def test_are_one_each_at_least(self, connections: int) -> None:
        assert PoolSizes.of(connections) == PoolSizes(main=1, statements=1, sign_ins=1)

    def test_leave_the_most_for_units_of_work(self) -> None:
        assert PoolSizes.of(10) == PoolSizes(main=6, statements=3, sign_ins=1)
        assert PoolSizes.of(500) == PoolSizes(main=494, statements=4, sign_ins=2)
