"""The retry budget."""

from hypothesis import given
from hypothesis import strategies as st

from app.infra.fakestore.budget import RetryBudget


class TestRetryBudget:
    def test_starts_full(self) -> None:
        budget = RetryBudget(ratio=0.1, reserve=3)
        assert [budget.withdraw() for _ in range(5)] == [True, True, True, False, False]

    def test_earns_one_retry_with_ten_calls(self) -> None:
        budget = RetryBudget(ratio=0.1, reserve=1)
        assert budget.withdraw()
        for _ in range(9):
            budget.deposit()
        assert not budget.withdraw()
        budget.deposit()
        assert budget.withdraw()

    def test_never_exceeds_its_reserve(self) -> None:
        budget = RetryBudget(ratio=0.1, reserve=2)
        for _ in range(1_000):
            budget.deposit()
        assert [budget.withdraw() for _ in range(3)] == [True, True, False]

    @given(steps=st.lists(st.booleans(), max_size=500))
    def test_never_allows_more_than_the_ratio_and_the_reserve(self, steps: list[bool]) -> None:
        budget = RetryBudget(ratio=0.1, reserve=3)
        calls = retries = 0
        for is_call in steps:
            if is_call:
                budget.deposit()
                calls += 1
            else:
                retries += budget.withdraw()
            assert retries <= calls * 0.1 + 3 + 1e-6
