"""Ports of the core besides storage."""

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
"""Returns a unique id."""


class ProductCatalog(ABC):
    """
    The outside catalog.

    Calls are bounded in time and number; every failure is an outcome.
    """

    @abstractmethod
    async def find(self, product_id: ProductId) -> Product | None:
        """
        Fetch one product; None if the catalog answers that it does not exist.

        :raises CatalogUnavailable: if there is no valid answer
        """

    @abstractmethod
    async def list_all(self) -> Sequence[Product]:
        """
        Fetch the whole catalog; never empty.

        :raises CatalogUnavailable: if there is no valid and complete answer
        """


class PasswordHasher(ABC):
    """Hashes passwords off the event loop, a bounded number at a time."""

    @abstractmethod
    async def hash(self, password: Password) -> PasswordHash:
        """
        Hash a password with the current parameters.

        :raises HashingBusy: if too many wait already
        """

    @abstractmethod
    async def verify(self, password: Password, hashed: PasswordHash | None) -> bool:
        """
        Verify a password; without a hash (an unknown account) the work is the same.

        :raises HashingBusy: if too many wait already
        """

    @abstractmethod
    def outdated(self, hashed: PasswordHash) -> bool:
        """Whether the hash was made with other parameters than the current ones."""


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
        Return the principal of a token; whether their session or key has ended is not checked.

        :raises InvalidToken: if it is not one of ours, or has expired
        """


class RefreshTokenSource(ABC):
    """Makes refresh tokens: opaque, 256 bits, of which only hashes are stored."""

    @abstractmethod
    def first(self) -> str:
        """Make the first token of a family."""

    @abstractmethod
    def successors(self, token: str) -> Sequence[str]:
        """
        Return the candidates for a token's successor, the same each time; computed with our keys.

        The first is by the current signing key, the others by earlier keys.
        """

    @abstractmethod
    def hash(self, token: str) -> RefreshTokenHash:
        """Return the stored form of a token."""


class DeviceTokens(ABC):
    """
    Makes proofs that a device has signed in to an account before.

    They give no access. With one, failed attempts are counted for the device and not for the
    address, so that guesses from elsewhere cannot lock the owner out (OWASP, "Slow Down Online
    Guessing Attacks with Device Cookies").
    """

    @abstractmethod
    def issue(self, email: Email) -> str:
        """Make a proof for a device that has just signed in."""

    @abstractmethod
    def recognize(self, token: str, email: Email) -> str | None:
        """Return the device's name if this is a valid proof for this address."""


class BackgroundTasks(ABC):
    """
    Work that belongs to this process and not to the request that began it; owned and bounded.

    At most one task of each key runs at a time. Tasks of one key return results of one type.
    """

    @abstractmethod
    def start(self, key: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Start the work unless a task of this key runs; tell whether it was started."""

    @abstractmethod
    async def join(self, key: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """
        Wait for the task of this key, started now unless it runs, and share its result.

        Canceling the wait cancels neither the task nor other waits. An exception of the task is
        raised to all callers that wait. None if the limit is reached or the process is stopping.
        """
