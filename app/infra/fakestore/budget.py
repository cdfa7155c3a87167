"""A retry budget: retries are a share of the calls, so that they cannot multiply an outage."""


class RetryBudget:
    """
    A bucket of tokens, full at first.

    Each call deposits `ratio` of a token, each retry takes a whole one; what is over `reserve` is
    lost. So of any `n` calls in a row come at most `n * ratio + reserve` retries.
    """

    def __init__(self, *, ratio: float, reserve: float) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._tokens = reserve

    def deposit(self) -> None:
        """Earn a share of a retry by a call."""
        self._tokens = min(self._tokens + self._ratio, self._reserve)

    def withdraw(self) -> bool:
        """Pay for a retry; tell whether there was enough."""
        # Tenths do not add up to one exactly.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens = max(self._tokens - 1, 0.0)
        return True
