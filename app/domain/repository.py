"""
What the core needs of storage.

Vocabulary: `get` returns one or None by id, `find_by_…` one or None by something else, `list_…` a
sequence in a stated order, `add` refuses duplicates, `save` replaces, `remove` takes away. Text is
compared and ordered in its folded form (`fold`), code point by code point; ties are ordered in the
direction of the sort. Every promise made here is a test in the contract suite, kept by the
in-memory double and by PostgreSQL alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeAlias

from app.domain.access import ApiKey, ApiKeyId, CustomerPrincipal, SessionClaim
from app.domain.customer import Customer, CustomerId, CustomerQuery, PasswordHash
from app.domain.favorite import (
    ChangePosition,
    Changes,
    Favorite,
    FavoriteItem,
    FavoriteQuery,
    KeptFavorite,
    ListVersion,
    RemovedFavorite,
    Snapshot,
)
from app.domain.job import Job
from app.domain.page import Page
from app.domain.product import (
    CachedProduct,
    CatalogState,
    PopularProduct,
    PricePoint,
    Product,
    ProductId,
    ProductQuery,
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

        :raises EmailTaken: if the address, case aside, belongs to somebody
        """

    @abstractmethod
    async def save(self, customer: Customer) -> None:
        """
        Replace a stored customer, provided that nobody else has since.

        :raises EmailTaken: if the address, case aside, belongs to somebody else
        :raises CustomerNotFound: if there is no such customer
        :raises PreconditionFailed: if the stored version is not the one before `customer.version`
        """

    @abstractmethod
    async def get(self, customer_id: CustomerId) -> Customer | None:
        """Return the customer."""

    @abstractmethod
    async def lock(self, customer_id: CustomerId) -> Customer | None:
        """Return the customer, whom no other unit changes, locks or removes until this ends."""

    @abstractmethod
    async def find_by_email(self, key: str) -> Customer | None:
        """Return the customer whose `email.key` this is."""

    @abstractmethod
    async def list_page(self, query: CustomerQuery) -> Page[Customer]:
        """Return the customers that match, in the query's order, ties by id."""

    @abstractmethod
    async def remove(self, customer_id: CustomerId) -> bool:
        """Erase the customer, their favorites and sessions; tell whether there was one."""


class SessionRepository(ABC):
    """Sessions and their refresh tokens."""

    @abstractmethod
    async def add(self, session: Session, token: RefreshToken) -> None:
        """
        Store a new session with its first refresh token.

        :raises CustomerNotFound: if there is no such customer
        """

    @abstractmethod
    async def get(self, session_id: SessionId) -> Session | None:
        """Return the session, active or not."""

    @abstractmethod
    async def save(self, session: Session) -> None:
        """Replace a stored session."""

    @abstractmethod
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        """Return whom the session stands for; None unless it is active."""

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
    async def list_active(self, customer_id: CustomerId, *, now: datetime) -> Sequence[Session]:
        """Return the customer's active sessions, last used first."""

    @abstractmethod
    async def list_all(self, customer_id: CustomerId) -> Sequence[Session]:
        """Return all sessions that are stored of a customer, last used first."""

    @abstractmethod
    async def end_all(
        self, customer_id: CustomerId, *, now: datetime, keep: SessionId | None = None
    ) -> int:
        """End the customer's active sessions but the one to keep; tell how many were ended."""

    @abstractmethod
    async def purge(self, *, before: datetime) -> int:
        """Erase what ended or expired before a moment; tell how many sessions."""


class ApiKeyRepository(ABC):
    """API keys of internal systems."""

    @abstractmethod
    async def add(self, key: ApiKey) -> None:
        """Store a new key."""

    @abstractmethod
    async def get(self, key_id: ApiKeyId) -> ApiKey | None:
        """Return the key, usable or not."""

    @abstractmethod
    async def list_all(self) -> Sequence[ApiKey]:
        """Return every key, oldest first."""

    @abstractmethod
    async def revoke(self, key_id: ApiKeyId, *, now: datetime) -> bool:
        """Revoke the key; tell whether there was one to revoke."""

    @abstractmethod
    async def touch(self, key_id: ApiKeyId, *, now: datetime, granularity: timedelta) -> None:
        """Note that the key was used, unless a note younger than the granularity exists."""


