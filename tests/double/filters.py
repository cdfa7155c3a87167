"""Which rows match the filters of a query, and their positions in its order."""

from app.domain.customer import Customer, CustomerQuery, CustomerSort, fold
from app.domain.favorite import FavoriteItem, FavoriteQuery, FavoriteSort
from app.domain.page import Position
from app.domain.product import Product, ProductQuery, ProductSort
from tests.double.storage_table import sortable

DESCENDING = {FavoriteSort.NEWEST, FavoriteSort.DEAREST}


def customer_matches(customer: Customer, query: CustomerQuery) -> bool:
    """Tell whether a customer matches all filters."""
    return (
        (query.email is None or customer.email.key == fold(query.email))
        and (query.name is None or fold(customer.name).startswith(fold(query.name)))
        and (query.created_after is None or customer.created_at > query.created_after)
        and (query.created_before is None or customer.created_at < query.created_before)
        and (query.role is None or customer.role is query.role)
    )


def customer_position(customer: Customer, sort: CustomerSort) -> Position:
    """Return the position behind a customer."""
    tie = sortable(customer.id)
    match sort:
        case CustomerSort.OLDEST | CustomerSort.NEWEST:
            return (sortable(customer.created_at), tie)
        case CustomerSort.NAME:
            return (fold(customer.name), tie)
        case CustomerSort.EMAIL:
            return (customer.email.key, tie)


def item_matches(item: FavoriteItem, query: FavoriteQuery) -> bool:
    """Tell whether a favorite matches all filters."""
    if query.category is None and query.q is None:
        return True
    return item.cached is not None and product_matches(item.cached.product, query)


def item_position(item: FavoriteItem, sort: FavoriteSort) -> Position:
    """Return the position behind a favorite."""
    tie = sortable(item.favorite.product_id)
    if sort in {FavoriteSort.NEWEST, FavoriteSort.OLDEST}:
        return (sortable(item.favorite.favorited_at), tie)
    known = item.cached is not None
    # Unknown products come last in both directions.
    rank = sortable(known == (sort in DESCENDING))
    if item.cached is None:
        return (rank, None, tie)
    product = item.cached.product
    by = fold(product.title) if sort is FavoriteSort.TITLE else sortable(product.price)
    return (rank, by, tie)


def product_matches(product: Product, query: FavoriteQuery | ProductQuery) -> bool:
    """Tell whether a product matches all filters."""
    return (query.category is None or product.category == query.category) and (
        query.q is None or fold(query.q) in fold(product.title)
    )


def product_position(product: Product, sort: ProductSort) -> Position:
    """Return the position behind a product."""
    tie = sortable(product.id)
    match sort:
        case ProductSort.ID:
            return (tie,)
        case ProductSort.CHEAPEST | ProductSort.DEAREST:
            return (sortable(product.price), tie)
        case ProductSort.TITLE:
            return (fold(product.title), tie)
