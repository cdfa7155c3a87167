"""A retry budget: retries are a share of the calls, so that they cannot amplify an outage."""


class RetryBudget:
    """
    A token bucket that starts full.

    Each call adds `ratio` tokens, up to `reserve`; each retry takes one. `n` calls in a row
    therefore cause at most `n * ratio + reserve` retries.
    """

    def __init__(self, *, ratio: float, reserve: float) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._tokens = reserve

    def deposit(self) -> None:
        """Add the tokens of one call."""
        self._tokens = min(self._tokens + self._ratio, self._reserve)

    def withdraw(self) -> bool:
        """Take the token of one retry; return False if there is none."""
        # Ten times 0.1 is slightly less than 1.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens = max(self._tokens - 1, 0.0)
        return True
