"""Reads of lists of favorites and of sessions: what they agree on, and that they do not mix up."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.access import CustomerPrincipal, SessionCheck
from app.domain.customer import Customer, CustomerId
from app.domain.favorite import (
    ChangePosition,
    Favorite,
    FavoriteQuery,
    FavoriteSort,
    ListVersion,
    Snapshot,
)
from app.domain.outcome import CustomerNotFound, InvalidToken
from app.domain.page import Position
from app.domain.product import CachedProduct, Product, ProductId
from app.domain.queries import FavoritesContained, Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import Session, SessionId
from app.domain.writes import FavoriteWrites, SignInWrites
from tests import make
from tests.contract.favorites import add, add_rejected, stored_customer, stored_session
from tests.contract.step import do
from tests.make import HOUR, MINUTE, NOW

TICK = timedelta(microseconds=1)
PRODUCT = ProductId(1)


async def stored(uow: UnitOfWorkFactory, *products: Product) -> None:
    await do(uow, lambda work: work.products.store(products, asked_at=NOW))


async def favored(writes: FavoriteWrites, customer: Customer, *products: Product) -> None:
    await add(
        writes,
        *(
            make.favorite(
                customer_id=customer.id,
                product_id=product.id,
                when_favorited=Snapshot.of(product),
            )
            for product in products
        ),
    )


async def expect_list(
    queries: Queries, customer_id: CustomerId, *, limit: int = 25
) -> Sequence[ProductId]:
    """Compare all reads of a list with everything that is stored; return the first products."""
    records = await queries.find_records(customer_id)
    assert records is not None
    ids = [item.favorite.product_id for item in records.favorites]
    version = await queries.list_version(customer_id)
    newest = await queries.list_favorites(FavoriteQuery(customer_id=customer_id, limit=limit))
    assert newest.version == version
    assert newest.page.items == records.favorites[:limit]
    assert (newest.page.next is None) == (len(ids) <= limit)
    profile = await queries.find_profile(customer_id, limit=limit)
    assert profile == (records.customer, version, newest.page)
    asked = [*ids, make.product_id()]
    assert await queries.contains(customer_id, asked) == (version, frozenset(ids))
    for product_id, item in zip(asked, [*records.favorites, None], strict=True):
        product = await queries.find_product(product_id)
        found = await queries.find_favorite(customer_id, product_id)
        assert found == (version, item, product)
        assert item is None or item.cached == (
            product if isinstance(product, CachedProduct) else None
        )
    return ids[:limit]


class TestReadsOfOneList:
    async def test_of_a_list_without_favorites(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        customer = await stored_customer(uow)
        assert await expect_list(queries, customer.id) == []

    async def test_of_favorites_of_every_kind(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        products = [
            make.product(title='"Bracelete" 💍', price="0.10", rating=None),
            make.product(rating=make.rating("0.0", 0)),
            make.product(),
        ]
        await stored(uow, *products)
        await add(
            favorite_writes,
            *(
                make.favorite(
                    customer_id=customer.id,
                    product_id=product.id,
                    favorited_at=NOW + number * TICK,
                    when_favorited=Snapshot.of(product),
                )
                for number, product in enumerate(products)
            ),
            # One whose copy is gone, and one that waits for the catalog.
            make.favorite(customer_id=customer.id, favorited_at=NOW + MINUTE),
            make.favorite(customer_id=customer.id, when_favorited=None),
        )
        await add_rejected(uow, favorite_writes, customer.id)
        assert len(await expect_list(queries, customer.id)) == 6

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    async def test_of_pages(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        limit: int,
    ) -> None:
        customer = await stored_customer(uow)
        # Ties are ordered by product.
        favorites = [make.favorite(customer_id=customer.id, favorited_at=NOW) for _ in range(3)]
        await add(favorite_writes, *favorites)
        assert len(await expect_list(queries, customer.id, limit=limit)) == min(limit, 3)

    async def test_show_every_change(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product(price="10.00")
        await stored(uow, product)
        await favored(favorite_writes, customer, product)
        await expect_list(queries, customer.id)
        dearer = replace(product, price=product.price * 2)
        await do(uow, lambda work: work.products.store([dearer], asked_at=NOW + MINUTE))
        await expect_list(queries, customer.id)
        _, page = await queries.list_favorites(FavoriteQuery(customer_id=customer.id, limit=1))
        assert page.items[0].cached is not None
        assert page.items[0].cached.product == dearer
        await do(
            uow,
            lambda work: work.products.acquire_lease(
                [product.id], now=NOW + HOUR, until=NOW + HOUR + MINUTE
            ),
        )
        await expect_list(queries, customer.id)
        renamed = customer.changed(name="Bia", email=None, now=NOW)
        await do(uow, lambda work: work.customers.save(renamed))
        assert (await queries.find_profile(customer.id, limit=1)).customer == renamed
        await favorite_writes.remove(customer.id, product.id, now=NOW)
        assert await expect_list(queries, customer.id) == []

    async def test_of_many_customers_at_once(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customers = [await stored_customer(uow) for _ in range(8)]
        products = [make.product() for _ in range(5)]
        await stored(uow, *products)
        for number, customer in enumerate(customers):
            await favored(favorite_writes, customer, *products[: number % len(products)])
        await asyncio.gather(*(expect_list(queries, customer.id) for customer in customers * 5))

    async def test_of_different_pages_at_once(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customers = [await stored_customer(uow) for _ in range(3)]
        products = [
            make.product(title=f"{word} {number}", price=f"{number % 3}.00", category=word)
            for number, word in enumerate(["anel", "blusa"] * 4)
        ]
        await stored(uow, *products)
        for number, customer in enumerate(customers):
            await favored(favorite_writes, customer, *products[number:])
            await add(favorite_writes, *[make.favorite(customer_id=customer.id) for _ in "12"])
        asked = [
            FavoriteQuery(customer_id=customer.id, sort=sort, limit=limit, category=category, q=q)
            for sort in FavoriteSort
            for customer in customers
            for limit in (1, 2, 4)
            for category, q in ((None, None), ("anel", None), (None, "BLUSA"), ("anel", "6"))
        ]

        async def walk(query: FavoriteQuery) -> list[Favorite]:
            """Read all pages, whose limits differ between the queries of a statement."""
            favorites: list[Favorite] = []
            after: Position | None = None
            while True:
                _, page = await queries.list_favorites(replace(query, after=after))
                favorites += [item.favorite for item in page.items]
                assert len(page.items) <= query.limit
                if (after := page.next) is None:
                    return favorites

        together = await asyncio.gather(*map(walk, asked))
        alone = [await walk(query) for query in asked]
        assert together == alone
        sizes = {query: len(favorites) for query, favorites in zip(asked, alone, strict=True)}
        for query, size in sizes.items():
            assert size == sizes[replace(query, limit=1, sort=FavoriteSort.NEWEST)]
        assert {sizes[query] for query in asked if query.category is query.q} == {10, 9, 8}

    async def test_contained_are_only_those_asked_for(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        for customer, product_ids in ((one, (1, 2, 3)), (other, (4,))):
            for id_ in product_ids:
                await add(favorite_writes, make.favorite(customer_id=customer.id, product_id=id_))
        version = await queries.list_version(one.id)
        asked = [ProductId(id_) for id_ in (1, 2, 4, 5, 1)]
        found = await asyncio.gather(
            *(queries.contains(one.id, product_ids) for product_ids in (asked, []))
        )
        assert found == [
            FavoritesContained(version, frozenset({ProductId(1), ProductId(2)})),
            FavoritesContained(version, frozenset()),
        ]


Read = Callable[[Queries, CustomerId, SessionCheck | None], Awaitable[object]]

READS: dict[str, Read] = {
    "version": lambda q, id_, session: q.list_version(id_, session=session),
    "contains": lambda q, id_, session: q.contains(id_, [PRODUCT], session=session),
    "favorite": lambda q, id_, session: q.find_favorite(id_, PRODUCT, session=session),
    "changes": lambda q, id_, session: q.list_changes(
        id_, since=ChangePosition(), limit=2, session=session
    ),
    "profile": lambda q, id_, session: q.find_profile(id_, limit=2, session=session),
} | {
    f"{sort} {category} {q_}": lambda q, id_, session, sort=sort, category=category, q_=q_: (
        q.list_favorites(
            FavoriteQuery(customer_id=id_, sort=sort, limit=2, category=category, q=q_),
            session=session,
        )
    )
    for sort in FavoriteSort
    for category, q_ in ((None, None), ("none", None), (None, "none"))
}


async def read_all(
    queries: Queries, customer_id: CustomerId, session: SessionCheck | None = None
) -> list[object]:
    """Return the results of all reads of a customer's data, or the types of their outcomes."""

    async def result(read: Read) -> object:
        try:
            return await read(queries, customer_id, session)
        except (InvalidToken, CustomerNotFound) as outcome:
            return type(outcome)

    return await asyncio.gather(*map(result, READS.values()))


