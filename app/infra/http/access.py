"""
Who asks, and what is theirs.

Credentials come as the cookie `access_token`, as `Authorization: Bearer` or as an API key in a
header of its own. What a client put into a header on purpose goes before the cookie that its
browser adds to everything; with two that differ besides, we could not say in whose name the
request acts, so it is refused.

Guards are dependencies of *routers*, so that a new route cannot forget them. Routes that need the
customer they act on name the same guard again; FastAPI calls it once.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Annotated, TypeAlias, cast
from uuid import UUID

import structlog
from fastapi import Depends, Path, Request
from pydantic import BeforeValidator, WithJsonSchema
from starlette.types import Scope as AsgiScope

from app.domain.access import (
    CustomerPrincipal,
    Principal,
    Scope,
    ServicePrincipal,
    SessionClaim,
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
from app.infra.http.use_cases import wired

logger = structlog.stdlib.get_logger(__name__)

ACCESS_COOKIE = "access_token"
REFRESH_COOKIE = "refresh_token"


async def authenticated(request: Request) -> Principal:
    """
    Return who asks; for FastAPI's dependencies.

    :raises NotAuthenticated: as `authenticate` does
    """
    return await authenticate(request.scope)


async def authenticate(scope: AsgiScope) -> Principal:
    """
    Return who asks.

    :raises MissingCredentials: if the request shows no credentials
    :raises InvalidToken: if a token is not valid, or several credentials are shown that differ
    :raises InvalidApiKey: if an API key is not valid
    """
    token, key = _shown(scope)
    principal: Principal
    if token is not None:
        principal = await wired(scope).authenticate.confirmed(_claimed(scope, token))
    elif key is not None:
        principal = await _holder(scope, key)
    else:
        raise MissingCredentials("Sign in, or send an API key.")
    scope["state"]["principal"] = principal
    return principal


@contextmanager
def in_the_name_of(scope: AsgiScope, claimed: CustomerPrincipal) -> Generator[SessionClaim]:
    """
    Ask, within it, what finds out by the same look whether the session of a token holds.

    If it does not, nobody is noted as the one who asks.
    """
    state = scope["state"]
    state["principal"] = claimed
    try:
        yield wired(scope).authenticate.claim(claimed)
    except InvalidToken:
        del state["principal"]
        raise


async def recognized(scope: AsgiScope) -> Principal | None:
    """
    Return in whose name a request is counted; None without credentials, or with wrong ones.

    Of a token only the signature is checked, which asks nobody: whether its session holds is left
    to `authenticate`. A key has to be looked up. Neither is done twice.
    """
    try:
        claimed = claimed_by(scope)
        if claimed is not None:
            return claimed
        _, key = _shown(scope)
        return None if key is None else await _holder(scope, key)
    except NotAuthenticated:
        return None


def claimed_by(scope: AsgiScope) -> Principal | None:
    """
    Return in whose name a request claims to be made by a token of ours; None without a token.

    :raises InvalidToken: if the token is not valid, or several credentials are shown that differ
    """
    token, _ = _shown(scope)
    return None if token is None else _claimed(scope, token)


def _shown(scope: AsgiScope) -> tuple[str | None, str | None]:
    """Return the token or the API key that a request shows, if any, but never both."""
    state = scope["state"]
    shown: tuple[str | None, str | None] | None = state.get("shown")
    if shown is None:
        shown = state["shown"] = _find_shown(scope)
    return shown


def _find_shown(scope: AsgiScope) -> tuple[str | None, str | None]:
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
        raise InvalidToken("The request shows several credentials that differ.")
    return next(iter(tokens), None), next(iter(keys), None)


def _claimed(scope: AsgiScope, token: str) -> Principal:
    known: Principal | None = scope["state"].get("claimed")
    if known is None:
        known = scope["state"]["claimed"] = wired(scope).authenticate.claimed_by(token)
    return known


async def _holder(scope: AsgiScope, key: str) -> ServicePrincipal:
    known: ServicePrincipal | InvalidApiKey | None = scope["state"].get("key_holder")
    if known is None:
        try:
            known = await wired(scope).authenticate.by_api_key(key)
        except InvalidApiKey as refusal:
            known = refusal
        scope["state"]["key_holder"] = known
    if isinstance(known, InvalidApiKey):
        raise known
    return known


def cookie_values(scope: AsgiScope, name: str) -> list[str]:
    """
    Return the values of all cookies of a name.

    A second one may have been planted by another subdomain (RFC 6265, section 8.6), so that
    none can be ignored.
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


