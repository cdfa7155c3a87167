from dataclasses import dataclass
from datetime import datetime

from app.application.ports import Clock
from app.domain.customer import CustomerId
from app.domain.outcome import CustomerNotFound
from app.domain.queries import CustomerRecords, Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerExport:
    """Everything stored about a customer, and when it was read."""

    exported_at: datetime
    records: CustomerRecords


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCustomer:
    """Give access to everything stored about a customer (LGPD art. 18, GDPR art. 15 and 20)."""

    queries: Queries
    clock: Clock

    async def __call__(self, *, customer_id: CustomerId) -> CustomerExport:
        """
        Read everything about a customer.

        :raises CustomerNotFound: if there is no such customer
        """
        records = await self.queries.find_records(customer_id)
        if records is None:
            raise CustomerNotFound
        return CustomerExport(exported_at=self.clock(), records=records)
