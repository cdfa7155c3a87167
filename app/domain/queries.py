"""
The read port: every read of the service that does not belong to a write.

Each method is complete in itself, without a transaction around it, and returns what was committed
at one moment after the call. Methods that read for a signed-in customer take a `session`: it is
validated in the same statement, and `InvalidToken` is raised if it has ended, has expired or
belongs to another customer. Without one the caller has been authenticated before.

Vocabulary: `find_…` returns one or None, `list_…` a sequence in a stated order. Text is compared
and ordered in its folded form (`fold`), code point by code point; ties are ordered in the
direction of the sort. Every method raises `StorageUnavailable` if the database cannot be reached.
Every promise is a test in the contract suite, kept by the in-memory double and by PostgreSQL.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from app.domain.access import ApiKey, ApiKeyId, CustomerPrincipal, SessionCheck
from app.domain.customer import Customer, CustomerId, CustomerQuery
from app.domain.favorite import (
    ChangePosition,
    Changes,
    FavoriteItem,
    FavoriteQuery,
    ListVersion,
    RemovedFavorite,
)
from app.domain.page import Page
from app.domain.product import (
    CachedProduct,
    CatalogState,
    PopularProduct,
    PricePoint,
    ProductId,
    ProductQuery,
    UnknownProduct,
)
from app.domain.session import Session, SessionId


class FoundFavorite(NamedTuple):
    """One favorite, what is known of its product, and the version of the list."""

    version: ListVersion
    item: FavoriteItem | None
    product: CachedProduct | UnknownProduct | None


class FavoritesPage(NamedTuple):
    """A page of favorites and the version of the list it belongs to."""

    version: ListVersion
    page: Page[FavoriteItem]


class FavoritesContained(NamedTuple):
    """Which of some products are favorites, and the version of the list."""

    version: ListVersion
    product_ids: frozenset[ProductId]


class ProfileRead(NamedTuple):
    """A customer, the version of their list of favorites, and its first page."""

    customer: Customer
    version: ListVersion
    page: Page[FavoriteItem]


class CatalogPage(NamedTuple):
    """A page of the known products, and what is known of the catalog as a whole."""

    state: CatalogState
    page: Page[CachedProduct]


class CustomerRecords(NamedTuple):
    """Everything stored about a customer, read at one moment."""

    customer: Customer
    sessions: Sequence[Session]
    favorites: Sequence[FavoriteItem]
    removed_favorites: Sequence[RemovedFavorite]


class Queries(ABC):
    """All reads."""

    # Access

    @abstractmethod
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        """Return the customer of a session, with their current role; None unless it is active."""

    @abstractmethod
    async def find_api_key(self, key_id: ApiKeyId) -> ApiKey | None:
        """Return the key, usable or not."""

    @abstractmethod
    async def list_api_keys(self) -> Sequence[ApiKey]:
        """Return every key, oldest first."""

    # Customers

    @abstractmethod
    async def find_customer(self, customer_id: CustomerId) -> Customer | None:
        """Return the customer."""

    @abstractmethod
    async def list_customers(self, query: CustomerQuery) -> Page[Customer]:
        """Return the customers that match, in order, ties by id; may read a replica."""

    @abstractmethod
    async def list_sessions(self, customer_id: CustomerId, *, now: datetime) -> Sequence[Session]:
        """
        Return the customer's active sessions, last used first.

        :raises CustomerNotFound: if there is no such customer
        """

    @abstractmethod
    async def find_records(self, customer_id: CustomerId) -> CustomerRecords | None:
        """
        Return everything stored about a customer.

        Sessions, active or not, last used first; favorites newest first; removals latest first.
        """

    # Favorites

    @abstractmethod
    async def list_version(
        self, customer_id: CustomerId, *, session: SessionCheck | None = None
    ) -> ListVersion:
        """
        Return what the customer's list depends on, by primary keys alone.

        It changes with every change of the list, and with every change of what a product in the
        catalog looks like.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        """

    @abstractmethod
    async def list_favorites(
        self, query: FavoriteQuery, *, session: SessionCheck | None = None
    ) -> FavoritesPage:
        """
        Return the favorites that match with the last known copies of their products, in the
        query's order.

        Ties by product id, in the direction of the sort. Sorted by price or title, favorites
        without a known product come last; filters leave them out.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        """

    @abstractmethod
    async def find_favorite(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        session: SessionCheck | None = None,
    ) -> FoundFavorite:
        """
        Return a favorite, what is known of the product, and the version of the list.

        An unknown customer has no favorites, and the version 0.

        :raises InvalidToken: if the session is not valid
        """

    @abstractmethod
    async def contains(
        self,
        customer_id: CustomerId,
        product_ids: Collection[ProductId],
        *,
        session: SessionCheck | None = None,
    ) -> FavoritesContained:
        """
        Return which of the products are favorites; by an index alone.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        """

    @abstractmethod
    async def list_changes(
        self,
        customer_id: CustomerId,
        *,
        since: ChangePosition,
        limit: int,
        session: SessionCheck | None = None,
    ) -> Changes:
        """
        Return what became of the customer's favorites after a position, in order.

        Added, removed, or in another state: confirmed or rejected, its product dropped by the
        catalog or listed again. From the beginning it is the list as it is now, without removals.
        `behind` tells that the catalog changed products since that are not part of the history
        yet; `FavoriteWrites.enter_catalog_changes` enters them.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        :raises ChangesForgotten: if removals after the position are not remembered any more, or
            the list has never been at that version
        """

    @abstractmethod
    async def find_profile(
        self, customer_id: CustomerId, *, limit: int, session: SessionCheck | None = None
    ) -> ProfileRead:
        """
        Return the customer and the newest favorites, in one statement.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        """

    # Products

    @abstractmethod
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        """Return the last known copy, or what is remembered of an id without one."""

    @abstractmethod
    def last_seen_product(self, product_id: ProductId) -> CachedProduct | None:
        """
        Return the copy that a query of this process returned last, without asking the database.

        It may be outdated: `FavoriteWrites.add` verifies that it is not.
        """

    @abstractmethod
    async def find_products(
        self, product_ids: Collection[ProductId]
    ) -> Mapping[ProductId, CachedProduct | UnknownProduct]:
        """Return what `find_product` would for each; ids without a row are left out."""

    @abstractmethod
    async def list_products(self, query: ProductQuery, *, current: bool = False) -> CatalogPage:
        """
        Return the known products that are not removed and match, in the query's order, ties by
        id; may read a replica unless it has to be `current`.
        """

    @abstractmethod
    async def list_popular(self, *, at_least: int, limit: int) -> Sequence[PopularProduct]:
        """
        Return the products that most customers favor, most first, ties by id, highest first.

        Only products of which there is a copy and that the catalog has not dropped. May read a
        replica.
        """

    @abstractmethod
    async def list_prices(self, product_id: ProductId) -> Sequence[PricePoint] | None:
        """
        Return the prices seen of a product, oldest first, only changes; None if no copy of it was
        ever held. May read a replica.
        """

    @abstractmethod
    async def list_favorited(self, *, fetched_before: datetime, limit: int) -> Sequence[ProductId]:
        """
        Return favorited products whose copy is older, oldest first.

        Removed ones are left out: asking for them alone would never make their copy newer.
        """
