"""What statements are told about the sessions that have to hold."""

from collections.abc import Iterable
from datetime import datetime

from app.domain.access import SessionClaim
from app.domain.session import SessionId


def session_ids(claims: Iterable[SessionClaim | None]) -> list[SessionId | None]:
    """Return the sessions in order; None where nothing is claimed."""
    return [None if claim is None else claim.session_id for claim in claims]


def latest(claims: Iterable[SessionClaim | None]) -> datetime | None:
    """
    Return when all of them have to hold; None if nothing is claimed.

    They are made within moments of each other: what is over for one is over for all.
    """
    return max((claim.at for claim in claims if claim is not None), default=None)
