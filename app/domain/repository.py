"""
Storage for the writes that take several steps: repositories in a unit of work.

Reads that do not belong to a write are in `app.domain.queries`, the frequent writes in
`app.domain.writes`. Vocabulary: `get` returns one or None by id, `add` refuses duplicates, `save`
replaces, `lock` keeps other transactions from changing a row until this one ends. Every promise is
a test in the contract suite, kept by the in-memory double and by PostgreSQL.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeAlias

from app.domain.access import ApiKey, ApiKeyId
from app.domain.customer import Customer, CustomerId
from app.domain.favorite import Snapshot
from app.domain.product import (
    CachedProduct,
    CatalogState,
    Product,
    ProductId,
    UnknownProduct,
)
from app.domain.session import (
    RefreshFamily,
    RefreshToken,
    RefreshTokenHash,
    Session,
    SessionId,
)
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule


class CustomerRepository(ABC):
    """Customers by id and by address."""

    @abstractmethod
    async def add(self, customer: Customer) -> None:
        """
        Store a new customer.

        :raises EmailTaken: if the address, case aside, belongs to another customer
        """

    @abstractmethod
    async def save(self, customer: Customer) -> None:
        """
        Replace a stored customer of the version before `customer.version`.

        :raises EmailTaken: if the address, case aside, belongs to another customer
        :raises CustomerNotFound: if there is no such customer
        :raises PreconditionFailed: if the stored version is another one
        """

    @abstractmethod
    async def get(self, customer_id: CustomerId) -> Customer | None:
        """Return the customer."""

    @abstractmethod
    async def lock(self, customer_id: CustomerId) -> Customer | None:
        """Return the customer, locked until this unit of work ends."""

    @abstractmethod
    async def remove(self, customer_id: CustomerId) -> bool:
        """Erase the customer, their favorites and sessions; tell whether there was one."""


class SessionRepository(ABC):
    """Sessions and their refresh tokens."""

    @abstractmethod
    async def get(self, session_id: SessionId) -> Session | None:
        """Return the session, active or not."""

    @abstractmethod
    async def save(self, session: Session) -> None:
        """Replace a stored session."""

    @abstractmethod
    async def lock_family(self, token_hash: RefreshTokenHash) -> RefreshFamily | None:
        """Return the family of a refresh token, locked until the transaction ends."""

    @abstractmethod
    async def add_token(self, token: RefreshToken) -> None:
        """Store the next refresh token of a session."""

    @abstractmethod
    async def save_token(self, token: RefreshToken) -> None:
        """Replace a stored refresh token."""

    @abstractmethod
    async def end_all(
        self, customer_id: CustomerId, *, now: datetime, keep: SessionId | None = None
    ) -> int:
        """End the customer's active sessions but the one to keep; return how many were ended."""

    @abstractmethod
    async def purge(self, *, before: datetime) -> int:
        """Erase sessions that ended or expired before a moment; return how many."""


class ApiKeyRepository(ABC):
    """API keys of internal systems."""

    @abstractmethod
    async def add(self, key: ApiKey) -> None:
        """Store a new key."""

    @abstractmethod
    async def revoke(self, key_id: ApiKeyId, *, now: datetime) -> bool:
        """Revoke the key; tell whether there was one to revoke."""

    @abstractmethod
    async def touch(self, key_id: ApiKeyId, *, now: datetime, granularity: timedelta) -> None:
        """Note that the key was used, unless a note younger than the granularity exists."""


class FavoriteRepository(ABC):
    """The writes of jobs to favorites of many customers."""

    @abstractmethod
    async def confirm(self, product_id: ProductId, snapshot: Snapshot) -> int:
        """Give all pending favorites of a product their snapshot; return how many there were."""

    @abstractmethod
    async def reject(self, product_id: ProductId, *, now: datetime) -> int:
        """Mark all pending favorites of a product as rejected; return how many there were."""

    @abstractmethod
    async def forget_removed(self, *, restorable_since: datetime, since: datetime) -> int:
        """
        Forget the content of favorites removed before `restorable_since`, and the removal itself
        of those removed before `since`; return how many were changed.
        """


