"""
Reads of one customer's data that share a statement with those of other customers.

In all these statements $1 are the sessions to validate, $2 is the moment at which they have to be
active, $3 are the customers; `q` is one read, numbered by `q.n` from 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from app.domain.access import SessionCheck, session_ended
from app.domain.customer import CustomerId
from app.domain.outcome import CustomerNotFound, InvalidToken
from app.domain.session import SessionId

T = TypeVar("T")
R = TypeVar("R")

SESSION_IS_ACTIVE = "session_is_active(s.ended_at, s.idle_expires_at, s.expires_at, $2)"

# The session is found by its own key alone: a customer may have many.
JOINS = f"""
    LEFT JOIN sessions AS s ON s.id = q.session_id AND {SESSION_IS_ACTIVE}
    LEFT JOIN favorite_lists AS l ON l.customer_id = q.customer_id"""

SESSION_IS_VALID = "(q.session_id IS NULL OR s.customer_id = q.customer_id)"

# The customer of a valid session exists, and so does that of a list. Unlike EXISTS, a scalar
# subquery never becomes a hash table of all customers.
_IS_ALLOWED = """(
        s.customer_id = q.customer_id
        OR q.session_id IS NULL AND coalesce(
            l.customer_id, (SELECT c.id FROM customers AS c WHERE c.id = q.customer_id)
        ) IS NOT NULL
    )"""

CATALOG_VERSION = "coalesce((SELECT content_version FROM catalog_state WHERE id = 1), 0)"

# The version of the list is null if the read is not allowed.
LIST_VERSION = f"CASE WHEN {_IS_ALLOWED} THEN coalesce(l.version, 0) END, {CATALOG_VERSION}"


class CustomerRead(Generic[T]):
    """Whose data to read, the session to validate, and what to read."""

    __slots__ = ("customer_id", "session", "what")

    def __init__(self, customer_id: CustomerId, session: SessionCheck | None, what: T) -> None:
        self.customer_id = customer_id
        self.session = session
        self.what = what

    def refusal(self) -> InvalidToken | CustomerNotFound:
        """Return the outcome if this read is not allowed."""
        return CustomerNotFound() if self.session is None else session_ended()


def parameters(
    reads: Sequence[CustomerRead[Any]],
) -> tuple[list[SessionId | None], datetime | None, list[CustomerId]]:
    """Return $1 to $3."""
    sessions = [read.session for read in reads]
    return (
        [None if session is None else session.session_id for session in sessions],
        latest(sessions),
        [read.customer_id for read in reads],
    )


def in_order(results: Mapping[int, R]) -> Sequence[R]:
    """Return results by the number of their read in the order of the reads."""
    return [results[n] for n in range(1, len(results) + 1)]


def latest(sessions: Iterable[SessionCheck | None]) -> datetime | None:
    """
    Return the moment at which all sessions have to be active; None without any.

    They are validated within moments of each other, so the latest one holds for all.
    """
    return max((session.at for session in sessions if session is not None), default=None)
