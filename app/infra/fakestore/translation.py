"""
Translation of the catalog's responses into products.

    status                  body                         meaning
    200                     valid                        the product or products
    200, one product        empty, or null               the product does not exist
    404, one product        any                          the product does not exist
    429                     any                          rate_limited, retryable
    5xx                     any                          server_error, retryable
    any other, also 3xx     any                          unexpected_status
    200                     anything else                garbage

A failure says nothing about a product. Bodies are neither logged nor kept in exceptions.
"""

import json
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from http import HTTPStatus
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from app.application.catalog.catalog_observer import CallOutcome
from app.domain.product import MAX_PRODUCT_ID, Product, ProductId, Rating
from app.infra.fakestore.catalog_response import CatalogResponse
from app.infra.fakestore.failure import CallFailed

_CENT = Decimal("0.01")
_PRICE_LIMIT = Decimal(10) ** 10
_MAX_COUNT = 2_147_483_647


def to_product(response: CatalogResponse, *, expected_id: ProductId) -> Product | None:
    """
    Return the requested product; None if the catalog says that it does not exist.

    :raises CallFailed: if the response is neither
    """
    if response.status == HTTPStatus.NOT_FOUND:
        return None
    _require_ok(response)
    if not response.body:
        return None
    document = _parse_json(response.body)
    if document is None:
        return None
    product = _validate(document)
    if product.id != expected_id:
        raise CallFailed(CallOutcome.GARBAGE, "not the requested product")
    return product


def to_products(response: CatalogResponse) -> Sequence[Product]:
    """
    Return the whole catalog.

    :raises CallFailed: if it is empty, lists a product twice, or any product is invalid
    """
    _require_ok(response)
    document = _parse_json(response.body)
    if not isinstance(document, list) or not document:
        raise CallFailed(CallOutcome.GARBAGE, "not a list of products")
    products = [_validate(item) for item in document]
    if len({product.id for product in products}) < len(products):
        raise CallFailed(CallOutcome.GARBAGE, "a product is listed twice")
    return products


def _require_ok(response: CatalogResponse) -> None:
    match response.status:
        case HTTPStatus.OK:
            return
        case HTTPStatus.TOO_MANY_REQUESTS:
            outcome = CallOutcome.RATE_LIMITED
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            outcome = CallOutcome.SERVER_ERROR
        case _:
            outcome = CallOutcome.UNEXPECTED_STATUS
    raise CallFailed(outcome, f"status {response.status}", retry_after=response.retry_after)


def _parse_json(body: bytes) -> Any:
    try:
        # Decoded first: given bytes, `json` guesses the encoding and accepts surrogates.
        return json.loads(body.decode(), parse_float=Decimal, parse_constant=_reject_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise CallFailed(CallOutcome.GARBAGE, "invalid JSON") from error


def _reject_constant(_constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON (RFC 8259, section 6)")


def _validate(document: object) -> Product:
    try:
        return _Product.model_validate(document).to_entity()
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "product"
        raise CallFailed(CallOutcome.GARBAGE, f"{where}: {first['type']}") from error


def _number(value: object) -> Decimal:
    if type(value) is int:
        return Decimal(value)
    if isinstance(value, Decimal) and value.is_finite():
        return value
    raise ValueError("not a finite number")


def _two_places(value: Decimal) -> Decimal:
    # The value is not negative here; abs() removes the sign of minus zero.
    return abs(value).quantize(_CENT, rounding=ROUND_HALF_UP)


def _storable(text: str) -> str:
    # PostgreSQL cannot store U+0000, and UTF-8 cannot encode surrogates.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains characters that cannot be stored")
    return text


def _trimmed(text: str) -> str:
    trimmed = text.strip()
    if not trimmed:
        raise ValueError("blank")
    return trimmed


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http or https URL")
    # This also excludes surrogates and U+0000, which are not printable.
    if not text.isprintable() or " " in text:
        raise ValueError("a URL has no spaces or control characters")
    return text


_Price = Annotated[
    Decimal,
    BeforeValidator(_number),
    Field(ge=0, lt=_PRICE_LIMIT),
    AfterValidator(_two_places),
    Field(lt=_PRICE_LIMIT),
]
_Rate = Annotated[
    Decimal, BeforeValidator(_number), Field(ge=0, le=5), AfterValidator(_two_places)
]
_Label = Annotated[str, AfterValidator(_storable), AfterValidator(_trimmed)]
_Title = Annotated[_Label, StringConstraints(max_length=500)]
_Category = Annotated[_Label, StringConstraints(max_length=100)]
_Description = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_storable)]
_Image = Annotated[str, StringConstraints(max_length=2_048), AfterValidator(_http_url)]


class _Rating(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    rate: _Rate
    count: Annotated[int, Field(ge=0, le=_MAX_COUNT)]

    def to_entity(self) -> Rating:
        return Rating(rate=self.rate, count=self.count)


class _Product(BaseModel):
    """A product in the format of the catalog; unknown members are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    id: Annotated[int, Field(ge=1, le=MAX_PRODUCT_ID)]
    title: _Title
    price: _Price
    description: _Description
    category: _Category
    image: _Image
    rating: _Rating | None = None

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
