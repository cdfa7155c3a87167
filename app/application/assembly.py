"""Use cases from their collaborators: the same for the service, its worker and its tests."""

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
from app.application.accounts.list_customers import ListCustomers
from app.application.accounts.manage_api_keys import ManageApiKeys
from app.application.accounts.manage_sessions import ManageSessions
from app.application.accounts.read_customer import ReadCustomer
from app.application.accounts.refresh_session import RefreshSession
from app.application.accounts.sign_in import SignIn
from app.application.accounts.sign_out import SignOut
from app.application.accounts.sign_up import SignUp
from app.application.catalog.cache_observer import CacheObserver, NullCacheObserver
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.catalog.list_popular import ListPopular
from app.application.catalog.product_reader import ProductReader
from app.application.catalog.read_price_history import ReadPriceHistory
from app.application.favorites.change_favorites import ChangeFavorites
from app.application.favorites.contains_favorites import ContainsFavorites
from app.application.favorites.favorite_product import FavoriteProduct
from app.application.favorites.list_favorites import ListFavorites
from app.application.favorites.read_favorite import ReadFavorite
from app.application.favorites.read_favorite_changes import ReadFavoriteChanges
from app.application.favorites.read_list_version import ReadListVersion
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
from app.application.use_cases import UseCases
from app.domain.access import ApiKey, PresentedApiKey
from app.domain.product import CachePolicy
from app.domain.repository import Additions, Lookups, SignIns, UnitOfWorkFactory
from app.domain.session import SessionPolicy
from app.domain.throttle import AccessThrottles


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """
    What the use cases work with.

    `lagging` is storage as it was a moment ago, for reads that can live with that; without it they
    read what is.
    """

    uow: UnitOfWorkFactory
    lookups: Lookups
    additions: Additions
    sign_ins: SignIns
    catalog: ProductCatalog
    hasher: PasswordHasher
    tokens: TokenIssuer
    refresh_tokens: RefreshTokenSource
    devices: DeviceTokens
    tasks: BackgroundTasks
    clock: Clock
    new_id: NewId
    new_api_key: Callable[[], PresentedApiKey]
    lagging: UnitOfWorkFactory | None = None
    cache_observer: CacheObserver = field(default_factory=NullCacheObserver)
    hot_products: HotProducts = field(default_factory=NullHotProducts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    What the use cases go by.

    Nobody who adds a favorite waits longer than `favorite_patience` for the catalog; at most
    `pending_max` favorites of a customer do. Ended sessions are kept for `sessions_kept`. A
    favorited product is asked for anew once its copy has spent `refresh_at` of its hard TTL.
    """

    cache: CachePolicy
    session: SessionPolicy
    throttles: AccessThrottles
    common_passwords: frozenset[str]
    favorites_max: int
    pending_max: int
    popular_min_count: int
    favorite_patience: timedelta = timedelta(seconds=1)
    undo_window: timedelta = timedelta(minutes=10)
    removals_kept: timedelta = timedelta(days=30)
    development_key: ApiKey | None = None
    sessions_kept: timedelta = timedelta(days=30)
    refresh_at: float = 0.5


def assemble(have: Collaborators, rules: Rules) -> UseCases:
    """Build every use case."""
    uow, lookups, clock = have.uow, have.lookups, have.clock
    lagging = have.lagging or uow
    products = ProductReader(
        uow=uow,
        lookups=lookups,
        lagging=lagging,
        hot=have.hot_products,
        catalog=have.catalog,
        tasks=have.tasks,
        clock=clock,
        policy=rules.cache,
        observer=have.cache_observer,
    )
    return UseCases(
        authenticate=Authenticate(
            uow=uow,
            lookups=lookups,
            tokens=have.tokens,
            clock=clock,
            development_key=rules.development_key,
        ),
        sign_up=SignUp(
            uow=uow,
            hasher=have.hasher,
            common_passwords=rules.common_passwords,
            throttles=rules.throttles,
            clock=clock,
            new_id=have.new_id,
        ),
        sign_in=SignIn(
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
        ),
        refresh_session=RefreshSession(
            uow=uow,
            tokens=have.tokens,
            refresh_tokens=have.refresh_tokens,
            policy=rules.session,
            clock=clock,
        ),
        sign_out=SignOut(uow=uow, clock=clock),
        exchange_api_key=ExchangeApiKey(tokens=have.tokens, clock=clock),
        manage_api_keys=ManageApiKeys(uow=uow, clock=clock, new_key=have.new_api_key),
        list_customers=ListCustomers(uow=lagging),
        create_customer=CreateCustomer(
            uow=uow,
            hasher=have.hasher,
            common_passwords=rules.common_passwords,
            clock=clock,
            new_id=have.new_id,
        ),
        read_customer=ReadCustomer(uow=uow),
        change_customer=ChangeCustomer(uow=uow, clock=clock),
        delete_customer=DeleteCustomer(uow=uow),
        change_password=ChangePassword(
            uow=uow,
            hasher=have.hasher,
            common_passwords=rules.common_passwords,
            throttles=rules.throttles,
            clock=clock,
        ),
        manage_sessions=ManageSessions(uow=uow, clock=clock),
        export_customer=ExportCustomer(uow=uow, clock=clock),
        favorite_product=FavoriteProduct(
            uow=uow,
            lookups=lookups,
            additions=have.additions,
            products=products,
            clock=clock,
            favorites_max=rules.favorites_max,
            pending_max=rules.pending_max,
            patience=rules.favorite_patience,
        ),
        read_favorite=ReadFavorite(uow=uow, products=products),
        remove_favorite=RemoveFavorite(uow=uow, clock=clock),
        list_favorites=ListFavorites(uow=uow, lookups=lookups, products=products),
        contains_favorites=ContainsFavorites(uow=uow, lookups=lookups),
        change_favorites=ChangeFavorites(
            uow=uow,
            products=products,
            clock=clock,
            favorites_max=rules.favorites_max,
            pending_max=rules.pending_max,
            patience=rules.favorite_patience,
        ),
        restore_favorite=RestoreFavorite(
            uow=uow, clock=clock, window=rules.undo_window, favorites_max=rules.favorites_max
        ),
        read_favorite_changes=ReadFavoriteChanges(uow=uow, products=products),
        read_list_version=ReadListVersion(lookups=lookups),
        read_profile=ReadProfile(uow=uow, products=products),
        products=products,
        read_price_history=ReadPriceHistory(uow=lagging),
        list_popular=ListPopular(uow=lagging, products=products, at_least=rules.popular_min_count),
        reconcile_popularity=ReconcilePopularity(uow=uow),
        validate_product=ValidatePendingProduct(uow=uow, products=products, clock=clock),
        refresh_favorited=RefreshFavorited(
            uow=uow,
            products=products,
            clock=clock,
            older_than=rules.cache.hard_ttl * rules.refresh_at,
        ),
        purge=Purge(
            uow=uow,
            clock=clock,
            sessions_kept=rules.sessions_kept,
            undo_window=rules.undo_window,
            removals_kept=rules.removals_kept,
            throttles_kept=_longest_window(rules.throttles),
        ),
    )


def _longest_window(throttles: AccessThrottles) -> timedelta:
    rules = (throttles.sign_in_email, throttles.sign_in_ip, throttles.sign_up_ip)
    return max((rule.window for rule in rules if rule is not None), default=timedelta(0))