Authenticated = Annotated[Principal, Depends(authenticated)]


async def signed_in_customer(principal: Authenticated) -> CustomerPrincipal:
    """
    Return the customer who asks.

    :raises CustomerOnly: if an internal system asks
    """
    if isinstance(principal, ServicePrincipal):
        raise CustomerOnly("An API key has no account of its own.")
    return principal


SignedInCustomer = Annotated[CustomerPrincipal, Depends(signed_in_customer)]

CustomerPath = Annotated[
    UUID | str,
    Path(alias="id", description="A customer's UUID, or `me` for whoever is signed in."),
    BeforeValidator(lambda text: text if text == "me" else parse_uuid(text)),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "uuid"}, {"type": "string", "const": "me"}],
            "examples": ["me"],
        }
    ),
]

Guard: TypeAlias = Callable[..., Awaitable[CustomerId]]


def own_customer(*, read: Scope | None = None, write: Scope | None = None) -> Guard:
    """
    Return a guard that resolves `{id}` for those who may act on that customer.

    These are the customer, administrators, and internal systems with the scope: `read` for safe
    methods, `write` for the others, None if no key may do this. `me` with an API key is refused as
    `customer_only`, for a key has no account. Somebody else's account is not found, as if it did
    not exist.

    The guard raises `CustomerNotFound`, `CustomerOnly` or `InsufficientScope`.
    """

    async def guard(request: Request, principal: Authenticated, id: CustomerPath) -> CustomerId:
        match principal:
            case ServicePrincipal():
                require_scope(principal, read if request.method in SAFE_METHODS else write)
                if id == "me":
                    raise CustomerOnly("An API key has no account: `me` is nobody.")
                return CustomerId(cast(UUID, id))
            case CustomerPrincipal():
                customer_id = principal.customer_id if id == "me" else CustomerId(cast(UUID, id))
                if customer_id != principal.customer_id:
                    if not principal.is_admin:
                        raise CustomerNotFound("There is no such customer")
                    _note_admin(request, principal, customer_id)
                return customer_id

    return guard


async def only_oneself(principal: SignedInCustomer, id: CustomerPath) -> CustomerPrincipal:
    """
    Guard what not even an administrator does for somebody else.

    :raises CustomerNotFound: if `{id}` is somebody else
    """
    if id not in ("me", principal.customer_id):
        raise CustomerNotFound("There is no such customer")
    return principal


def anybodys(*, read: Scope, write: Scope) -> Callable[..., Awaitable[Principal]]:
    """
    Return a guard for what concerns all customers: administrators and internal systems.

    The guard raises `AdminOnly` or `InsufficientScope`.
    """

    async def guard(request: Request, principal: Authenticated) -> Principal:
        match principal:
            case ServicePrincipal():
                require_scope(principal, read if request.method in SAFE_METHODS else write)
            case CustomerPrincipal():
                if not principal.is_admin:
                    raise AdminOnly("This is for administrators and internal systems.")
                _note_admin(request, principal, None)
        return principal

    return guard


def require_scope(principal: ServicePrincipal, scope: Scope | None) -> None:
    """
    Refuse a key that may not do this.

    :raises CustomerOnly: if no key may
    :raises InsufficientScope: if this one may not
    """
    if scope is None:
        raise CustomerOnly("This is not for API keys.")
    if scope not in principal.scopes:
        raise InsufficientScope(f"This needs a key with the scope `{scope}`.")


def _note_admin(
    request: Request, principal: CustomerPrincipal, customer_id: CustomerId | None
) -> None:
    logger.info(
        "admin_action",
        admin_id=str(principal.customer_id),
        customer_id=None if customer_id is None else str(customer_id),
        method=request.method,
        route=getattr(request.scope.get("route"), "path", None),
    )
