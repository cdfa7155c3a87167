"""The steps that tests about favorites have in common."""

from collections.abc import Sequence

from app.domain.customer import Customer, CustomerId
from app.domain.favorite import Favorite, FavoriteItem, RemovedFavorite
from app.domain.product import ProductId
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import Session
from app.domain.writes import AddOutcome, AddResult, FavoriteWrites, SignInWrites
from tests import make
from tests.contract.step import do
from tests.make import LIMITS, NOW, PASSWORD_HASH


async def stored_customer(uow: UnitOfWorkFactory) -> Customer:
    """Store a customer without favorites."""
    customer = make.customer()
    await do(uow, lambda work: work.customers.add(customer))
    return customer


async def stored_session(sign_in_writes: SignInWrites, customer: Customer) -> Session:
    """Store an active session of a customer."""
    session = make.session(customer_id=customer.id)
    token = make.refresh_token(session_id=session.id)
    assert await sign_in_writes.begin_session(
        session, token, password_hash=PASSWORD_HASH, attempts=()
    )
    return session


async def add(writes: FavoriteWrites, *favorites: Favorite) -> None:
    """Add favorites that are not there, one after the other."""
    for favorite in favorites:
        assert await writes.add(favorite, limits=LIMITS) == added(favorite)


async def add_rejected(
    uow: UnitOfWorkFactory, writes: FavoriteWrites, customer_id: CustomerId
) -> Favorite:
    """Add a pending favorite of a new product, and let the catalog reject it."""
    pending = make.favorite(customer_id=customer_id, when_favorited=None)
    await add(writes, pending)
    assert await do(uow, lambda work: work.favorites.reject(pending.product_id, now=NOW)) == 1
    return make.favorite(
        customer_id=customer_id,
        product_id=pending.product_id,
        when_favorited=None,
        rejected_at=NOW,
    )


def added(favorite: Favorite) -> AddResult:
    """Return the result of adding a favorite."""
    return AddResult(outcome=AddOutcome.ADDED, favorite=favorite)


def present(favorite: Favorite) -> AddResult:
    """Return the result of adding a favorite that is there."""
    return AddResult(outcome=AddOutcome.PRESENT, favorite=favorite)


async def items(queries: Queries, customer_id: CustomerId) -> Sequence[FavoriteItem]:
    """Return all favorites of a customer, newest first."""
    records = await queries.find_records(customer_id)
    return [] if records is None else records.favorites


async def listed(queries: Queries, customer_id: CustomerId) -> list[Favorite]:
    """Return all favorites of a customer without their products, newest first."""
    return [item.favorite for item in await items(queries, customer_id)]


async def removed(queries: Queries, customer_id: CustomerId) -> Sequence[RemovedFavorite]:
    """Return the remembered removals of a customer, latest first."""
    records = await queries.find_records(customer_id)
    return [] if records is None else records.removed_favorites


async def version(queries: Queries, customer_id: CustomerId) -> int:
    """Return how often the list of a customer has changed."""
    return (await queries.list_version(customer_id)).favorites


async def popularity(uow: UnitOfWorkFactory, queries: Queries, product_id: ProductId) -> int:
    """Return the stored count of customers that favor a product."""
    product = make.product(id=product_id)
    await do(uow, lambda work: work.products.store([product], asked_at=NOW))
    popular = await queries.list_popular(at_least=1, limit=1000)
    return next((p.favorites for p in popular if p.cached.product.id == product_id), 0)


async def assert_counts_are_right(uow: UnitOfWorkFactory) -> None:
    """Assert that the stored sizes of lists and the popularity of products are right."""
    assert await do(uow, lambda work: work.popularity.reconcile()) == 0
