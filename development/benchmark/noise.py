"""Telling what changed from what only varies."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

SIGNIFICANT = 0.05
NOTICEABLE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle of several rounds, and how far they were apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """
        Summarize some rounds.

        :raises ValueError: if there are none
        """
        listed = list(values)
        if not listed:
            raise ValueError("Nothing was measured")
        return cls(median=statistics.median(listed), low=min(listed), high=max(listed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a figure differs between two results; `factor` is the later over the earlier."""

    name: str
    before: Spread
    after: Spread
    probability: float

    @property
    def factor(self) -> float:
        """What the earlier one has to be multiplied by; 1 if there was nothing."""
        return self.after.median / self.before.median if self.before.median else 1.0

    @property
    def beyond_noise(self) -> bool:
        """Whether it is both unlikely by chance and large enough to speak of."""
        return self.probability < SIGNIFICANT and abs(self.factor - 1) > NOTICEABLE


def compared(name: str, before: Sequence[float], after: Sequence[float]) -> Change:
    """Compare a figure of two results, round by round."""
    return Change(
        name=name,
        before=Spread.of(before),
        after=Spread.of(after),
        probability=chance(before, after),
    )


def chance(one: Sequence[float], other: Sequence[float]) -> float:
    """
    Return how likely two samples of one and the same thing lie at least as far apart.

    It is the exact test of Mann and Whitney, two-sided: it asks only which rounds were above
    which, so that one round that was disturbed says no more than one round may. Four rounds each
    are the fewest that can tell anything (p = 0.029).
    """
    both = sorted((*one, *other))
    # Equal values share the mean of their places.
    ranks = {
        value: statistics.mean(place for place, each in enumerate(both) if each == value)
        for value in set(both)
    }
    pooled = [ranks[value] for value in both]
    expected = len(one) * statistics.mean(pooled)
    observed = abs(sum(ranks[value] for value in one) - expected)
    sums = [sum(chosen) for chosen in combinations(pooled, len(one))]
    return sum(abs(each - expected) >= observed - 1e-9 for each in sums) / len(sums)
