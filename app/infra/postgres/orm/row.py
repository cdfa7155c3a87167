"""The base of all tables, and their column types."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, MetaData, Text, TypeDecorator
from sqlmodel import SQLModel
from typing_extensions import override

# Names of constraints are part of the code: they tell which outcome a violation is.
CONSTRAINT_NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class Row(SQLModel):
    """Base of every table. Rows are data, never passed out of this package."""

    # Rows are not validated: do not build validators whenever a process starts.
    model_config = {"defer_build": True}
    metadata = MetaData(naming_convention=CONSTRAINT_NAMES)


class UtcDateTime(TypeDecorator[datetime]):
    """A `timestamp with time zone`, read in UTC, and never written without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.utcoffset() is None:
            raise ValueError(f"A moment needs a time zone: {value!r}")
        return value

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)


class FoldedText(TypeDecorator[str]):
    """
    Text in its folded form, compared code point by code point.

    With the collation "C" the order is the same on every server and that of Python, and an index
    serves searches for a prefix.
    """

    impl = Text(collation="C")
    cache_ok = True
