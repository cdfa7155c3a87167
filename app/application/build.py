"""Every use case with its collaborators: the same for the service, its worker and its tests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from app.application.accounts.authenticate import Authenticate
from app.application.accounts.change_customer import ChangeCustomer
from app.application.accounts.change_password import ChangePassword
from app.application.accounts.create_customer import CreateCustomer
from app.application.accounts.delete_customer import DeleteCustomer
from app.application.accounts.exchange_api_key import ExchangeApiKey
from app.application.accounts.export_customer import ExportCustomer
from app.application.accounts.manage_api_keys import ManageApiKeys
from app.application.accounts.manage_sessions import ManageSessions
from app.application.accounts.read_customer import ReadCustomer
from app.application.accounts.refresh_session import RefreshSession
from app.application.accounts.sign_in import SignIn
from app.application.accounts.sign_out import SignOut
from app.application.accounts.sign_up import SignUp
from app.application.catalog.cache_observer import CacheObserver, NullCacheObserver
from app.application.catalog.cache_refresher import CacheRefresher, Sleep
from app.application.catalog.catalog_reader import CatalogReader
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.catalog.list_popular import ListPopular
from app.application.catalog.product_reader import ProductReader
from app.application.catalog.read_price_history import ReadPriceHistory
from app.application.favorites.change_favorites import ChangeFavorites
from app.application.favorites.favorite_product import FavoriteProduct
from app.application.favorites.list_favorites import ListFavorites
from app.application.favorites.read_favorite import ReadFavorite
from app.application.favorites.read_favorite_changes import ReadFavoriteChanges
from app.application.favorites.read_profile import ReadProfile
from app.application.favorites.remove_favorite import RemoveFavorite
from app.application.favorites.restore_favorite import RestoreFavorite
from app.application.favorites.validate_product import ValidatePendingProduct
from app.application.operations.purge import Purge
from app.application.operations.reconcile_popularity import ReconcilePopularity
from app.application.operations.refresh_favorited import RefreshFavorited
from app.application.ports import (
    BackgroundTasks,
    Clock,
    DeviceTokens,
    NewId,
    PasswordHasher,
    ProductCatalog,
    RefreshTokenSource,
    TokenIssuer,
)
from app.domain.access import ApiKey, PresentedApiKey
from app.domain.product import CachePolicy
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import SessionPolicy
from app.domain.throttle import AccessThrottles
from app.domain.writes import FavoriteLimits, FavoriteWrites, SignInWrites


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """The adapters that the use cases work with."""

    uow: UnitOfWorkFactory
    queries: Queries
    favorites: FavoriteWrites
    sign_ins: SignInWrites
    catalog: ProductCatalog
    hasher: PasswordHasher
    tokens: TokenIssuer
    refresh_tokens: RefreshTokenSource
    devices: DeviceTokens
    tasks: BackgroundTasks
    clock: Clock
    new_id: NewId
    new_api_key: Callable[[], PresentedApiKey]
    cache_observer: CacheObserver = field(default_factory=NullCacheObserver)
    hot_products: HotProducts = field(default_factory=NullHotProducts)
    sleep: Sleep = asyncio.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    The rules that the use cases apply.

    Adding a favorite waits no longer than `favorite_patience` for the catalog. Ended sessions are
    kept for `sessions_kept`. A favorited product is refreshed once its copy has spent `refresh_at`
    of its hard TTL.
    """

    cache: CachePolicy
    session: SessionPolicy
    throttles: AccessThrottles
    common_passwords: frozenset[str]
    favorite_limits: FavoriteLimits
    popular_min_count: int
    favorite_patience: timedelta = timedelta(seconds=1)
    undo_window: timedelta = timedelta(minutes=10)
    removals_kept: timedelta = timedelta(days=30)
    development_key: ApiKey | None = None
    sessions_kept: timedelta = timedelta(days=30)
    refresh_at: float = 0.5