class PopularityRepository(ABC):
    """How many customers favor a product; counted by the writes that add or remove a favorite."""

    @abstractmethod
    async def reconcile(self) -> int:
        """Count again, beside concurrent writes; return how many counts were wrong."""


class ProductRepository(ABC):
    """
    The last known copies of the catalog's products, and the leases to fetch newer ones.

    All writes are single conditional statements: an answer to an older request never overwrites a
    newer one.
    """

    @abstractmethod
    async def get(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        """Return the last known copy, or what is remembered of an id without one."""

    @abstractmethod
    async def acquire_lease(
        self, product_ids: Collection[ProductId], *, now: datetime, until: datetime
    ) -> frozenset[ProductId]:
        """Take the lease on fetching these products; return those for which it was free."""

    @abstractmethod
    async def block(self, product_ids: Collection[ProductId], *, until: datetime) -> None:
        """
        Release the lease after a failure; it is not free again before `until`.

        A longer block that exists already stays.
        """

    @abstractmethod
    async def store(self, products: Collection[Product], *, asked_at: datetime) -> None:
        """
        Store newer copies, release their leases, and record prices that changed.

        A product that was missing or removed before `asked_at` is available again. Copies that
        answer a newer request stay. Of two copies of one product the last counts.
        """

    @abstractmethod
    async def note_absence(
        self, product_id: ProductId, *, asked_at: datetime, until: datetime
    ) -> None:
        """
        Record the answer "there is no such product" to a request for this product alone.

        Of an unknown product it is remembered until `until`. A known product is only `missing`
        after the first such answer, and removed after one to a later request; a newer copy stays.
        The lease is released in any case.
        """

    @abstractmethod
    async def note_complete_list(
        self, product_ids: Collection[ProductId], *, asked_at: datetime
    ) -> frozenset[ProductId]:
        """
        Compare the known products with the whole catalog; return those removed by it.

        A product that is not in the list becomes `missing`, and removed if it was missing before
        `asked_at`; a newer copy stays. The catalog counts as fetched at `asked_at`, and the lease
        on the whole of it is released.
        """

    @abstractmethod
    async def catalog_state(self) -> CatalogState:
        """Return what is known of the catalog as a whole."""

    @abstractmethod
    async def acquire_catalog_lease(self, *, now: datetime, until: datetime) -> bool:
        """Take the lease on fetching the whole catalog; tell whether it was free."""

    @abstractmethod
    async def block_catalog(self, *, until: datetime) -> None:
        """Release that lease after a failure; it is not free again before `until`."""

    @abstractmethod
    async def purge_unknown(self, *, now: datetime) -> int:
        """
        Erase expired memories of ids without a copy; return how many.

        Rows with a lease or a block that still holds are kept.
        """


class ThrottleRepository(ABC):
    """Attempts within sliding windows, exact over all processes."""

    @abstractmethod
    async def take(
        self, key: ThrottleKey, rule: ThrottleRule, *, now: datetime
    ) -> Attempt | timedelta:
        """Count an attempt if the rule allows it; otherwise return how long to wait for one."""

    @abstractmethod
    async def give_back(self, attempt: Attempt) -> None:
        """Erase an attempt that does not count after all."""

    @abstractmethod
    async def forget(self, key: ThrottleKey) -> None:
        """Erase a key with all its attempts."""

    @abstractmethod
    async def purge(self, *, before: datetime) -> int:
        """Erase keys whose last attempt is older; return how many."""


class UnitOfWork(ABC):
    """One transaction. What is not committed on leaving is undone."""

    customers: CustomerRepository
    sessions: SessionRepository
    api_keys: ApiKeyRepository
    favorites: FavoriteRepository
    popularity: PopularityRepository
    products: ProductRepository
    throttles: ThrottleRepository

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    async def commit(self) -> None:
        """
        Make everything done in this unit of work durable.

        :raises StorageUnavailable: if the database cannot be reached; so does every other method
        """


UnitOfWorkFactory: TypeAlias = Callable[[], UnitOfWork]
