"""Types of the members of requests and responses."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from app.domain.product import MAX_PRODUCT_ID, ProductId

_PRODUCT_ID = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII | re.IGNORECASE,
)


class In(BaseModel):
    """Base of request bodies: without unknown members and conversions of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Out(BaseModel):
    """Base of responses: created from the attributes of domain objects."""

    model_config = ConfigDict(from_attributes=True)


def parse_product_id(text: str) -> ProductId:
    """
    Parse a product id in a path or a query: a decimal number in ASCII.

    Stricter than int(), which accepts signs, underscores, spaces and other digits.

    :raises PydanticCustomError: if it is not a product id
    """
    if _PRODUCT_ID.fullmatch(text) is None or int(text) > MAX_PRODUCT_ID:
        raise PydanticCustomError(
            "product_id", "A product id is a whole number from 1 to 2147483647."
        )
    return ProductId(int(text))


def parse_uuid(text: object) -> object:
    """
    Parse a UUID in its canonical form of 36 characters (RFC 9562, section 4), in either case.

    :raises PydanticCustomError: if it is a string in another form
    """
    if isinstance(text, str):
        if _UUID.fullmatch(text) is None:
            raise PydanticCustomError("uuid", "This has to be a UUID of 36 characters.")
        return UUID(text)
    return text


def _parse_time(text: object) -> object:
    if isinstance(text, str) and _RFC_3339.fullmatch(text) is None:
        raise PydanticCustomError("time", "This has to be a time as in RFC 3339, with its offset.")
    return text


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise PydanticCustomError("time", "This time does not exist in UTC.") from error


def format_time(moment: datetime) -> str:
    """Format a time as RFC 3339, in UTC with `Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat()[:-6]}Z"


_TIME_SCHEMA = {"type": "string", "format": "date-time", "examples": ["2026-11-20T12:00:00Z"]}

PRODUCT_ID_SCHEMA = {"type": "integer", "minimum": 1, "maximum": MAX_PRODUCT_ID}

ProductIdIn = Annotated[
    ProductId,
    BeforeValidator(parse_product_id),
    WithJsonSchema(PRODUCT_ID_SCHEMA),
]
"""A product id in a path."""

ProductNumber = Annotated[
    ProductId,
    Field(strict=True, ge=1, le=MAX_PRODUCT_ID),
    WithJsonSchema(PRODUCT_ID_SCHEMA),
]
"""A product id in a body."""


def _parse_flag(text: object) -> object:
    # Pydantic accepts more texts as a bool: "on", "1", "T".
    if isinstance(text, str) and text not in ("true", "false"):
        raise PydanticCustomError("flag", "This has to be `true` or `false`.")
    return text


FlagIn = Annotated[bool, BeforeValidator(_parse_flag), WithJsonSchema({"type": "boolean"})]
"""A boolean in a query."""

UuidIn = Annotated[UUID, BeforeValidator(parse_uuid)]
"""A UUID in a path."""

TimeIn = Annotated[
    AwareDatetime,
    BeforeValidator(_parse_time),
    AfterValidator(_in_utc),
    WithJsonSchema(_TIME_SCHEMA),
]
"""A time in a query (RFC 3339)."""

TimeOut = Annotated[datetime, PlainSerializer(format_time), WithJsonSchema(_TIME_SCHEMA)]
"""A time in a response: RFC 3339 in UTC with `Z`, with microseconds unless they are zero."""


def format_money(amount: Decimal) -> str:
    """Format an amount of money with two decimal places."""
    return f"{amount:.2f}"


Money = Annotated[
    Decimal,
    PlainSerializer(format_money),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "examples": ["695.00"]}),
]
"""An amount of money in a response: a string with two decimal places."""


def format_rate(rate: Decimal) -> float:
    """Convert a mean of votes to a number."""
    return float(rate)


Rate = Annotated[Decimal, PlainSerializer(format_rate), WithJsonSchema({"type": "number"})]
"""A mean of votes."""

NO_NUL = r"^[^\u0000]*$"
Text = Annotated[str, Field(pattern=NO_NUL)]
"""Text without U+0000, which PostgreSQL cannot store."""
