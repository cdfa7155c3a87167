"""
The columns of each entity, and how an entity is built from them.

A statement selects `…_COLUMNS` under the table alias they begin with and passes the values to
`read_…` in the same order.
"""

from datetime import datetime
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

from app.domain.access import ApiKey, ApiKeyId, Scope
from app.domain.customer import Customer, CustomerId, Email, PasswordHash, Role
from app.domain.favorite import Snapshot
from app.domain.product import (
    CachedProduct,
    CatalogState,
    Product,
    ProductId,
    Rating,
    RefreshState,
    UnknownProduct,
)
from app.domain.session import Session, SessionId

Copy: TypeAlias = CachedProduct | UnknownProduct

CUSTOMER_COLUMNS = (
    "c.id, c.name, c.email, c.password_hash, c.role, c.created_at, c.updated_at, c.version"
)
SESSION_COLUMNS = (
    "s.id, s.customer_id, s.device, s.created_at, s.last_used_at, s.idle_expires_at,"
    " s.expires_at, s.ended_at"
)
API_KEY_COLUMNS = (
    "k.id, k.name, k.secret_hash, k.scopes, k.created_at, k.expires_at, k.revoked_at,"
    " k.last_used_at"
)
# As text, numbers are cheaper to decode and to hash.
SNAPSHOT_COLUMNS = (
    "f.snapshot_title, f.snapshot_price::text, f.snapshot_image, f.snapshot_rate::text,"
    " f.snapshot_rating_count"
)
PRODUCT_COLUMNS = (
    "p.product_id, p.title, p.price, p.description, p.category, p.image, p.rating_rate,"
    " p.rating_count, p.fetched_at, p.claimed_until, p.blocked_until, p.absent_until,"
    " p.missing_since, p.removed_at"
)
CATALOG_COLUMNS = "g.fetched_at, g.claimed_until, g.blocked_until"


def read_customer(
    id_: UUID,
    name: str,
    email: str,
    password_hash: str | None,
    role: str,
    created_at: datetime,
    updated_at: datetime,
    version: int,
) -> Customer:
    """Build a customer from `CUSTOMER_COLUMNS`."""
    return Customer(
        id=CustomerId(id_),
        name=name,
        email=Email(email),
        password_hash=None if password_hash is None else PasswordHash(password_hash),
        role=Role(role),
        created_at=created_at,
        updated_at=updated_at,
        version=version,
    )


def read_session(
    id_: UUID,
    customer_id: UUID,
    device: str,
    created_at: datetime,
    last_used_at: datetime,
    idle_expires_at: datetime,
    expires_at: datetime,
    ended_at: datetime | None,
) -> Session:
    """Build a session from `SESSION_COLUMNS`."""
    return Session(
        id=SessionId(id_),
        customer_id=CustomerId(customer_id),
        device=device,
        created_at=created_at,
        last_used_at=last_used_at,
        idle_expires_at=idle_expires_at,
        expires_at=expires_at,
        ended_at=ended_at,
    )


def read_api_key(
    id_: str,
    name: str,
    secret_hash: bytes,
    scopes: list[str],
    created_at: datetime,
    expires_at: datetime | None,
    revoked_at: datetime | None,
    last_used_at: datetime | None,
) -> ApiKey:
    """Build an API key from `API_KEY_COLUMNS`."""
    return ApiKey(
        id=ApiKeyId(id_),
        name=name,
        secret_hash=secret_hash,
        scopes=frozenset(map(Scope, scopes)),
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        last_used_at=last_used_at,
    )


def read_snapshot(
    title: str | None, price: str | None, image: str | None, rate: str | None, count: int | None
) -> Snapshot | None:
    """Build a snapshot from `SNAPSHOT_COLUMNS`; None if the catalog has not confirmed it."""
    if title is None or price is None or image is None:
        return None
    return Snapshot(
        title=title,
        price=Decimal(price),
        image=image,
        rating=None if rate is None or count is None else Rating(rate=Decimal(rate), count=count),
    )


def read_product(
    product_id: int,
    title: str | None,
    price: Decimal | None,
    description: str | None,
    category: str | None,
    image: str | None,
    rate: Decimal | None,
    count: int | None,
    fetched_at: datetime | None,
    leased_until: datetime | None,
    blocked_until: datetime | None,
    absent_until: datetime | None,
    missing_since: datetime | None,
    removed_at: datetime | None,
) -> Copy:
    """Build what is known of a product from `PRODUCT_COLUMNS`."""
    id_ = ProductId(product_id)
    refresh = RefreshState(leased_until=leased_until, blocked_until=blocked_until)
    if (
        title is None
        or price is None
        or description is None
        or category is None
        or image is None
        or fetched_at is None
    ):
        return UnknownProduct(id=id_, absent_until=absent_until, refresh=refresh)
    return CachedProduct(
        product=Product(
            id=id_,
            title=title,
            price=price,
            description=description,
            category=category,
            image=image,
            rating=None if rate is None or count is None else Rating(rate=rate, count=count),
        ),
        fetched_at=fetched_at,
        refresh=refresh,
        missing_since=missing_since,
        removed_at=removed_at,
    )


def read_catalog_state(
    fetched_at: datetime | None, leased_until: datetime | None, blocked_until: datetime | None
) -> CatalogState:
    """Build the state of the catalog from `CATALOG_COLUMNS`."""
    return CatalogState(
        fetched_at=fetched_at,
        refresh=RefreshState(leased_until=leased_until, blocked_until=blocked_until),
    )
