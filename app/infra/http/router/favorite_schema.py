"""Favorites in responses; `JsonWriter` writes them."""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from app.domain.favorite import BatchResult, ChangeKind, FavoriteStatus
from app.infra.http.paging import PageOut
from app.infra.http.router.customer_schema import CustomerOut
from app.infra.http.router.product_schema import ProductOut, RatingOut
from app.infra.http.schema import Money, Out, TimeOut


class SnapshotOut(Out):
    """The product at the time at which it was favorited."""

    title: str
    price: Money
    image: str
    rating: RatingOut | None


class FavoriteOut(Out):
    """A favorite with the last known copy of its product."""

    product_id: int
    favorited_at: TimeOut
    status: Annotated[
        FavoriteStatus,
        Field(
            description="`pending`: accepted while the catalog was unavailable, and not confirmed "
            "yet; `removed`: the catalog does not list the product, or no longer does."
        ),
    ]
    reason: Annotated[
        str | None,
        Field(
            exclude_if=lambda value: value is None,
            description="Why it is `removed`: `dropped_by_catalog` or `not_in_catalog`.",
        ),
    ] = None
    product: ProductOut | None
    when_favorited: SnapshotOut | None
    price_change: Annotated[
        Money | None, Field(description="The current price minus the price when favorited.")
    ]


class ContainsOut(Out):
    """Whether products are favorites, by their ids."""

    items: dict[str, bool]


class ProfileOut(Out):
    """A customer with the first page of their favorites."""

    customer: CustomerOut
    favorites: PageOut[FavoriteOut]


class FavoriteChangeOut(Out):
    """A change of one favorite."""

    product_id: int
    change: Annotated[
        ChangeKind,
        Field(
            description="`changed`: its state changed. Clients can handle `added` and `changed` "
            "alike: replace the local copy by `favorite`."
        ),
    ]
    favorite: Annotated[
        FavoriteOut | None, Field(description="Its current state; null if it was removed.")
    ]


class FavoriteChangesOut(Out):
    """Changes of favorites, at most one for each, with the current state."""

    items: list[FavoriteChangeOut]
    cursor: Annotated[str, Field(description="The value of `since` for the next request.")]
    more: Annotated[bool, Field(description="Whether there are more changes already.")]
    next: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "format": "uri-reference"}),
        Field(
            exclude_if=lambda value: value is None,
            description="The address of more changes; absent if there are none yet.",
        ),
    ] = None


class ChangedFavoriteOut(Out):
    """The result for one product."""

    product_id: int
    result: BatchResult


class ChangedFavoritesOut(Out):
    """The result for each product in the order of the request: first `add`, then `remove`."""

    items: list[ChangedFavoriteOut]
