"""
The frequent writes, each one function in the database that commits and answers with a reason.

They serve many customers at the same time: calls made at the same time share a transaction. A
shared transaction never waits for a lock that another one holds; a call that met one is repeated
alone and waits. Every method raises `StorageUnavailable` if the database cannot be reached.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.access import SessionCheck
from app.domain.customer import Customer, CustomerId, PasswordHash
from app.domain.favorite import Favorite
from app.domain.product import CachedProduct, ProductId
from app.domain.session import RefreshToken, Session
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule


class AddOutcome(StrEnum):
    """How adding a favorite ended; the values are those of the function `add_favorites`."""

    ADDED = "added"
    PRESENT = "present"
    FULL = "full"
    TOO_MANY_PENDING = "too_many_pending"
    NO_PRODUCT = "no_product"
    PRODUCT_CHANGED = "product_changed"
    NO_CUSTOMER = "no_customer"
    SESSION_ENDED = "session_ended"


class RemoveOutcome(StrEnum):
    """How removing a favorite ended; the values are those of the function `remove_favorites`."""

    REMOVED = "removed"
    ABSENT = "absent"
    NO_CUSTOMER = "no_customer"
    SESSION_ENDED = "session_ended"


class RestoreOutcome(StrEnum):
    """How restoring a favorite ended; the values are those of the function `restore_favorite`."""

    RESTORED = "restored"
    PRESENT = "present"
    FULL = "full"
    NOT_RESTORABLE = "not_restorable"
    NO_CUSTOMER = "no_customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteLimits:
    """How many favorites a customer has at most, and how many of them wait for the catalog."""

    total: int
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddResult:
    """`favorite` is the stored one if the outcome is `ADDED` or `PRESENT`, else None."""

    outcome: AddOutcome
    favorite: Favorite | None = None


class FavoriteWrites(ABC):
    """
    Changes of lists of favorites.

    Each change of a list gives it the next version and is kept in its history; a removal is
    remembered, and restorable for a while. The popularity of the product changes with it. A
    favorite that waits for the catalog comes with a job that asks for its product
    (`ValidateProduct`), of which at most one waits for each product.
    """

    @abstractmethod
    async def add(
        self,
        favorite: Favorite,
        *,
        limits: FavoriteLimits,
        seen: CachedProduct | None = None,
        session: SessionCheck | None = None,
    ) -> AddResult:
        """
        Add a favorite unless it is there; one that the catalog rejected is replaced.

        Outcomes, the first that applies: `SESSION_ENDED` if the session is not valid or not the
        customer's; `NO_CUSTOMER`; `PRESENT`; `PRODUCT_CHANGED` if the stored copy of the product
        is not the one `seen` any more; `FULL`; `TOO_MANY_PENDING` if the favorite would have to
        wait for the catalog.
        """

    @abstractmethod
    async def remove(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        now: datetime,
        session: SessionCheck | None = None,
    ) -> RemoveOutcome:
        """Remove a favorite and remember that, with its content, as of `now`."""

    @abstractmethod
    async def restore(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        removed_since: datetime,
        limits: FavoriteLimits,
    ) -> RestoreOutcome:
        """
        Bring back a favorite as it was, if it was removed since a moment.

        `FULL` only if it could be restored otherwise; how many wait for the catalog is not limited
        here. One that waits for the catalog gets a job again.
        """

    @abstractmethod
    async def change(
        self,
        customer_id: CustomerId,
        *,
        add: Mapping[ProductId, Favorite | None],
        remove: Collection[ProductId] = (),
        now: datetime,
        limits: FavoriteLimits,
        dry_run: bool = False,
    ) -> Mapping[ProductId, AddOutcome | RemoveOutcome]:
        """
        Remove several favorites, then add several, in one transaction and in the order of ids.

        A product to add without a favorite is one that the catalog does not list: `NO_PRODUCT`
        unless it is `PRESENT`. With `dry_run` (nothing to remove) return the outcomes without
        changing or locking anything.

        :raises CustomerNotFound: if there is no such customer
        """

    @abstractmethod
    async def enter_catalog_changes(self, customer_id: CustomerId) -> None:
        """Enter what the catalog did to the customer's favorites into the list's history."""


class SignInWrites(ABC):
    """The two writes of signing in."""

    @abstractmethod
    async def take_attempts(
        self, email_key: str, *rules: tuple[ThrottleKey, ThrottleRule], now: datetime
    ) -> tuple[Sequence[Attempt], Customer | None]:
        """
        Count one attempt against each rule, or against none if one of them refuses.

        Returns the attempts, and the customer whose `email.key` this is. Counted before the work
        begins, so that concurrent attempts cannot exceed a rule together.

        :raises TooManyAttempts: if one of the rules refuses
        """

    @abstractmethod
    async def begin_session(
        self,
        session: Session,
        token: RefreshToken,
        *,
        password_hash: PasswordHash,
        attempts: Sequence[Attempt],
    ) -> Customer | None:
        """
        Store a new session with its first refresh token, and forget the attempts.

        Returns the customer as they are now; None, and nothing is stored, if there is no such
        customer or their password is not the one of `password_hash` any more.
        """
