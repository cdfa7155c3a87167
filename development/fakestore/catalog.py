"""The products of the local Fake Store, and changes to them at run time."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=10_000)]
# Integers are kept: the public store answers 109 and 109.95, and clients must read both.
Price = Annotated[int, Field(ge=0, le=10**9)] | Annotated[float, Field(ge=0, le=1e9)]


class Rating(BaseModel):
    """The mean of `count` votes from 0 to 5."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    rate: Annotated[float, Field(ge=0, le=5)]
    count: Annotated[int, Field(ge=0, le=10**9)]


class Product(BaseModel):
    """A product as in the public store; without `image` it gets a URL of this store."""

    title: Text
    price: Price
    description: Text
    category: Text
    rating: Rating | None
    image: Text | None = None


class ProductChange(BaseModel):
    """New values of some fields of a product; a field left out stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    title: Text = ""
    price: Price = 0
    description: Text = ""
    category: Text = ""
    rating: Rating | None = None
    image: Text | None = None


class Catalog:
    """The twenty products, and changes to them."""

    def __init__(self) -> None:
        self._products = dict(PRODUCTS)

    def ids(self) -> Sequence[int]:
        """Return the ids of all products, ascending."""
        return sorted(self._products)

    def get(self, product_id: int) -> Product | None:
        """Return a product, or None if there is none."""
        return self._products.get(product_id)

    def categories(self) -> Sequence[str]:
        """Return the categories that have products, in alphabetical order."""
        return sorted({product.category for product in self._products.values()})

    def change(self, product_id: int, change: ProductChange) -> Product | None:
        """Change a product, restore a removed one, or add one.

        Returns None if the product would be new and fields are missing.
        """
        known = self._products.get(product_id) or PRODUCTS.get(product_id)
        if known is None:
            if change.model_fields_set < {"title", "price", "description", "category"}:
                return None
            product = Product(**dict(change))
        else:
            changed = {name: getattr(change, name) for name in change.model_fields_set}
            product = known.model_copy(update=changed)
        self._products[product_id] = product
        return product

    def remove(self, product_id: int) -> bool:
        """Remove a product, and return whether it existed."""
        return self._products.pop(product_id, None) is not None

    def restore(self) -> None:
        """Undo all changes."""
        self._products = dict(PRODUCTS)


def _read() -> Mapping[int, Product]:
    text = Path(__file__).with_name("products.json").read_text(encoding="utf-8")
    return {entry.pop("id"): Product(**entry) for entry in json.loads(text)}


# As in the public store, some titles end with a space and some prices are whole numbers.
PRODUCTS = _read()
