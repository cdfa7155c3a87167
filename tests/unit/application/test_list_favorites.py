"""Reading lists: pages that the caller may hold already, and refreshes of copies that are due."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from app.application.favorites.list_favorites import ListFavorites
from app.application.favorites.read_favorite import ReadFavorite
from app.application.favorites.read_favorite_changes import ReadFavoriteChanges
from app.application.favorites.read_profile import ReadProfile
from app.domain.customer import Customer
from app.domain.favorite import ChangePosition, FavoriteQuery, ListVersion
from app.domain.outcome import CustomerNotFound, FavoriteNotFound, InvalidToken
from app.domain.product import CachedProduct, Product, ProductId
from tests import make
from tests.unit.application.favorites_world import FavoritesWorld
from tests.unit.application.product_world import FIVE, FRESH, POLICY, STALE

PRODUCT = make.product(id=5)
KEYS = ["product 5"]
INTERVAL = POLICY.revalidation_interval
TICK = make.SECOND / 1_000_000


class Client:
    """A client that holds the page of some versions."""

    def __init__(self, *held: ListVersion) -> None:
        self.held = {*held}
        self.asked: list[ListVersion] = []

    def __call__(self, version: ListVersion) -> bool:
        self.asked.append(version)
        return version in self.held


def list_favorites(world: FavoritesWorld) -> ListFavorites:
    return ListFavorites(
        queries=world.queries, products=world.main.reader, clock=world.clock, policy=POLICY
    )


async def with_favorites(world: FavoritesWorld, *products: Product) -> Customer:
    customer = await world.customer()
    await world.known(*products)
    for product in products:
        await world.favorite_product(customer_id=customer.id, product_id=product.id)
    return customer


class TestAPageThatTheCallerHolds:
    async def test_is_not_read_again_soon(self) -> None:
        world = FavoritesWorld()
        query = FavoriteQuery(customer_id=(await with_favorites(world, PRODUCT)).id)
        read = list_favorites(world)
        version, page = await read(query)
        assert page is not None
        assert [item.favorite.product_id for item in page.items] == [FIVE]

        client = Client(version)
        world.clock.advance(INTERVAL - TICK)
        assert await read(query, held=client) == (version, None)
        assert client.asked == [version]

    async def test_is_read_once_in_an_interval(self) -> None:
        world = FavoritesWorld()
        query = FavoriteQuery(customer_id=(await with_favorites(world, PRODUCT)).id)
        read = list_favorites(world)
        version, page = await read(query)
        for passed, expected in [(INTERVAL, page), (INTERVAL - TICK, None), (TICK, page)]:
            world.clock.advance(passed)
            assert await read(query, held=Client(version)) == (version, expected)

    async def test_is_read_at_first(self) -> None:
        world = FavoritesWorld()
        query = FavoriteQuery(customer_id=(await with_favorites(world, PRODUCT)).id)
        version = await world.queries.list_version(query.customer_id)
        client = Client(version)
        found, page = await list_favorites(world)(query, held=client)
        assert (found, page is None, client.asked) == (version, False, [])

    async def test_is_read_if_the_list_has_changed(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT)
        read, query = list_favorites(world), FavoriteQuery(customer_id=customer.id)
        old, _ = await read(query)
        await world.writes.remove(customer.id, FIVE, now=world.clock())
        client = Client(old)
        version, page = await read(query, held=client)
        assert version.favorites == old.favorites + 1
        assert page is not None
        assert list(page.items) == []
        assert client.asked == [version]

    async def test_is_of_one_query(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT)
        read = list_favorites(world)
        version, _ = await read(FavoriteQuery(customer_id=customer.id))
        _, page = await read(FavoriteQuery(customer_id=customer.id, limit=1), held=Client(version))
        assert page is not None

    async def test_is_read_if_the_caller_does_not_ask(self) -> None:
        world = FavoritesWorld()
        query = FavoriteQuery(customer_id=(await with_favorites(world, PRODUCT)).id)
        read = list_favorites(world)
        assert await read(query) == await read(query)

    async def test_needs_an_active_session_and_a_customer(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT)
        session = await world.session(customer)
        read, query = list_favorites(world), FavoriteQuery(customer_id=customer.id)
        version, _ = await read(query, session=world.check(session))
        async with world.storage() as work:
            await work.sessions.save(session.ended(world.clock()))
            await work.commit()
        for held in (Client(version), None):
            with pytest.raises(InvalidToken):
                await read(query, session=world.check(session), held=held)
        async with world.storage() as work:
            await work.customers.remove(customer.id)
            await work.commit()
        with pytest.raises(CustomerNotFound):
            await read(query, held=Client(version))

    async def test_stays_fresh_although_it_is_only_revalidated(self) -> None:
        world = FavoritesWorld(PRODUCT)
        query = FavoriteQuery(customer_id=(await with_favorites(world, PRODUCT)).id)
        read = list_favorites(world)
        version, _ = await read(query)
        refreshed = 0
        for _ in range(40):
            world.clock.advance(INTERVAL / 2)
            version, _ = await read(query, held=Client(version))
            refreshed += bool(world.main.tasks.kept)
            await world.main.tasks.run()
            copy = await world.row(FIVE)
            assert isinstance(copy, CachedProduct)
            assert copy.age(world.clock()) <= POLICY.soft_ttl + INTERVAL
        assert refreshed >= 3


class TestCopiesThatAreDue:
    @pytest.mark.parametrize(("age", "kept"), [(FRESH, []), (STALE, KEYS)])
    @pytest.mark.parametrize("read", ["page", "favorite", "changes", "profile"])
    async def test_are_refreshed_in_the_background(
        self, read: str, age: timedelta, kept: Sequence[str]
    ) -> None:
        world = FavoritesWorld(PRODUCT)
        customer = await with_favorites(world, PRODUCT)
        world.clock.advance(age)
        queries, products = world.queries, world.main.reader
        if read == "page":
            await list_favorites(world)(FavoriteQuery(customer_id=customer.id))
        elif read == "favorite":
            await ReadFavorite(queries=queries, products=products)(
                customer_id=customer.id, product_id=FIVE
            )
        elif read == "changes":
            await ReadFavoriteChanges(queries=queries, favorites=world.writes, products=products)(
                customer_id=customer.id, since=ChangePosition(), limit=10
            )
        else:
            await ReadProfile(queries=queries, products=products)(
                customer_id=customer.id, limit=10
            )
        assert list(world.main.tasks.kept) == kept
        assert world.catalog.calls == 0


class TestReadFavorite:
    async def test_returns_the_favorite_and_the_version(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT)
        read = ReadFavorite(queries=world.queries, products=world.main.reader)
        version, item = await read(customer_id=customer.id, product_id=FIVE)
        assert version == await world.queries.list_version(customer.id)
        assert [item.favorite] == await world.stored(customer)

    async def test_needs_a_favorite_and_an_active_session(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT)
        other = await world.session(await world.customer())
        read = ReadFavorite(queries=world.queries, products=world.main.reader)
        with pytest.raises(FavoriteNotFound):
            await read(customer_id=customer.id, product_id=ProductId(6))
        with pytest.raises(InvalidToken):
            await read(customer_id=customer.id, product_id=FIVE, session=world.check(other))


class TestReadProfile:
    async def test_returns_the_newest_favorites(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT, make.product(id=6))
        read = ReadProfile(queries=world.queries, products=world.main.reader)
        profile = await read(customer_id=customer.id, limit=1)
        assert (profile.customer, len(profile.page.items)) == (customer, 1)
        assert profile.version == await world.queries.list_version(customer.id)

    async def test_needs_a_customer_and_an_active_session(self) -> None:
        world = FavoritesWorld()
        customer, other = await world.customer(), await world.session(await world.customer())
        read = ReadProfile(queries=world.queries, products=world.main.reader)
        with pytest.raises(InvalidToken):
            await read(customer_id=customer.id, limit=1, session=world.check(other))
        with pytest.raises(CustomerNotFound):
            await read(customer_id=make.customer_id(), limit=1)


class TestReadFavoriteChanges:
    def use_case(self, world: FavoritesWorld) -> ReadFavoriteChanges:
        return ReadFavoriteChanges(
            queries=world.queries, favorites=world.writes, products=world.main.reader
        )

    async def test_reads_once_while_the_history_is_complete(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT)
        changes = await self.use_case(world)(
            customer_id=customer.id, since=ChangePosition(), limit=10
        )
        assert [change.product_id for change in changes.items] == [FIVE]
        assert (world.queries.changes_listed, world.writes.entered) == (1, [])

    async def test_enters_what_the_catalog_changed_and_reads_again(self) -> None:
        world = FavoritesWorld(make.product(id=6))
        customer = await with_favorites(world, PRODUCT)
        read = self.use_case(world)
        session = world.check(await world.session(customer))
        since = (await read(customer_id=customer.id, since=ChangePosition(), limit=10)).seen
        for _ in range(2):
            world.clock.advance(make.SECOND)
            await world.main.catalog_reader.refresh_all()
        before = world.queries.changes_listed

        changes = await read(customer_id=customer.id, since=since, limit=1, session=session)

        assert [change.product_id for change in changes.items] == [FIVE]
        assert not changes.behind
        assert world.queries.changes_listed == before + 2
        assert world.writes.entered == [customer.id]

    async def test_changes_nothing_for_an_ended_session(self) -> None:
        world = FavoritesWorld(make.product(id=6))
        customer = await with_favorites(world, PRODUCT)
        other = await world.session(await world.customer())
        for _ in range(2):
            world.clock.advance(make.SECOND)
            await world.main.catalog_reader.refresh_all()
        with pytest.raises(InvalidToken):
            await self.use_case(world)(
                customer_id=customer.id,
                since=ChangePosition(),
                limit=10,
                session=world.check(other),
            )
        assert world.writes.entered == []

    async def test_reads_no_more_than_the_limit(self) -> None:
        world = FavoritesWorld()
        customer = await with_favorites(world, PRODUCT, make.product(id=6))
        changes = await self.use_case(world)(
            customer_id=customer.id, since=ChangePosition(), limit=1
        )
        assert (len(changes.items), changes.more) == (1, True)
