"""Retry-After: seconds, dates, and invalid values."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.fakestore.retry_after import parse_retry_after
from tests.make import NOW

AT_MOST = timedelta(seconds=60)


def _parse(value: str | None) -> timedelta | None:
    return parse_retry_after(value, now=NOW, at_most=AT_MOST)


class TestParseRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0),
            ("7", 7),
            (" 7 ", 7),
            ("0000000000007", 7),
            ("61", 60),
            ("99999999999", 60),
            ("9" * 5_000, 60),
            (format_datetime(NOW + timedelta(seconds=7), usegmt=True), 7),
            (format_datetime(NOW - timedelta(days=7), usegmt=True), 0),
            (format_datetime(NOW + timedelta(days=7), usegmt=True), 60),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 60),
            ("Friday, 20-Nov-26 12:00:07 GMT", 7),
            ("Fri Nov 20 12:00:07 2026", 7),
        ],
    )
    def test_parses(self, value: str, seconds: int) -> None:
        assert _parse(value) == timedelta(seconds=seconds)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "٣",
            "soon",
            "NaN",
            "Fri, 99 Nov 2026 12:00:07 GMT",
            "Fri, 20 Nov 99999999999 12:00:07 GMT",
            "x" * 100_000,
        ],
    )
    def test_ignores(self, value: str | None) -> None:
        assert _parse(value) is None

    @given(value=st.text())
    def test_limits_any_value(self, value: str) -> None:
        assert timedelta(0) <= (_parse(value) or timedelta(0)) <= AT_MOST

    @given(moment=st.datetimes(timezones=st.just(UTC)))
    def test_parses_every_date(self, moment: datetime) -> None:
        left = _parse(format_datetime(moment, usegmt=True))
        expected = min(max(moment.replace(microsecond=0) - NOW, timedelta(0)), AT_MOST)
        assert left == expected or moment.year < 1_000
