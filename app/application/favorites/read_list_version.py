from dataclasses import dataclass

from app.domain.access import SessionClaim
from app.domain.customer import CustomerId
from app.domain.favorite import ListVersion
from app.domain.repository import Lookups


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadListVersion:
    """Tell whether a list of favorites is still as somebody has seen it, at the least cost."""

    lookups: Lookups

    async def __call__(
        self, *, customer_id: CustomerId, claim: SessionClaim | None = None
    ) -> ListVersion:
        """
        Return what the customer's list depends on.

        :raises InvalidToken: if there is a `claim` that does not hold
        """
        return await self.lookups.list_version(customer_id, claim=claim)
