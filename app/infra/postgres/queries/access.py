from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from typing_extensions import override

from app.domain.access import ApiKey, ApiKeyId, CustomerPrincipal, SessionCheck
from app.domain.customer import CustomerId, Role
from app.domain.session import SessionId
from app.infra.postgres.batcher import Batcher
from app.infra.postgres.queries.base import PostgresQueriesBase
from app.infra.postgres.queries.customer_read import SESSION_IS_ACTIVE, latest
from app.infra.postgres.rows import API_KEY_COLUMNS, read_api_key

_FIND_PRINCIPALS = f"""
    SELECT s.id, s.customer_id, c.role
    FROM sessions AS s JOIN customers AS c ON c.id = s.customer_id
    WHERE s.id = ANY ($1) AND {SESSION_IS_ACTIVE}"""  # noqa: S608 - constants
_FIND_API_KEYS = f"""
    SELECT {API_KEY_COLUMNS} FROM api_keys AS k WHERE k.id = ANY ($1)"""  # noqa: S608 - constants
_LIST_API_KEYS = f"""
    SELECT {API_KEY_COLUMNS} FROM api_keys AS k ORDER BY k.created_at, k.id
"""  # noqa: S608 - constants


class AccessQueries(PostgresQueriesBase):
    """Reads of principals and API keys."""

    @override
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        return await self._principals.submit(SessionCheck(session_id=session_id, at=now))

    @cached_property
    def _principals(self) -> Batcher[SessionCheck, CustomerPrincipal | None]:
        return self._batcher(self._find_principals)

    async def _find_principals(
        self, sessions: Sequence[SessionCheck]
    ) -> Sequence[CustomerPrincipal | None]:
        ids = [session.session_id for session in sessions]
        found = {
            id_: CustomerPrincipal(
                customer_id=CustomerId(customer_id), session_id=SessionId(id_), role=Role(role)
            )
            for id_, customer_id, role in await self._fetch(
                _FIND_PRINCIPALS, ids, latest(sessions)
            )
        }
        return [found.get(id_) for id_ in ids]

    @override
    async def find_api_key(self, key_id: ApiKeyId) -> ApiKey | None:
        return await self._api_keys.submit(key_id)

    @cached_property
    def _api_keys(self) -> Batcher[ApiKeyId, ApiKey | None]:
        return self._batcher(self._find_api_keys)

    async def _find_api_keys(self, ids: Sequence[ApiKeyId]) -> Sequence[ApiKey | None]:
        found = {row[0]: read_api_key(*row) for row in await self._fetch(_FIND_API_KEYS, ids)}
        return [found.get(id_) for id_ in ids]

    @override
    async def list_api_keys(self) -> Sequence[ApiKey]:
        async with self._bounded():
            return [read_api_key(*row) for row in await self._fetch(_LIST_API_KEYS)]
