from collections.abc import Iterator

import pytest

from app.domain.outcome import DomainError


def outcomes(of: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    for outcome in of.__subclasses__():
        if not outcome.__name__.startswith("_"):
            yield outcome
        yield from outcomes(outcome)


ALL = list(outcomes())


class TestOutcomes:
    def test_exist(self) -> None:
        assert len(ALL) > 20

    @pytest.mark.parametrize("outcome", ALL)
    def test_have_a_code_and_a_title_of_their_own(self, outcome: type[DomainError]) -> None:
        assert "code" in vars(outcome)
        assert "title" in vars(outcome)
        assert outcome.title

    def test_have_distinct_codes(self) -> None:
        codes = [outcome.code for outcome in ALL]
        assert len(set(codes)) == len(codes)

    @pytest.mark.parametrize("outcome", ALL)
    def test_are_named_by_their_code(self, outcome: type[DomainError]) -> None:
        words = "".join(word.title() for word in outcome.code.split("_"))
        assert words == outcome.__name__
