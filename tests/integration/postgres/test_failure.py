import asyncpg  # type: ignore[import-untyped]  # ships no types
import pytest
from sqlalchemy.exc import DBAPIError

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import storage_failures


class WithState(Exception):
    """An error as SQLAlchemy's adapter raises it, with PostgreSQL's code."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("something happened")
        self.sqlstate = sqlstate


class TestStorageFailures:
    @pytest.mark.parametrize(
        "error",
        [
            ConnectionRefusedError(),
            TimeoutError(),
            asyncpg.TooManyConnectionsError("sorry, too many clients already"),
            asyncpg.CannotConnectNowError("the database system is starting up"),
            asyncpg.InterfaceError("connection is closed"),
            *(
                DBAPIError("SELECT", {}, WithState(state))
                for state in ("08006", "53300", "53100", "57P01", "57P03", "57014", "25006")
            ),
        ],
        ids=lambda error: (
            getattr(getattr(error, "orig", error), "sqlstate", None) or type(error).__name__
        ),
    )
    def test_are_the_absence_of_the_database(self, error: Exception) -> None:
        with pytest.raises(StorageUnavailable) as caught, storage_failures():
            raise error
        assert caught.value.__cause__ is error
        assert caught.value.retry_after.total_seconds() == 1

    @pytest.mark.parametrize(
        "error",
        [
            ValueError(),
            asyncpg.DataError("value out of int32 range"),
            *(
                DBAPIError("SELECT", {}, WithState(state))
                for state in ("23505", "42601", "40P01", None)
            ),
        ],
        ids=lambda error: (
            getattr(getattr(error, "orig", error), "sqlstate", None) or type(error).__name__
        ),
    )
    def test_are_not_what_is_a_bug(self, error: Exception) -> None:
        with pytest.raises(type(error)) as caught, storage_failures():
            raise error
        assert caught.value is error