class UseCases:
    """
    What a caller can ask of the service; built once per process, without an open transaction.

    `queries` is for reads without a rule besides: lists of customers, `contains`.
    """

    def __init__(self, have: Collaborators, rules: Rules) -> None:
        """Build every use case."""
        uow, clock = have.uow, have.clock
        self.queries = have.queries
        self.clock = clock
        self.cache_policy = rules.cache

        # Catalog
        refresher = CacheRefresher(
            uow=uow,
            catalog=have.catalog,
            tasks=have.tasks,
            clock=clock,
            policy=rules.cache,
            observer=have.cache_observer,
            hot=have.hot_products,
            sleep=have.sleep,
        )
        self.products = ProductReader(
            queries=have.queries,
            refresher=refresher,
            hot=have.hot_products,
            clock=clock,
            policy=rules.cache,
            observer=have.cache_observer,
        )
        self.catalog = CatalogReader(
            queries=have.queries,
            refresher=refresher,
            clock=clock,
            policy=rules.cache,
            observer=have.cache_observer,
        )
        self.read_price_history = ReadPriceHistory(queries=have.queries)
        self.list_popular = ListPopular(
            queries=have.queries, products=self.products, at_least=rules.popular_min_count
        )

        # Favorites
        self.favorite_product = FavoriteProduct(
            queries=have.queries,
            favorites=have.favorites,
            products=self.products,
            clock=clock,
            limits=rules.favorite_limits,
            patience=rules.favorite_patience,
        )
        self.change_favorites = ChangeFavorites(
            favorites=have.favorites,
            products=self.products,
            clock=clock,
            limits=rules.favorite_limits,
            patience=rules.favorite_patience,
        )
        self.remove_favorite = RemoveFavorite(favorites=have.favorites, clock=clock)
        self.restore_favorite = RestoreFavorite(
            queries=have.queries,
            favorites=have.favorites,
            clock=clock,
            window=rules.undo_window,
            limits=rules.favorite_limits,
        )
        self.list_favorites = ListFavorites(
            queries=have.queries, products=self.products, clock=clock, policy=rules.cache
        )
        self.read_favorite = ReadFavorite(queries=have.queries, products=self.products)
        self.read_favorite_changes = ReadFavoriteChanges(
            queries=have.queries, favorites=have.favorites, products=self.products
        )
        self.read_profile = ReadProfile(queries=have.queries, products=self.products)
        self.validate_product = ValidatePendingProduct(
            uow=uow, products=self.products, clock=clock
        )

        # Accounts
        self.authenticate = Authenticate(
            queries=have.queries,
            uow=uow,
            tokens=have.tokens,
            clock=clock,
            development_key=rules.development_key,
        )
        self.sign_up = SignUp(
            uow=uow,
            hasher=have.hasher,
            common_passwords=rules.common_passwords,
            throttles=rules.throttles,
            clock=clock,
            new_id=have.new_id,
        )
        self.sign_in = SignIn(
            uow=uow,
            sign_ins=have.sign_ins,
            hasher=have.hasher,
            tokens=have.tokens,
            refresh_tokens=have.refresh_tokens,
            devices=have.devices,
            throttles=rules.throttles,
            policy=rules.session,
            clock=clock,
            new_id=have.new_id,
        )
        self.refresh_session = RefreshSession(
            uow=uow,
            tokens=have.tokens,
            refresh_tokens=have.refresh_tokens,
            policy=rules.session,
            clock=clock,
        )
        self.sign_out = SignOut(uow=uow, clock=clock)
        self.exchange_api_key = ExchangeApiKey(tokens=have.tokens, clock=clock)
        self.manage_api_keys = ManageApiKeys(
            queries=have.queries, uow=uow, clock=clock, new_key=have.new_api_key
        )
        self.create_customer = CreateCustomer(
            uow=uow,
            hasher=have.hasher,
            common_passwords=rules.common_passwords,
            clock=clock,
            new_id=have.new_id,
        )
        self.read_customer = ReadCustomer(queries=have.queries)
        self.change_customer = ChangeCustomer(uow=uow, clock=clock)
        self.delete_customer = DeleteCustomer(uow=uow)
        self.change_password = ChangePassword(
            queries=have.queries,
            uow=uow,
            hasher=have.hasher,
            common_passwords=rules.common_passwords,
            throttles=rules.throttles,
            clock=clock,
        )
        self.manage_sessions = ManageSessions(queries=have.queries, uow=uow, clock=clock)
        self.export_customer = ExportCustomer(queries=have.queries, clock=clock)

        # Operations
        self.refresh_favorited = RefreshFavorited(
            queries=have.queries,
            catalog=self.catalog,
            clock=clock,
            older_than=rules.cache.hard_ttl * rules.refresh_at,
        )
        self.reconcile_popularity = ReconcilePopularity(uow=uow)
        self.purge = Purge(
            uow=uow,
            clock=clock,
            sessions_kept=rules.sessions_kept,
            undo_window=rules.undo_window,
            removals_kept=rules.removals_kept,
            throttles_kept=rules.throttles.longest_window,
        )
