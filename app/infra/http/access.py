"""
Authentication of callers, and their authorization to act on customers.

Credentials come as the cookie `access_token`, as `Authorization: Bearer` or as an API key in a
header of its own. Explicit headers take precedence over the cookie, which a browser adds to every
request. Several credentials that differ are refused: the caller would be ambiguous.

`authorize` is the one authorization function. Routers of customers carry a `CustomerAccess`, which
calls it for each of their routes, so that a new route cannot forget it.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeAlias, overload
from uuid import UUID

import structlog
from fastapi import Depends, Path, Request
from pydantic import BeforeValidator, WithJsonSchema
from starlette.types import Scope as AsgiScope

from app.application.build import UseCases
from app.domain.access import (
    CustomerPrincipal,
    Principal,
    Scope,
    ServicePrincipal,
    SessionCheck,
)
from app.domain.customer import CustomerId
from app.domain.outcome import (
    AdminOnly,
    CustomerNotFound,
    CustomerOnly,
    InsufficientScope,
    InvalidApiKey,
    InvalidToken,
    MissingCredentials,
    NotAuthenticated,
)
from app.infra.http.middleware.cross_site import SAFE_METHODS
from app.infra.http.schema import parse_uuid

logger = structlog.stdlib.get_logger(__name__)

ACCESS_COOKIE = "access_token"
REFRESH_COOKIE = "refresh_token"

Target: TypeAlias = UUID | str | None
"""The customer to act on: a UUID, `me`, or None for all customers."""

CustomerPath = Annotated[
    UUID | str,
    Path(alias="id", description="A customer's UUID, or `me` for the signed-in customer."),
    BeforeValidator(lambda text: text if text == "me" else parse_uuid(text)),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "uuid"}, {"type": "string", "const": "me"}],
            "examples": ["me"],
        }
    ),
]


@overload
def authorize(principal: Principal, target: UUID | str, scope: Scope | None) -> CustomerId: ...


@overload
def authorize(principal: Principal, target: None, scope: Scope | None) -> None: ...


def authorize(principal: Principal, target: Target, scope: Scope | None) -> CustomerId | None:
    """
    Return the customer that a caller may act on; None if the target is all customers.

    Customers may act on themselves, administrators on all, API keys within their scopes; `scope`
    is the one that a key needs, None if no key may do this. The account of another customer is
    not found, as if it did not exist.

    :raises CustomerNotFound: if a customer targets another one
    :raises AdminOnly: if a customer targets all customers
    :raises CustomerOnly: if no key may do this, or a key targets `me`
    :raises InsufficientScope: if the key lacks the scope
    """
    match principal:
        case CustomerPrincipal(customer_id=own):
            if target in ("me", own):
                return own
            if not principal.is_admin:
                if target is None:
                    raise AdminOnly("This is for administrators and internal systems.")
                raise CustomerNotFound
        case ServicePrincipal():
            if scope is None:
                raise CustomerOnly("This is not for API keys.")
            if scope not in principal.scopes:
                raise InsufficientScope(f"This needs a key with the scope `{scope}`.")
            if target == "me":
                raise CustomerOnly("An API key has no account: use a customer's id.")
    return CustomerId(target) if isinstance(target, UUID) else None


async def identify(scope: AsgiScope) -> Principal:
    """
    Return the principal that the credentials name.

    The session of a customer's token is not checked: see `confirm` and `SessionCheck`.

    :raises MissingCredentials: if the request carries no credentials
    :raises InvalidToken: if a token is not valid, or several credentials differ
    :raises InvalidApiKey: if an API key is not valid
    """
    token, key = _presented(scope)
    if token is not None:
        principal = _verified(scope, token)
        if isinstance(principal, ServicePrincipal):
            return await use_cases_of(scope).authenticate.confirm(principal)
        return principal
    if key is not None:
        return await _key_holder(scope, key)
    raise MissingCredentials("Sign in, or send an API key.")


async def confirm(scope: AsgiScope, principal: Principal) -> Principal:
    """
    Check the session of a customer, and return them with their current role.

    :raises InvalidToken: if the session has ended
    """
    if isinstance(principal, CustomerPrincipal):
        return await use_cases_of(scope).authenticate.confirm(principal)
    return principal


async def authenticated(request: Request) -> Principal:
    """
    Return the caller, whose session has been checked; for FastAPI's dependencies.

    :raises NotAuthenticated: as `identify` and `confirm` do
    """
    principal = await confirm(request.scope, await identify(request.scope))
    request.scope["state"]["principal"] = principal
    return principal


Authenticated = Annotated[Principal, Depends(authenticated)]


async def signed_in_customer(principal: Authenticated) -> CustomerPrincipal:
    """
    Return the signed-in customer.

    :raises CustomerOnly: if the caller is an internal system
    """
    if isinstance(principal, ServicePrincipal):
        raise CustomerOnly("An API key has no account of its own.")
    return principal


SignedInCustomer = Annotated[CustomerPrincipal, Depends(signed_in_customer)]


class Acting(NamedTuple):
    """The customer to act on, and the check of the caller's session that is still to be made."""

    customer_id: CustomerId
    session: SessionCheck | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerAccess:
    """
    Who may call the routes of a router: see `authorize`.

    `read` is the scope that an API key needs for safe methods, `write` for the others. With
    `oneself` not even an administrator acts on another customer. The target is the customer
    `{id}`, or all customers where a path has no such parameter.
    """

    read: Scope | None = None
    write: Scope | None = None
    oneself: bool = False

    async def acting(self, scope: AsgiScope, target: UUID | str) -> Acting:
        """
        Authorize a request for one customer.

        The session of a customer who acts on themselves is checked by the statement that reads or
        writes for them, in the same round trip.
        """
        principal = await identify(scope)
        session = None
        if isinstance(principal, CustomerPrincipal) and target in ("me", principal.customer_id):
            session = use_cases_of(scope).authenticate.session_check(principal)
        else:
            principal = await confirm(scope, principal)
        return Acting(self._authorized(scope, principal, target), session)

    async def customer(
        self, request: Request, principal: Authenticated, id: CustomerPath
    ) -> CustomerId:
        """Authorize a request for one customer; for FastAPI's dependencies."""
        return self._authorized(request.scope, principal, id)

    async def all_customers(self, request: Request, principal: Authenticated) -> None:
        """Authorize a request for all customers; for FastAPI's dependencies."""
        request.scope["state"]["principal"] = principal
        authorize(principal, None, self._scope(request.scope))
        if isinstance(principal, CustomerPrincipal):
            _log_admin_action(request.scope, principal, None)

    def _authorized(
        self, scope: AsgiScope, principal: Principal, target: UUID | str
    ) -> CustomerId:
        scope["state"]["principal"] = principal
        customer_id = authorize(principal, target, self._scope(scope))
        if isinstance(principal, CustomerPrincipal) and customer_id != principal.customer_id:
            if self.oneself:
                raise CustomerNotFound
            _log_admin_action(scope, principal, customer_id)
        return customer_id

    def _scope(self, scope: AsgiScope) -> Scope | None:
        return self.read if scope["method"] in SAFE_METHODS else self.write


