"""The parts of a change of a list of favorites that all kinds of changes have in common."""

from dataclasses import replace

from app.domain.customer import CustomerId
from app.domain.favorite import Favorite
from app.domain.product import ProductId
from tests.double.storage_history import content_version
from tests.double.storage_table import Listed, ListState, Tables, Transaction


async def lock_list(transaction: Transaction, customer_id: CustomerId) -> bool:
    """Lock the list of a customer; return whether there is such a customer."""
    await transaction.lock("customer", customer_id)
    await transaction.lock("list", customer_id)
    return customer_id in transaction.tables.customers


def next_version(tables: Tables, customer_id: CustomerId) -> int:
    """Give the list its next version."""
    state = tables.lists.get(customer_id) or ListState(catalog_seen=content_version(tables))
    tables.lists[customer_id] = replace(state, version=state.version + 1)
    return state.version + 1


def add_to_list(tables: Tables, favorite: Favorite) -> None:
    """Add a favorite, or replace it, in the next version of the list."""
    key = (favorite.customer_id, favorite.product_id)
    version = next_version(tables, favorite.customer_id)
    tables.favorites[key] = Listed(favorite=favorite, added_in=version, changed_in=version)
    tables.tombstones.pop(key, None)


async def enqueue_job(transaction: Transaction, product_id: ProductId) -> None:
    """Queue the job that asks for a product, unless it is queued already."""
    await transaction.lock("job", product_id)
    if product_id not in transaction.tables.jobs:
        transaction.tables.jobs[product_id] = None
