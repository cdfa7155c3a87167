"""
Which answers about lists were made in full lately.

A client that holds one already is told so (304), and it is not made. Nobody looks then at how old
the copies of products in it are, and nothing would be refreshed for as long as all who ask know
the answer. So each of them is made all the same once in a while, which refreshes what is due.
"""

from datetime import datetime

from starlette.types import Scope

from app.infra.http.use_cases import wired

TIMES_A_SOFT_TTL = 4
"""So often an answer is made at least while its copies become stale."""

AT_MOST = 16_384


class LatelyShown:
    """When this process made answers, by their tags; of the latest `at_most` alone."""

    def __init__(self, *, at_most: int = AT_MOST) -> None:
        self._at_most = at_most
        # By a hash, which is smaller: two tags for one would only be looked at later.
        self._shown: dict[int, datetime] = {}

    def note(self, tag: str, now: datetime) -> None:
        """Remember that an answer has been made."""
        key = hash(tag)
        # At the end again, so that the first one is the oldest.
        self._shown.pop(key, None)
        self._shown[key] = now
        if len(self._shown) > self._at_most:
            del self._shown[next(iter(self._shown))]

    def is_known(self, tag: str, *, since: datetime) -> bool:
        """Tell whether an answer was made since then."""
        shown = self._shown.get(hash(tag))
        return shown is not None and shown > since


def note_shown(scope: Scope, tag: str) -> None:
    """Remember that the answer with this tag is made for a request."""
    _lately_shown(scope).note(tag, wired(scope).products.clock())


def was_shown_lately(scope: Scope, tag: str) -> bool:
    """Tell whether it need not be made for somebody who holds it."""
    products = wired(scope).products
    since = products.clock() - products.policy.soft_ttl / TIMES_A_SOFT_TTL
    return _lately_shown(scope).is_known(tag, since=since)


def _lately_shown(scope: Scope) -> LatelyShown:
    shown: LatelyShown = scope["state"]["lately_shown"]
    return shown
