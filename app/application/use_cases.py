"""What a caller may ask of the service."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Every use case, wired: built once per process, holding no transaction."""

    authenticate: Authenticate
    sign_up: SignUp
    sign_in: SignIn
    refresh_session: RefreshSession
    sign_out: SignOut
    exchange_api_key: ExchangeApiKey
    manage_api_keys: ManageApiKeys

    list_customers: ListCustomers
    create_customer: CreateCustomer
    read_customer: ReadCustomer
    change_customer: ChangeCustomer
    delete_customer: DeleteCustomer
    change_password: ChangePassword
    manage_sessions: ManageSessions
    export_customer: ExportCustomer

    favorite_product: FavoriteProduct
    read_favorite: ReadFavorite
    remove_favorite: RemoveFavorite
    list_favorites: ListFavorites
    contains_favorites: ContainsFavorites
    change_favorites: ChangeFavorites
    restore_favorite: RestoreFavorite
    read_favorite_changes: ReadFavoriteChanges
    read_list_version: ReadListVersion
    read_profile: ReadProfile

    products: ProductReader
    read_price_history: ReadPriceHistory
    list_popular: ListPopular

    validate_product: ValidatePendingProduct
    refresh_favorited: RefreshFavorited
    reconcile_popularity: ReconcilePopularity
    purge: Purge
