"""
The anticipated ways in which a use case can end other than by success.

    DomainError
    ├── InvalidValue           a value breaks a rule of the domain
    │   ├── InvalidName
    │   ├── InvalidEmail
    │   └── WeakPassword
    ├── NotAuthenticated       the caller is unknown
    │   ├── MissingCredentials
    │   ├── InvalidCredentials
    │   ├── InvalidToken
    │   ├── InvalidRefreshToken
    │   └── InvalidApiKey
    ├── NotAllowed             the caller is known and may not do this
    │   ├── InsufficientScope
    │   ├── AdminOnly
    │   ├── CustomerOnly
    │   ├── WrongPassword
    │   └── CrossSiteRequest
    ├── NotFound
    │   ├── CustomerNotFound
    │   ├── SessionNotFound
    │   ├── ProductNotFound
    │   └── FavoriteNotFound
    ├── Conflict
    │   ├── EmailTaken
    │   ├── TooManyPending
    │   └── FavoritesFull
    ├── ChangesForgotten       the history does not reach back that far; start over
    ├── PreconditionFailed     the resource is not in the state that the caller named
    ├── Throttled              too often; carries when to try again
    │   ├── TooManyAttempts
    │   └── RateLimited
    └── Unavailable            not possible now; carries when to try again
        ├── CatalogUnavailable
        ├── StorageUnavailable
        └── HashingBusy

They know no HTTP. Each has a stable `code` for programs and a `title` for people; the message
describes the occurrence and never holds a secret or a personal datum.
"""

from datetime import timedelta
from typing import ClassVar


class DomainError(Exception):
    """Base of all anticipated outcomes."""

    code: ClassVar[str]
    title: ClassVar[str]


class InvalidValue(DomainError):
    """A value breaks a rule; `field` names which one."""

    code = "invalid_value"
    title = "A value is not acceptable"
    field: ClassVar[str] = ""


class InvalidName(InvalidValue):
    code = "invalid_name"
    title = "The name is not acceptable"
    field = "name"


class InvalidEmail(InvalidValue):
    code = "invalid_email"
    title = "The e-mail address is not valid"
    field = "email"


class WeakPassword(InvalidValue):
    code = "weak_password"
    title = "The password is too easy to guess"
    field = "password"


class NotAuthenticated(DomainError):
    code = "not_authenticated"
    title = "Credentials are needed"


class MissingCredentials(NotAuthenticated):
    code = "missing_credentials"
    title = "The request carries no credentials"


class InvalidCredentials(NotAuthenticated):
    code = "invalid_credentials"
    title = "E-mail or password is wrong"


class InvalidToken(NotAuthenticated):
    code = "invalid_token"
    title = "The access token is not valid"


class InvalidRefreshToken(NotAuthenticated):
    code = "invalid_refresh_token"
    title = "The refresh token is not valid"


class InvalidApiKey(NotAuthenticated):
    code = "invalid_api_key"
    title = "The API key is not valid"


class NotAllowed(DomainError):
    code = "not_allowed"
    title = "This is not allowed"


class InsufficientScope(NotAllowed):
    code = "insufficient_scope"
    title = "The API key lacks the scope this needs"


class AdminOnly(NotAllowed):
    code = "admin_only"
    title = "Only administrators and internal systems may do this"


class CustomerOnly(NotAllowed):
    code = "customer_only"
    title = "Only a signed-in customer may do this"


class WrongPassword(NotAllowed):
    code = "wrong_password"
    title = "The current password is wrong"


class CrossSiteRequest(NotAllowed):
    code = "cross_site_request"
    title = "The request comes from another site"


class NotFound(DomainError):
    code = "not_found"
    title = "There is no such thing"


class CustomerNotFound(NotFound):
    code = "customer_not_found"
    title = "There is no such customer"

    def __init__(self, message: str = "There is no such customer") -> None:
        super().__init__(message)


class SessionNotFound(NotFound):
    code = "session_not_found"
    title = "There is no such session"


class ProductNotFound(NotFound):
    """The catalog does not list it; `remembered` if that was answered from the cache."""

    code = "product_not_found"
    title = "The catalog does not list this product"

    def __init__(self, message: str, *, remembered: bool = False) -> None:
        super().__init__(message)
        self.remembered = remembered


class FavoriteNotFound(NotFound):
    code = "favorite_not_found"
    title = "The product is not one of the customer's favorites"


class Conflict(DomainError):
    code = "conflict"
    title = "The request conflicts with what is stored"


class EmailTaken(Conflict):
    code = "email_taken"
    title = "The e-mail address belongs to an account already"


class TooManyPending(Conflict):
    code = "too_many_pending"
    title = "Too many favorites still wait for the catalog"


class FavoritesFull(Conflict):
    code = "favorites_full"
    title = "The list of favorites is full"


class ChangesForgotten(DomainError):
    code = "changes_forgotten"
    title = "The changes since then are not remembered any more"


class PreconditionFailed(DomainError):
    code = "precondition_failed"
    title = "The resource has changed since it was read"


class _Retryable(DomainError):
    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(_Retryable):
    code = "throttled"
    title = "Too many requests"


class TooManyAttempts(Throttled):
    code = "too_many_attempts"
    title = "Too many attempts"


class RateLimited(Throttled):
    code = "rate_limited"
    title = "Too many requests"


class Unavailable(_Retryable):
    code = "unavailable"
    title = "This is not possible at the moment"


class CatalogUnavailable(Unavailable):
    code = "catalog_unavailable"
    title = "The product catalog cannot be asked at the moment"


class StorageUnavailable(Unavailable):
    code = "storage_unavailable"
    title = "The database cannot be reached at the moment"


class HashingBusy(Unavailable):
    code = "hashing_busy"
    title = "Too many sign-ins at once"
