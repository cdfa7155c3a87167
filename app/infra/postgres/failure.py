"""What goes wrong with a database that is away, told apart from what is a bug."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import asyncpg  # type: ignore[import-untyped]  # ships no types
from sqlalchemy import exc

from app.domain.outcome import StorageUnavailable

RETRY_AFTER = timedelta(seconds=1)

# Classes and codes of SQLSTATE (PostgreSQL manual, appendix A) that a later attempt can overcome.
_CLASSES = (
    "08",  # connection exception
    "28",  # invalid authorization: a password is being rotated
    "3D",  # no such database: it is being restored
    "53",  # insufficient resources: too many connections, disk full, out of memory
    "57",  # operator intervention: shutdown, starting up, statement timeout
    "58",  # system error
)
_CODES = (
    "25006",  # read-only transaction: the primary has moved
    "25P03",  # idle in transaction for too long
    "25P04",  # transaction for too long
    "55P03",  # lock not available in time
)


@contextmanager
def storage_failures() -> Generator[None]:
    """
    Let the absence of the database be the outcome it is; anything else stays what it was.

    :raises StorageUnavailable: if the database cannot be reached, is full, or takes too long
    """
    try:
        yield
    except (
        OSError,  # refused, reset, unresolved; TimeoutError is one as well
        exc.TimeoutError,  # no place in the pool
        exc.DBAPIError,
        asyncpg.PostgresError,  # while a connection is prepared SQLAlchemy lets these through
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,  # the server went away in the middle of something
    ) as error:
        if not _passes(error):
            raise
        raise StorageUnavailable(
            "The database cannot be reached at the moment", retry_after=RETRY_AFTER
        ) from error


def violated_constraint(error: exc.IntegrityError) -> str | None:
    """Return the name of the constraint that a write broke."""
    cause = error.orig.__cause__ if error.orig else None
    name = getattr(cause, "constraint_name", None)
    return name if isinstance(name, str) else None


def _passes(error: Exception) -> bool:
    """Whether time could mend this."""
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or _passing_state(error.orig)
    if isinstance(error, asyncpg.PostgresError):
        return _passing_state(error)
    return not isinstance(error, asyncpg.DataError)


def _passing_state(error: BaseException | None) -> bool:
    state = getattr(error, "sqlstate", None) or ""
    return state.startswith(_CLASSES) or state in _CODES
