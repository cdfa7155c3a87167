"""
Work that has to happen after a write, at least once, whatever happens to the process that asked
for it.
"""

from dataclasses import dataclass
from typing import TypeAlias

from app.domain.product import ProductId


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateProduct:
    """Ask the catalog whether a product exists that was favorited while it could not be asked."""

    product_id: ProductId


Job: TypeAlias = ValidateProduct
