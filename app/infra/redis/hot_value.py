"""
The values of the hot tier: `<stamp>:<until>:<product as JSON>`.

Both times are microseconds since 1970, which Lua's numbers represent exactly. Without a product
the value is a marker: it prevents the storing of copies that are older than its stamp.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from app.domain.product import MAX_PRODUCT_ID, Product, ProductId, Rating

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


class HotValue(NamedTuple):
    """A product or a marker, since when it is known, and when it expires."""

    stamp: datetime
    until: datetime
    product: Product | None

    def encode(self) -> bytes:
        """Encode the value for Redis."""
        body = b"" if self.product is None else to_json(self.product)
        return b"%d:%d:%b" % (ticks(self.stamp), ticks(self.until), body)

    @classmethod
    def decode(cls, value: bytes) -> "HotValue":
        """
        Decode a value from Redis.

        :raises ValueError: if it is not valid
        """
        stamp, until, body = value.split(b":", 2)
        try:
            times = (_EPOCH + int(stamp) * TICK, _EPOCH + int(until) * TICK)
        except OverflowError as error:
            raise ValueError("A time is out of range") from error
        product = _Product.model_validate_json(body).to_entity() if body else None
        return cls(*times, product)


def ticks(moment: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return (moment - _EPOCH) // TICK


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class _Rating(_Strict):
    rate: Annotated[Decimal, Field(ge=0, le=5)]
    count: Annotated[int, Field(ge=0)]

    def to_entity(self) -> Rating:
        return Rating(rate=self.rate, count=self.count)


class _Product(_Strict):
    """A product with the precision of the database, so that both sources look the same."""

    id: Annotated[int, Field(ge=1, le=MAX_PRODUCT_ID)]
    title: str
    price: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
    description: str
    category: str
    image: str
    rating: _Rating | None

    def to_entity(self) -> Product:
        return Product(
            id=ProductId(self.id),
            title=self.title,
            price=self.price,
            description=self.description,
            category=self.category,
            image=self.image,
            rating=None if self.rating is None else self.rating.to_entity(),
        )
