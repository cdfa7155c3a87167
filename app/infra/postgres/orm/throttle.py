from datetime import datetime

from sqlalchemy import ARRAY, LargeBinary
from sqlmodel import Field

from app.infra.postgres.orm.row import Row, UtcDateTime


class ThrottleRow(Row, table=True):
    """
    The attempts of one key in the order of time; the next write erases those out of the window.

    Every sign-in writes here. The only index is the primary key, so that new versions of a row
    stay on its page (HOT); the hourly purge reads the whole table, which is small.
    """

    __tablename__ = "throttles"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    key: bytes = Field(sa_type=LargeBinary, primary_key=True)
    attempts: list[datetime] = Field(sa_type=ARRAY(UtcDateTime))
