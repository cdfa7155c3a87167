"""What the core needs of the outside world besides storage."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar
from uuid import UUID

from app.domain.access import Principal
from app.domain.customer import Email, Password, PasswordHash
from app.domain.product import Product, ProductId
from app.domain.session import RefreshTokenHash

T = TypeVar("T")

Clock: TypeAlias = Callable[[], datetime]
"""Returns the time, aware and in UTC."""

NewId: TypeAlias = Callable[[], UUID]
"""Returns an id that nothing else has."""


class ProductCatalog(ABC):
    """
    The outside catalog.

    Calls are bounded in time and number; whatever goes wrong is an outcome.
    """

    @abstractmethod
    async def find(self, product_id: ProductId) -> Product | None:
        """
        Ask for one product; None if the catalog says that it does not exist.

        :raises CatalogUnavailable: if that cannot be found out
        """

    @abstractmethod
    async def list_all(self) -> Sequence[Product]:
        """
        Ask for the whole catalog; never empty.

        :raises CatalogUnavailable: if it cannot be had, or is not the whole
        """


class PasswordHasher(ABC):
    """Hashes passwords off the event loop, a bounded number at a time."""

    @abstractmethod
    async def hash(self, password: Password) -> PasswordHash:
        """
        Hash a password by the parameters of today.

        :raises HashingBusy: if too many wait already
        """

    @abstractmethod
    async def verify(self, password: Password, hashed: PasswordHash | None) -> bool:
        """
        Tell whether the password is the hashed one; None, for nobody, costs the same work.

        :raises HashingBusy: if too many wait already
        """

    @abstractmethod
    def outdated(self, hashed: PasswordHash) -> bool:
        """Whether the hash was made with other parameters than today's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A signed token that gives access until it expires."""

    value: str = field(repr=False)
    expires_in: timedelta


class TokenIssuer(ABC):
    """Signs access tokens and reads them back."""

    @abstractmethod
    def issue(self, principal: Principal, *, now: datetime) -> AccessToken:
        """Sign a token for a principal."""

    @abstractmethod
    def verify(self, token: str, *, now: datetime) -> Principal:
        """
        Return whom a token was issued to; whether their session or key still holds is not checked.

        :raises InvalidToken: if it is not one of ours, or has expired
        """


class RefreshTokenSource(ABC):
    """Makes refresh tokens: opaque, 256 bits, of which only hashes are stored."""

    @abstractmethod
    def first(self) -> str:
        """Make a token that begins a family."""

    @abstractmethod
    def successors(self, token: str) -> Sequence[str]:
        """
        Return the token that follows this one, the same each time; only we can compute it.

        The first is by the key that signs now, the others by keys that did before.
        """

    @abstractmethod
    def hash(self, token: str) -> RefreshTokenHash:
        """Return what is stored of a token."""


class DeviceTokens(ABC):
    """
    Makes proofs that somebody signed in to an account from a device before.

    They open nothing. With one, failed attempts are counted for the device and not for the
    address, so that strangers who guess cannot lock the owner out (OWASP, "Slow Down Online
    Guessing Attacks with Device Cookies").
    """

    @abstractmethod
    def issue(self, email: Email) -> str:
        """Make a proof for a device from which somebody has just signed in."""

    @abstractmethod
    def recognize(self, token: str, email: Email) -> str | None:
        """Return the name of the device that holds this proof for this address, if it is one."""


class BackgroundTasks(ABC):
    """
    Work that belongs to this process and not to the request that began it; owned and bounded.

    Of each key at most one work is under way. Work of one key always ends in results of one kind.
    """

    @abstractmethod
    def start(self, key: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Begin the work unless work of this key is under way; tell whether it began."""

    @abstractmethod
    async def join(self, key: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """
        Wait for the work of this key, begun now unless it is under way, and share its result.

        Canceling the wait cancels neither the work nor anybody else's wait. What the work raises
        is raised to all who wait. None if there is no room for it, or no time because this
        process ends.
        """
