"""What a caller may ask of the service."""

from dataclasses import dataclass

from app.application.product_reader import ProductReader
from app.application.use_case.authenticate import Authenticate
from app.application.use_case.change_customer import ChangeCustomer
from app.application.use_case.change_favorites import ChangeFavorites
from app.application.use_case.change_password import ChangePassword
from app.application.use_case.contains_favorites import ContainsFavorites
from app.application.use_case.create_customer import CreateCustomer
from app.application.use_case.delete_customer import DeleteCustomer
from app.application.use_case.exchange_api_key import ExchangeApiKey
from app.application.use_case.export_customer import ExportCustomer
from app.application.use_case.favorite_product import FavoriteProduct
from app.application.use_case.list_customers import ListCustomers
from app.application.use_case.list_favorites import ListFavorites
from app.application.use_case.list_popular import ListPopular
from app.application.use_case.manage_api_keys import ManageApiKeys
from app.application.use_case.manage_sessions import ManageSessions
from app.application.use_case.purge import Purge
from app.application.use_case.read_customer import ReadCustomer
from app.application.use_case.read_favorite import ReadFavorite
from app.application.use_case.read_favorite_changes import ReadFavoriteChanges
from app.application.use_case.read_list_version import ReadListVersion
from app.application.use_case.read_price_history import ReadPriceHistory
from app.application.use_case.read_profile import ReadProfile
from app.application.use_case.reconcile_popularity import ReconcilePopularity
from app.application.use_case.refresh_favorited import RefreshFavorited
from app.application.use_case.refresh_session import RefreshSession
from app.application.use_case.remove_favorite import RemoveFavorite
from app.application.use_case.restore_favorite import RestoreFavorite
from app.application.use_case.sign_in import SignIn
from app.application.use_case.sign_out import SignOut
from app.application.use_case.sign_up import SignUp
from app.application.use_case.validate_product import ValidatePendingProduct


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
