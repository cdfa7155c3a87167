"""A world of products in which a test observes what the use cases of favorites ask for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from typing_extensions import override

from app.application.favorites.favorite_product import FavoriteProduct
from app.domain.access import SessionCheck
from app.domain.customer import Customer, CustomerId
from app.domain.favorite import ChangePosition, Changes, Favorite
from app.domain.product import CachedProduct, Product, ProductId
from app.domain.queries import FoundFavorite
from app.domain.session import Session
from app.domain.writes import AddOutcome, AddResult, FavoriteLimits
from tests import make
from tests.double.favorite_writes import InMemoryFavoriteWrites
from tests.double.queries import InMemoryQueries
from tests.double.sign_in_writes import InMemorySignInWrites
from tests.double.storage import InMemoryStorage
from tests.unit.application.product_world import Process, World


class RecordingQueries(InMemoryQueries):
    """Records which favorites were looked up, and how often changes were listed."""

    def __init__(self, storage: InMemoryStorage) -> None:
        super().__init__(storage)
        self.found: list[ProductId] = []
        self.changes_listed = 0

    @override
    async def find_favorite(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        session: SessionCheck | None = None,
    ) -> FoundFavorite:
        self.found.append(product_id)
        return await super().find_favorite(customer_id, product_id, session=session)

    @override
    async def list_changes(
        self,
        customer_id: CustomerId,
        *,
        since: ChangePosition,
        limit: int,
        session: SessionCheck | None = None,
    ) -> Changes:
        self.changes_listed += 1
        return await super().list_changes(customer_id, since=since, limit=limit, session=session)


@dataclass(frozen=True)
class RecordingWrites(InMemoryFavoriteWrites):
    """Records the `seen` of each addition; an outcome that is set is returned by all of them."""

    seen: list[CachedProduct | None] = field(default_factory=list)
    outcome: AddOutcome | None = None
    entered: list[CustomerId] = field(default_factory=list)

    @override
    async def add(
        self,
        favorite: Favorite,
        *,
        limits: FavoriteLimits,
        seen: CachedProduct | None = None,
        session: SessionCheck | None = None,
    ) -> AddResult:
        self.seen.append(seen)
        if self.outcome is not None:
            return AddResult(outcome=self.outcome)
        return await super().add(favorite, limits=limits, seen=seen, session=session)

    @override
    async def enter_catalog_changes(self, customer_id: CustomerId) -> None:
        self.entered.append(customer_id)
        await super().enter_catalog_changes(customer_id)


class FavoritesWorld(World):
    """A world with customers; `process` is the one that a test uses."""

    def __init__(
        self,
        *products: Product,
        outcome: AddOutcome | None = None,
        limits: FavoriteLimits = make.LIMITS,
        patience: timedelta = make.MINUTE,
    ) -> None:
        super().__init__(*products)
        self.queries = RecordingQueries(self.storage)
        self.writes = RecordingWrites(self.storage, outcome=outcome)
        self.main = Process(self, sleep=None, queries=self.queries)
        self.favorite_product = FavoriteProduct(
            queries=self.queries,
            favorites=self.writes,
            products=self.main.reader,
            clock=self.clock,
            limits=limits,
            patience=patience,
        )

    async def customer(self) -> Customer:
        """Store a customer."""
        customer = make.customer()
        async with self.storage() as work:
            await work.customers.add(customer)
            await work.commit()
        return customer

    async def session(self, customer: Customer) -> Session:
        """Begin a session of a customer."""
        assert customer.password_hash is not None
        session = make.session(customer_id=customer.id)
        await InMemorySignInWrites(self.storage).begin_session(
            session,
            make.refresh_token(session_id=session.id),
            password_hash=customer.password_hash,
            attempts=[],
        )
        return session

    def check(self, session: Session) -> SessionCheck:
        """Return the check of a session now."""
        return SessionCheck(session_id=session.id, at=self.clock())

    async def stored(self, customer: Customer) -> Collection[Favorite]:
        """Return a customer's favorites."""
        records = await self.queries.find_records(customer.id)
        assert records is not None
        return [item.favorite for item in records.favorites]

    @property
    def answers(self) -> dict[str, int]:
        """How the cache answered, as the metrics count it."""
        ignored: Sequence[str] = ("collapsed",)
        counts = self.main.observer.counts
        return {name: number for name, number in counts.items() if name not in ignored}
