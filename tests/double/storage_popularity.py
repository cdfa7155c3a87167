from dataclasses import dataclass

from typing_extensions import override

from app.domain.repository import PopularityRepository
from tests.double.storage_table import Transaction


@dataclass(frozen=True, slots=True)
class InMemoryPopularityRepository(PopularityRepository):
    """Nothing to reconcile: this storage counts favorites when it is asked."""

    _transaction: Transaction

    @override
    async def reconcile(self) -> int:
        # Only to be unavailable with the storage.
        assert self._transaction.tables is not None
        return 0
