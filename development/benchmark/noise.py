"""Distinguish changes from noise."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

SIGNIFICANT = 0.05
NOTICEABLE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of several rounds, and their lowest and highest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """
        Summarize the values of several rounds.

        :raises ValueError: if there are none
        """
        listed = list(values)
        if not listed:
            raise ValueError("Nothing was measured")
        return cls(median=statistics.median(listed), low=min(listed), high=max(listed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a figure differs between two results."""

    name: str
    before: Spread
    after: Spread
    probability: float

    @property
    def factor(self) -> float:
        """The later median divided by the earlier one; 1 if that was zero."""
        return self.after.median / self.before.median if self.before.median else 1.0

    @property
    def beyond_noise(self) -> bool:
        """Whether the difference is unlikely by chance, and more than three percent."""
        return self.probability < SIGNIFICANT and abs(self.factor - 1) > NOTICEABLE


def compared(name: str, before: Sequence[float], after: Sequence[float]) -> Change:
    """Compare the rounds of a figure in two results."""
    return Change(
        name=name,
        before=Spread.of(before),
        after=Spread.of(after),
        probability=chance(before, after),
    )


def chance(one: Sequence[float], other: Sequence[float]) -> float:
    """
    Return the probability that two samples of one distribution differ at least this much.

    This is the exact two-sided Mann-Whitney test. It uses only the ranks of the values, so that a
    single disturbed round counts as one round and no more. Four rounds each are the fewest that
    can be significant (p = 0.029).
    """
    both = sorted((*one, *other))
    # Equal values share the mean of their ranks.
    ranks = {
        value: statistics.mean(rank for rank, each in enumerate(both) if each == value)
        for value in set(both)
    }
    pooled = [ranks[value] for value in both]
    expected = len(one) * statistics.mean(pooled)
    observed = abs(sum(ranks[value] for value in one) - expected)
    sums = [sum(chosen) for chosen in combinations(pooled, len(one))]
    return sum(abs(each - expected) >= observed - 1e-9 for each in sums) / len(sums)
