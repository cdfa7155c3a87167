from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.application.customer_lookup import existing_customer
from app.application.ports import Clock
from app.domain.customer import Customer, CustomerId
from app.domain.favorite import FavoriteItem, RemovedFavorite
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerExport:
    """Everything that is held about a customer."""

    exported_at: datetime
    customer: Customer
    sessions: Sequence[Session]
    favorites: Sequence[FavoriteItem]
    removed_favorites: Sequence[RemovedFavorite]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCustomer:
    """Answer what is held about somebody (LGPD art. 18, GDPR art. 15 and 20)."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, *, customer_id: CustomerId) -> CustomerExport:
        """
        Gather everything about a customer.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            customer = await existing_customer(work, customer_id)
            return CustomerExport(
                exported_at=self.clock(),
                customer=customer,
                sessions=await work.sessions.list_all(customer_id),
                favorites=await work.favorites.list_all(customer_id),
                removed_favorites=await work.favorites.list_removed(customer_id),
            )
