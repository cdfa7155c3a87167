import asyncio
from dataclasses import replace

from app.domain.access import ApiKeyId, Scope
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from tests import make
from tests.contract.step import do
from tests.make import HOUR, MINUTE, NOW, SECOND


class TestApiKeys:
    async def test_are_returned_as_they_were_stored(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        key = make.api_key(
            name="Vitrine de São Paulo",
            scopes={Scope.FAVORITES_READ, Scope.CUSTOMERS_READ},
            expires_at=NOW + HOUR,
            revoked_at=NOW + MINUTE,
            last_used_at=NOW + SECOND,
        )
        await do(uow, lambda work: work.api_keys.add(key))
        assert await queries.find_api_key(key.id) == key

    async def test_may_have_no_scope_and_no_end(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        key = make.api_key(scopes=[], expires_at=None)
        await do(uow, lambda work: work.api_keys.add(key))
        assert await queries.find_api_key(key.id) == key

    async def test_are_none_if_unknown(self, queries: Queries) -> None:
        assert await queries.find_api_key(ApiKeyId("unknown")) is None

    async def test_are_listed_oldest_first_and_by_id(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        newest = make.api_key(presented=make.presented_api_key(id="a"), created_at=NOW + HOUR)
        second = make.api_key(presented=make.presented_api_key(id="c"))
        first = make.api_key(presented=make.presented_api_key(id="b"), revoked_at=NOW)
        async with uow() as work:
            for key in (newest, second, first):
                await work.api_keys.add(key)
            await work.commit()
        assert await queries.list_api_keys() == [first, second, newest]

    async def test_are_revoked_once(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        key = make.api_key()
        await do(uow, lambda work: work.api_keys.add(key))
        assert await do(uow, lambda work: work.api_keys.revoke(key.id, now=NOW + SECOND))
        assert not await do(uow, lambda work: work.api_keys.revoke(key.id, now=NOW + HOUR))
        expected = replace(key, revoked_at=NOW + SECOND)
        assert await queries.find_api_key(key.id) == expected

    async def test_cannot_be_revoked_if_unknown(self, uow: UnitOfWorkFactory) -> None:
        assert not await do(uow, lambda w: w.api_keys.revoke(ApiKeyId("unknown"), now=NOW))

    async def test_note_their_use_once_in_an_interval(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        key = make.api_key()
        await do(uow, lambda work: work.api_keys.add(key))
        noted = {}
        for after in (0 * SECOND, 59 * SECOND, MINUTE, 119 * SECOND, HOUR):
            async with uow() as work:
                await work.api_keys.touch(key.id, now=NOW + after, granularity=MINUTE)
                await work.commit()
            stored = await queries.find_api_key(key.id)
            assert stored is not None
            assert stored.last_used_at is not None
            noted[after] = stored.last_used_at - NOW
        assert noted == {
            0 * SECOND: 0 * SECOND,
            59 * SECOND: 0 * SECOND,
            MINUTE: MINUTE,
            119 * SECOND: MINUTE,
            HOUR: HOUR,
        }

    async def test_ignore_the_use_of_an_unknown_one(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        await do(
            uow, lambda work: work.api_keys.touch(ApiKeyId("unknown"), now=NOW, granularity=MINUTE)
        )
        assert await queries.list_api_keys() == []

    async def test_are_found_side_by_side(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        keys = [make.api_key() for _ in range(5)]
        for key in keys:
            await do(uow, lambda work, key=key: work.api_keys.add(key))  # type: ignore[misc]  # bound now
        unknown = ApiKeyId("unknown")
        found = await asyncio.gather(
            *(queries.find_api_key(id_) for id_ in (unknown, *(key.id for key in keys * 2)))
        )
        assert found == [None, *keys, *keys]
