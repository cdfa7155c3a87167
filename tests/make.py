"""
Valid domain objects: a test names only what it is about.

What has to be unique, as ids and addresses, is counted on, so that two customers are two.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

from app.domain.access import ApiKey, ApiKeyId, PresentedApiKey, Scope
from app.domain.customer import Customer, CustomerId, Email, PasswordHash, Role
from app.domain.favorite import Favorite, FavoriteItem, Snapshot
from app.domain.product import (
    CachedProduct,
    CachePolicy,
    Product,
    ProductId,
    Rating,
    RefreshState,
    UnknownProduct,
)
from app.domain.session import (
    RefreshToken,
    RefreshTokenHash,
    Session,
    SessionId,
    SessionPolicy,
)
from app.domain.throttle import ThrottleKey
from app.domain.writes import FavoriteLimits

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

PASSWORD_HASH = PasswordHash("$plain$correct horse battery staple")
SESSION_POLICY = SessionPolicy(idle=timedelta(days=7), absolute=timedelta(days=30))
CACHE_POLICY = CachePolicy(
    soft_ttl=5 * MINUTE,
    hard_ttl=DAY,
    negative_ttl=MINUTE,
    lease=10 * SECOND,
    backoff=30 * SECOND,
)

PLENTY = 10_000
LIMITS = FavoriteLimits(total=PLENTY, pending=PLENTY)
"""Limits of favorites that a test does not reach."""

_numbers = count(1)


def uuid() -> UUID:
    """Make a unique id; later ones are greater."""
    return UUID(int=next(_numbers), version=4)


def customer_id() -> CustomerId:
    """Make the id of a customer who does not have to exist."""
    return CustomerId(uuid())


def product_id() -> ProductId:
    """Make the id of a product that no other test uses."""
    return ProductId(1_000_000 + next(_numbers))


def customer(
    *,
    id: CustomerId | None = None,
    name: str = "Ana Souza",
    email: str | None = None,
    password_hash: PasswordHash | None = PASSWORD_HASH,
    role: Role = Role.CUSTOMER,
    created_at: datetime = NOW,
    updated_at: datetime | None = None,
    version: int = 1,
) -> Customer:
    """Make a stored customer."""
    return Customer(
        id=id or customer_id(),
        name=name,
        email=Email(email or f"customer-{next(_numbers)}@example.com"),
        password_hash=password_hash,
        role=role,
        created_at=created_at,
        updated_at=updated_at or created_at,
        version=version,
    )


def session(
    *,
    id: SessionId | None = None,
    customer_id: CustomerId | None = None,
    device: str = "Firefox on Linux",
    created_at: datetime = NOW,
    last_used_at: datetime | None = None,
    idle_expires_at: datetime | None = None,
    expires_at: datetime | None = None,
    ended_at: datetime | None = None,
) -> Session:
    """Make a session that began at `created_at`, with the times of `SESSION_POLICY`."""
    return Session(
        id=id or SessionId(uuid()),
        customer_id=customer_id or CustomerId(uuid()),
        device=device,
        created_at=created_at,
        last_used_at=last_used_at or created_at,
        idle_expires_at=idle_expires_at or created_at + SESSION_POLICY.idle,
        expires_at=expires_at or created_at + SESSION_POLICY.absolute,
        ended_at=ended_at,
    )


def token_hash() -> RefreshTokenHash:
    """Make the hash of a new refresh token."""
    return RefreshTokenHash(next(_numbers).to_bytes(32, "big"))


def refresh_token(
    *,
    session_id: SessionId | None = None,
    hash: RefreshTokenHash | None = None,
    predecessor: RefreshTokenHash | None = None,
    issued_at: datetime = NOW,
    used_at: datetime | None = None,
) -> RefreshToken:
    """Make a stored refresh token."""
    return RefreshToken(
        hash=hash or token_hash(),
        session_id=session_id or SessionId(uuid()),
        predecessor=predecessor,
        issued_at=issued_at,
        used_at=used_at,
    )


def presented_api_key(*, id: str | None = None, secret: str = "5e" * 32) -> PresentedApiKey:
    """Make an API key as a client presents it."""
    return PresentedApiKey(id=ApiKeyId(id or f"key{next(_numbers)}"), secret=secret)


def api_key(
    *,
    presented: PresentedApiKey | None = None,
    name: str = "Checkout",
    scopes: Collection[Scope] = tuple(Scope),
    created_at: datetime = NOW,
    expires_at: datetime | None = None,
    revoked_at: datetime | None = None,
    last_used_at: datetime | None = None,
) -> ApiKey:
    """Make a stored API key, by default with all scopes."""
    presented = presented or presented_api_key()
    return ApiKey(
        id=presented.id,
        name=name,
        secret_hash=presented.secret_hash,
        scopes=frozenset(scopes),
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        last_used_at=last_used_at,
    )


def rating(rate: str = "4.6", count: int = 400) -> Rating:
    """Make a rating."""
    return Rating(rate=Decimal(rate), count=count)


def product(
    *,
    id: int | None = None,
    title: str = "Chain Bracelet",
    price: str = "695.00",
    description: str = "Inspired by the dragon that guards the pearl.",
    category: str = "jewelery",
    image: str = "https://catalog.test/img/5.jpg",
    rating: Rating | None = rating(),  # noqa: B008 - immutable, as every value of the domain
) -> Product:
    """Make a product as the catalog describes it."""
    return Product(
        id=product_id() if id is None else ProductId(id),
        title=title,
        price=Decimal(price),
        description=description,
        category=category,
        image=image,
        rating=rating,
    )


def cached_product(
    *,
    id: int | None = None,
    product: Product | None = None,
    fetched_at: datetime = NOW,
    refresh: RefreshState = RefreshState(),  # noqa: B008 - immutable
    missing_since: datetime | None = None,
    removed_at: datetime | None = None,
) -> CachedProduct:
    """Make a copy of a product; `id` and `product` exclude each other."""
    return CachedProduct(
        product=product or _product(id=id),
        fetched_at=fetched_at,
        refresh=refresh,
        missing_since=missing_since,
        removed_at=removed_at,
    )


_product = product


def unknown_product(
    *,
    id: int | None = None,
    absent_until: datetime | None = None,
    refresh: RefreshState = RefreshState(),  # noqa: B008 - immutable
) -> UnknownProduct:
    """Make what is stored about an id without a copy."""
    return UnknownProduct(
        id=product_id() if id is None else ProductId(id),
        absent_until=absent_until,
        refresh=refresh,
    )


def snapshot(*, price: str = "699.00") -> Snapshot:
    """Make the snapshot of a product."""
    return Snapshot.of(product(price=price))


def favorite(
    *,
    customer_id: CustomerId | None = None,
    product_id: int | None = None,
    favorited_at: datetime = NOW,
    when_favorited: Snapshot | None = snapshot(),  # noqa: B008 - immutable
    rejected_at: datetime | None = None,
) -> Favorite:
    """Make a favorite that the catalog confirmed; `when_favorited=None` makes it pending."""
    return Favorite(
        customer_id=customer_id or CustomerId(uuid()),
        product_id=_product_id() if product_id is None else ProductId(product_id),
        favorited_at=favorited_at,
        when_favorited=when_favorited,
        rejected_at=rejected_at,
    )


_product_id = product_id


def favorite_item(
    *, favorite: Favorite | None = None, cached: CachedProduct | None = None
) -> FavoriteItem:
    """Make an item of a list, by default without a copy of the product."""
    return FavoriteItem(favorite=favorite or _favorite(), cached=cached)


_favorite = favorite


def throttle_key() -> ThrottleKey:
    """Make the key of an unused throttle."""
    return ThrottleKey(next(_numbers).to_bytes(32, "big"))
