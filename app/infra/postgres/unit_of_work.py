from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlmodel.ext.asyncio.session import AsyncSession
from typing_extensions import override

from app.domain.repository import UnitOfWork
from app.infra.postgres.engine import PATIENCE
from app.infra.postgres.repository.api_key import PostgresApiKeyRepository
from app.infra.postgres.repository.customer import PostgresCustomerRepository
from app.infra.postgres.repository.favorite import PostgresFavoriteRepository
from app.infra.postgres.repository.popularity import PostgresPopularityRepository
from app.infra.postgres.repository.product import PostgresProductRepository
from app.infra.postgres.repository.session import PostgresSessionRepository
from app.infra.postgres.repository.throttle import PostgresThrottleRepository
from app.infra.postgres.transaction import Transaction


class PostgresUnitOfWork(UnitOfWork):
    """One transaction in one task; it connects with its first statement."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        *,
        budget: timedelta = PATIENCE,
    ) -> None:
        """Prepare a unit that waits for the database for at most `budget` in total."""
        self._transaction = Transaction(sessions, budget=budget)
        self.customers = PostgresCustomerRepository(self._transaction)
        self.sessions = PostgresSessionRepository(self._transaction)
        self.api_keys = PostgresApiKeyRepository(self._transaction)
        self.favorites = PostgresFavoriteRepository(self._transaction)
        self.popularity = PostgresPopularityRepository(self._transaction)
        self.products = PostgresProductRepository(self._transaction)
        self.throttles = PostgresThrottleRepository(self._transaction)

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transaction.close()

    @override
    async def commit(self) -> None:
        await self._transaction.commit()