REFUSED = [InvalidToken] * len(READS)


class TestReadsForASession:
    async def signed_in(
        self, uow: UnitOfWorkFactory, favorites: FavoriteWrites, sign_ins: SignInWrites
    ) -> tuple[CustomerId, Session]:
        customer = await stored_customer(uow)
        session = await stored_session(sign_ins, customer)
        await add(
            favorites,
            *(make.favorite(customer_id=customer.id) for _ in range(4)),
            make.favorite(customer_id=customer.id, product_id=PRODUCT),
        )
        return customer.id, session

    async def test_return_the_same_as_without_while_it_is_active(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        customer_id, session = await self.signed_in(uow, favorite_writes, sign_in_writes)
        end = min(session.idle_expires_at, session.expires_at)
        without = await read_all(queries, customer_id)
        assert not [result for result in without if isinstance(result, type)]
        for now, results in (
            (NOW, without),
            (end - TICK, without),
            (end, REFUSED),
            (end + HOUR, REFUSED),
        ):
            check = SessionCheck(session_id=session.id, at=now)
            assert await read_all(queries, customer_id, check) == results

    async def test_are_refused_if_it_is_unknown_or_of_another_customer(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        customer_id, session = await self.signed_in(uow, favorite_writes, sign_in_writes)
        _, other = await self.signed_in(uow, favorite_writes, sign_in_writes)
        for id_ in (SessionId(make.uuid()), other.id):
            check = SessionCheck(session_id=id_, at=NOW)
            assert await read_all(queries, customer_id, check) == REFUSED
        check = SessionCheck(session_id=session.id, at=NOW)
        assert await read_all(queries, make.customer_id(), check) == REFUSED

    async def test_are_refused_as_soon_as_it_ended(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        customer_id, session = await self.signed_in(uow, favorite_writes, sign_in_writes)
        check = SessionCheck(session_id=session.id, at=NOW)
        assert InvalidToken not in await read_all(queries, customer_id, check)
        await do(uow, lambda work: work.sessions.end_all(customer_id, now=NOW))
        assert await read_all(queries, customer_id, check) == REFUSED

    async def test_work_for_a_customer_without_favorites(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        session = await stored_session(sign_in_writes, customer)
        check = SessionCheck(session_id=session.id, at=NOW)
        found = await read_all(queries, customer.id, check)
        assert not [result for result in found if isinstance(result, type)]
        assert found == await read_all(queries, customer.id)

    async def test_are_not_mixed_up_with_those_read_together(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        writes = (uow, favorite_writes, sign_in_writes)
        active = [await self.signed_in(*writes) for _ in range(4)]
        ended = [await self.signed_in(*writes) for _ in range(4)]
        for customer_id, _ in ended:
            await do(uow, lambda work, id_=customer_id: work.sessions.end_all(id_, now=NOW))  # type: ignore[misc]  # bound now
        without = [await read_all(queries, customer_id) for customer_id, _ in active]
        asked = [pair for pairs in zip(active, ended, strict=True) for pair in pairs]
        unknown = make.customer_id()
        *results, of_unknown = await asyncio.gather(
            *(
                read_all(queries, customer_id, SessionCheck(session_id=session.id, at=NOW))
                for customer_id, session in asked
            ),
            *(read_all(queries, customer_id) for customer_id, _ in active),
            read_all(queries, unknown),
        )
        assert results[: len(asked)] == [result for own in without for result in (own, REFUSED)]
        assert results[len(asked) :] == without
        assert of_unknown == await read_all(queries, unknown)


class TestReadsOfAnUnknownCustomer:
    async def test_find_no_favorites(self, queries: Queries) -> None:
        customer_id = make.customer_id()
        for name, read in READS.items():
            if name != "favorite":
                with pytest.raises(CustomerNotFound):
                    await read(queries, customer_id, None)
        found = await queries.find_favorite(customer_id, PRODUCT)
        assert (found.version.favorites, found.item) == (0, None)
        assert await queries.find_records(customer_id) is None
        assert await queries.find_customer(customer_id) is None

    async def test_know_the_version_of_the_catalog(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        await stored(uow, product)
        found = await queries.find_favorite(make.customer_id(), product.id)
        catalog = (await queries.list_version(customer.id)).catalog
        assert found.version == ListVersion(favorites=0, catalog=catalog)
        assert found.product == CachedProduct(product=product, fetched_at=NOW)


class TestPrincipals:
    async def test_are_those_of_active_sessions(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        session = await stored_session(sign_in_writes, customer)
        end = min(session.idle_expires_at, session.expires_at)
        principal = CustomerPrincipal(
            customer_id=customer.id, session_id=session.id, role=customer.role
        )
        for now in (NOW, end - TICK, end, end + HOUR):
            expected = principal if now < end else None
            assert await queries.find_principal(session.id, now=now) == expected
        assert await queries.find_principal(SessionId(make.uuid()), now=NOW) is None

    async def test_are_none_as_soon_as_the_session_ended(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        session = await stored_session(sign_in_writes, customer)
        assert await queries.find_principal(session.id, now=NOW) is not None
        await do(uow, lambda work: work.sessions.end_all(customer.id, now=NOW))
        assert await queries.find_principal(session.id, now=NOW) is None

    async def test_are_not_mixed_up_with_those_read_together(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customers = [await stored_customer(uow) for _ in range(4)]
        sessions = [await stored_session(sign_in_writes, customer) for customer in customers]
        await do(uow, lambda work: work.sessions.end_all(customers[0].id, now=NOW))
        ids = [SessionId(make.uuid()), *(session.id for session in sessions)]
        found = await asyncio.gather(*(queries.find_principal(id_, now=NOW) for id_ in ids * 2))
        owners = [None if each is None else each.customer_id for each in found]
        assert owners == [None, None, *(customer.id for customer in customers[1:])] * 2
