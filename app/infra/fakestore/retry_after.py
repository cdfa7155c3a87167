"""The Retry-After header (RFC 9110, section 10.2.3)."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_MAX_LENGTH = 64
_DIGITS = re.compile(r"[0-9]+")


def parse_retry_after(value: str | None, *, now: datetime, at_most: timedelta) -> timedelta | None:
    """Parse seconds or an HTTP date, limited to `at_most`; None if it is absent or invalid."""
    if value is None:
        return None
    value = value.strip()
    if _DIGITS.fullmatch(value):
        digits = value.lstrip("0") or "0"
        # More digits exceed any limit, and could overflow a timedelta.
        return min(timedelta(seconds=int(digits)), at_most) if len(digits) <= 9 else at_most
    if len(value) > _MAX_LENGTH:
        return None
    try:
        date = parsedate_to_datetime(value)
        # All three date formats of RFC 9110, section 5.6.7, are in UTC; asctime has no zone.
        left = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(left, timedelta(0)), at_most)