class FavoriteRepository(ABC):
    """Which products customers marked."""

    @abstractmethod
    async def put(self, favorite: Favorite, *, at_most: int) -> bool:
        """
        Store a favorite unless the customer has marked this product already; tell whether.

        It takes the place of what is remembered of one that was removed or rejected.

        :raises CustomerNotFound: if there is no such customer
        :raises FavoritesFull: if the customer has `at_most` favorites already
        """

    @abstractmethod
    async def get(self, customer_id: CustomerId, product_id: ProductId) -> FavoriteItem | None:
        """Return the favorite with the last known copy of its product."""

    @abstractmethod
    async def list_page(self, query: FavoriteQuery) -> Page[FavoriteItem]:
        """
        Return the favorites that match with the last known copies of their products, in the
        query's order.

        Ties by product id, in the direction of the sort. Sorted by price or title, favorites
        without a known product come last; filters leave them out.
        """

    @abstractmethod
    async def list_all(self, customer_id: CustomerId) -> Sequence[FavoriteItem]:
        """Return all favorites of a customer, newest first."""

    @abstractmethod
    async def contains(
        self, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> frozenset[ProductId]:
        """Return those of the products that the customer has marked."""

    @abstractmethod
    async def remove(
        self, customer_id: CustomerId, product_id: ProductId, *, now: datetime
    ) -> bool:
        """Take a favorite away, and remember it for a while; tell whether there was one."""

    @abstractmethod
    async def restore(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        removed_since: datetime,
        at_most: int,
    ) -> bool:
        """
        Bring back a favorite as it was if it was removed since a moment; tell whether.

        :raises FavoritesFull: if the customer has `at_most` favorites already
        """

    @abstractmethod
    async def version(self, customer_id: CustomerId) -> ListVersion:
        """
        Return what the customer's list depends on, by primary keys alone.

        It changes with every change of the list, and with every change of what a product in the
        catalog looks like. Of a customer without favorites, or none at all, it is that of an
        empty list.
        """

    @abstractmethod
    async def list_removed(self, customer_id: CustomerId) -> Sequence[RemovedFavorite]:
        """Return which removals of the customer are remembered, the latest first."""

    @abstractmethod
    async def list_changes(
        self, customer_id: CustomerId, *, since: ChangePosition, limit: int
    ) -> Changes:
        """
        Return what became of the customer's favorites after a position.

        Added, removed, or in another state: confirmed or rejected, its product dropped by the
        catalog or listed again. From the beginning it is the list as it is now, without removals.
        What the catalog did is entered into the list's history here, which a commit makes lasting.

        :raises ChangesForgotten: if removals after the position are not remembered any more, or
            the list has never been at that version
        """

    @abstractmethod
    async def forget_removed(self, *, restorable_since: datetime, since: datetime) -> int:
        """
        Of favorites removed before `restorable_since` keep only that they were, and of those
        removed before `since` nothing; tell how many were changed.
        """

    @abstractmethod
    async def count(self, customer_id: CustomerId) -> int:
        """Return how many favorites the customer has."""

    @abstractmethod
    async def count_pending(self, customer_id: CustomerId) -> int:
        """
        Return how many of the customer's favorites wait for the catalog, the customer locked.
        """

    @abstractmethod
    async def confirm(self, product_id: ProductId, snapshot: Snapshot) -> int:
        """
        Give all favorites of a product that wait for the catalog their snapshot; tell how
        many.
        """

    @abstractmethod
    async def reject(self, product_id: ProductId, *, now: datetime) -> int:
        """Mark all favorites of a product that wait for the catalog as rejected; tell how many."""


class PopularityRepository(ABC):
    """How many customers favor a product; counted in the unit that adds or removes a favorite."""

    @abstractmethod
    async def list_popular(self, *, at_least: int, limit: int) -> Sequence[PopularProduct]:
        """
        Return the products that most customers favor, most first, ties by id.

        Only products of which there is a copy and that the catalog has not dropped.
        """

    @abstractmethod
    async def reconcile(self) -> int:
        """Count anew, beside others that add and remove; tell how many counts were wrong."""


class ProductRepository(ABC):
    """
    The last known copies of the catalog's products, and who may ask for newer ones.

    All writes are single conditional statements: an answer to an older question never overwrites a
    newer one.
    """

    @abstractmethod
    async def get(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        """Return the last known copy, or what is remembered of an id without one."""

    @abstractmethod
    async def get_many(
        self, product_ids: Collection[ProductId]
    ) -> Mapping[ProductId, CachedProduct | UnknownProduct]:
        """Return what `get` would for each; ids of which nothing is known are left out."""

    @abstractmethod
    async def list_page(self, query: ProductQuery) -> Page[CachedProduct]:
        """
        Return the known products that are not removed and match, in the query's order, ties by id.
        """

    @abstractmethod
    async def claim(
        self, product_ids: Collection[ProductId], *, now: datetime, until: datetime
    ) -> frozenset[ProductId]:
        """Take the right to ask for these products; return those for which it was free."""

    @abstractmethod
    async def block(self, product_ids: Collection[ProductId], *, until: datetime) -> None:
        """
        Give the right back after a failure: nobody takes it before `until`.

        Nor before the end of a longer block that exists already.
        """

    @abstractmethod
    async def store(self, products: Collection[Product], *, asked_at: datetime) -> None:
        """
        Keep newer copies, give back the right to ask for them, and note prices that changed.

        A product that was missing or removed before `asked_at` is there again. Copies that answer
        a newer question stay as they are.
        Of two copies of one product the last counts.
        """

    @abstractmethod
    async def note_absence(
        self, product_id: ProductId, *, asked_at: datetime, until: datetime
    ) -> None:
        """
        Keep the answer "there is no such product" to a question for this product alone.

        Of an unknown product it is remembered until `until`. A known product is only `missing` by
        the first such answer, and removed by one to a later question; a newer copy stays as it is.
        Either way the right to ask is given back.
        """

    @abstractmethod
    async def note_complete_list(
        self, product_ids: Collection[ProductId], *, asked_at: datetime
    ) -> frozenset[ProductId]:
        """
        Compare the known products with the whole catalog; return those removed by it.

        A product that is not in the list becomes `missing`, and removed if it was so before
        `asked_at`; a newer copy stays as it is. The catalog counts as asked for at `asked_at`, and
        the right to ask for the whole of it is given back.
        """

    @abstractmethod
    async def catalog_state(self) -> CatalogState:
        """Return what is known of the catalog as a whole."""

    @abstractmethod
    async def claim_catalog(self, *, now: datetime, until: datetime) -> bool:
        """Take the right to ask for the whole catalog; tell whether it was free."""

    @abstractmethod
    async def block_catalog(self, *, until: datetime) -> None:
        """Give that right back after a failure: nobody takes it before `until`."""

    @abstractmethod
    async def list_favorited(self, *, fetched_before: datetime, limit: int) -> Sequence[ProductId]:
        """
        Return products that somebody favorited and whose copy is older, oldest first.

        Removed ones are left out: asking for them alone would never make their copy newer.
        """

    @abstractmethod
    async def price_history(self, product_id: ProductId) -> Sequence[PricePoint]:
        """Return the prices seen of a product, oldest first; only changes are kept."""

    @abstractmethod
    async def purge_unknown(self, *, now: datetime) -> int:
        """
        Erase what is remembered of ids without a copy and no longer believed; tell how many.

        What is claimed or blocked still is kept.
        """


class ThrottleRepository(ABC):
    """Attempts within windows, exact over all processes."""

    @abstractmethod
    async def take(
        self, key: ThrottleKey, rule: ThrottleRule, *, now: datetime
    ) -> Attempt | timedelta:
        """Count an attempt if the rule allows it; otherwise return how long to wait for one."""

    @abstractmethod
    async def give_back(self, attempt: Attempt) -> None:
        """Forget an attempt that does not count after all."""

    @abstractmethod
    async def forget(self, key: ThrottleKey) -> None:
        """Erase a key with all its attempts."""

    @abstractmethod
    async def purge(self, *, before: datetime) -> int:
        """Erase keys whose last attempt is older; tell how many."""


class JobQueue(ABC):
    """Work that commits with the transaction that asks for it."""

    @abstractmethod
    async def enqueue(self, job: Job) -> None:
        """
        Ask for a job once this transaction commits; one that waits already is not asked for twice.
        """


class UnitOfWork(ABC):
    """One transaction. What is not committed on leaving is undone."""

    customers: CustomerRepository
    sessions: SessionRepository
    api_keys: ApiKeyRepository
    favorites: FavoriteRepository
    popularity: PopularityRepository
    products: ProductRepository
    throttles: ThrottleRepository
    jobs: JobQueue

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
        Make everything done in this unit lasting.

        :raises StorageUnavailable: if the database cannot be reached; so does every other method
        """


UnitOfWorkFactory: TypeAlias = Callable[[], UnitOfWork]


class Additions(ABC):
    """Favorites that are added one by one, by many customers at the same time."""

    @abstractmethod
    async def add(
        self,
        favorite: Favorite,
        *,
        at_most: int,
        seen: CachedProduct | None = None,
        claim: SessionClaim | None = None,
    ) -> KeptFavorite | None:
        """
        Add a confirmed favorite for good, unless it is there, if that is all there is to do.

        None if it is not: the customer's list is new, or full, or changed by somebody else at this
        moment, or holds the favorite as one that was rejected; the product is not as it was `seen`
        any more; the `claim` does not hold. Which of them, others find out.

        :raises StorageUnavailable: if the database cannot be reached
        """


class SignIns(ABC):
    """What signing in asks of storage, in two steps; each is lasting when it is done."""

    @abstractmethod
    async def attempt(
        self, email_key: str, *rules: tuple[ThrottleKey, ThrottleRule], now: datetime
    ) -> tuple[Sequence[Attempt], Customer | None]:
        """
        Count one attempt against each rule, or against none if one of them refuses.

        Returns the attempts, and the customer whose `email.key` this is. Counted before the work
        begins, so that attempts side by side cannot exceed a rule together.

        :raises TooManyAttempts: if one of the rules refuses
        :raises StorageUnavailable: if the database cannot be reached
        """

    @abstractmethod
    async def begin(
        self,
        session: Session,
        token: RefreshToken,
        *,
        known: PasswordHash,
        attempts: Sequence[Attempt],
    ) -> Customer | None:
        """
        Store a new session with its first refresh token, and forget the attempts.

        Provided that the customer's password is the `known` one still: returns the customer as
        they are now, or None if they are gone or have another.

        :raises StorageUnavailable: if the database cannot be reached
        """


class Lookups(ABC):
    """
    The reads that are asked most, each complete in itself: no unit of work is around them.

    Each tells what was true at one moment after it was asked, as a unit of work would that reads
    and does nothing else. With a `claim` that moment is also the one at which the session was
    looked at: `InvalidToken` is raised if it did not hold, or was not the customer's.
    """

    @abstractmethod
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        """Return whose session this is, as `SessionRepository` does."""

    @abstractmethod
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        """Return what is known of a product, as `ProductRepository.get` does."""

    @abstractmethod
    def recall_product(self, product_id: ProductId) -> CachedProduct | None:
        """Return a product as it was when it was seen last, which it may be no more; or None."""

    @abstractmethod
    async def find_favorite(
        self, customer_id: CustomerId, product_id: ProductId, *, claim: SessionClaim | None = None
    ) -> tuple[FavoriteItem | None, CachedProduct | UnknownProduct | None]:
        """
        Return a favorite, as `FavoriteRepository.get` does, and what is known of the product.
        """

    @abstractmethod
    async def list_version(
        self, customer_id: CustomerId, *, claim: SessionClaim | None = None
    ) -> ListVersion:
        """Return what a list of favorites depends on, as `FavoriteRepository.version` does."""

    @abstractmethod
    async def list_newest(
        self, customer_id: CustomerId, *, limit: int, claim: SessionClaim | None = None
    ) -> tuple[ListVersion, Page[FavoriteItem]]:
        """Return the page with which a customer's favorites begin, and the version it is of."""

    @abstractmethod
    async def contains(
        self,
        customer_id: CustomerId,
        product_ids: Collection[ProductId],
        *,
        claim: SessionClaim | None = None,
    ) -> tuple[ListVersion, frozenset[ProductId]]:
        """Return which of the products are favorites, and the version of the list."""