def _log_admin_action(
    scope: AsgiScope, admin: CustomerPrincipal, customer_id: CustomerId | None
) -> None:
    logger.info(
        "admin_action",
        admin_id=str(admin.customer_id),
        customer_id=None if customer_id is None else str(customer_id),
        method=scope["method"],
        route=getattr(scope.get("route"), "path_format", None),
    )


async def recognized(scope: AsgiScope) -> Principal | None:
    """
    Return the principal whose rate limit applies to a request; None without valid credentials.

    Only the signature of a token is checked, without a query. An API key is looked up, once for a
    request.
    """
    try:
        token, key = _presented(scope)
        if token is not None:
            return _verified(scope, token)
        return None if key is None else await _key_holder(scope, key)
    except NotAuthenticated:
        return None


def use_cases_of(scope: AsgiScope) -> UseCases:
    """Return the use cases, which the lifespan put into the state of every request."""
    use_cases: UseCases = scope["state"]["use_cases"]
    return use_cases


def _presented(scope: AsgiScope) -> tuple[str | None, str | None]:
    """Return the token or the API key of a request, if any, but never both."""
    state = scope["state"]
    presented: tuple[str | None, str | None] | None = state.get("presented")
    if presented is None:
        presented = state["presented"] = _find_presented(scope)
    return presented


def _find_presented(scope: AsgiScope) -> tuple[str | None, str | None]:
    key_field = scope["state"]["api_key_field"]
    tokens, keys = set(), set()
    for name, value in scope["headers"]:
        if name == b"authorization":
            tokens.add(_bearer_token(value.decode("latin-1")))
        elif name == key_field:
            keys.add(value.decode("latin-1"))
    if not tokens and not keys:
        tokens = {*cookie_values(scope, ACCESS_COOKIE)}
    if len(tokens) + len(keys) > 1:
        raise InvalidToken("The request carries several credentials that differ.")
    return next(iter(tokens), None), next(iter(keys), None)


def _verified(scope: AsgiScope, token: str) -> Principal:
    known: Principal | None = scope["state"].get("verified")
    if known is None:
        known = scope["state"]["verified"] = use_cases_of(scope).authenticate.verify(token)
    return known


async def _key_holder(scope: AsgiScope, key: str) -> ServicePrincipal:
    known: ServicePrincipal | InvalidApiKey | None = scope["state"].get("key_holder")
    if known is None:
        try:
            known = await use_cases_of(scope).authenticate.by_api_key(key)
        except InvalidApiKey as refusal:
            known = refusal
        scope["state"]["key_holder"] = known
    if isinstance(known, InvalidApiKey):
        raise known
    return known


def cookie_values(scope: AsgiScope, name: str) -> list[str]:
    """
    Return the values of all cookies of a name.

    Another subdomain may have set a second one (RFC 6265, section 8.6), so that none can be
    ignored.
    """
    pairs = (
        pair.strip().partition("=")
        for header, value in scope["headers"]
        if header == b"cookie"
        for pair in value.decode("latin-1").split(";")
    )
    return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


def _bearer_token(header: str) -> str:
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidToken("`Authorization` has to be of the scheme Bearer.")
    return token.strip()
