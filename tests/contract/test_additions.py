"""Favorites that are added on the side are as those that a unit of work adds."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.domain.access import SessionClaim
from app.domain.customer import Customer
from app.domain.favorite import Favorite, FavoriteQuery, KeptFavorite, Snapshot
from app.domain.product import CachedProduct, ProductId
from app.domain.repository import Additions, Lookups, UnitOfWorkFactory
from app.domain.session import SessionId
from tests import make
from tests.contract.step import do, see
from tests.make import NOW, PLENTY


async def owner(uow: UnitOfWorkFactory) -> Customer:
    """Store a customer with a list of one favorite."""
    customer = make.customer()
    await do(uow, lambda work: work.customers.add(customer))
    await do(
        uow,
        lambda work: work.favorites.put(make.favorite(customer_id=customer.id), at_most=PLENTY),
    )
    return customer


async def listed(uow: UnitOfWorkFactory, customer: Customer) -> Sequence[Favorite]:
    query = FavoriteQuery(customer_id=customer.id, limit=100)
    page = await see(uow, lambda work: work.favorites.list_page(query))
    return [item.favorite for item in page.items]


def created(favorite: Favorite) -> KeptFavorite:
    return KeptFavorite(favorite=favorite, created=True)


async def popularity(uow: UnitOfWorkFactory, product_id: ProductId) -> int:
    """Return how many customers favor a product, by the count that is kept."""
    product = make.product(id=product_id)
    await do(uow, lambda work: work.products.store([product], asked_at=NOW))
    popular = await see(uow, lambda work: work.popularity.list_popular(at_least=1, limit=1000))
    return next((p.favorites for p in popular if p.cached.product.id == product_id), 0)


class TestAdditions:
    async def test_are_kept_as_they_are(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer = await owner(uow)
        for rating in (None, make.rating(), make.rating("0.0", 0)):
            product = make.product(title="Bracelete 💍", price="0.10", rating=rating)
            favorite = make.favorite(
                customer_id=customer.id,
                product_id=product.id,
                when_favorited=Snapshot.of(product),
            )
            before = await see(uow, lambda work: work.favorites.version(customer.id))
            size = await see(uow, lambda work: work.favorites.count(customer.id))
            assert await additions.add(favorite, at_most=PLENTY) == created(favorite)
            assert favorite in await listed(uow, customer)
            after = await see(uow, lambda work: work.favorites.version(customer.id))
            assert after.favorites == before.favorites + 1
            assert await see(uow, lambda work: work.favorites.count(customer.id)) == size + 1
            assert await popularity(uow, product.id) == 1

    async def test_change_nothing_a_second_time(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer = await owner(uow)
        [present] = await listed(uow, customer)
        before = await see(uow, lambda work: work.favorites.version(customer.id))
        again = replace(present, favorited_at=make.NOW + make.HOUR)
        assert await additions.add(again, at_most=PLENTY) == KeptFavorite(
            favorite=present, created=False
        )
        assert await listed(uow, customer) == [present]
        assert await see(uow, lambda work: work.favorites.version(customer.id)) == before
        assert await popularity(uow, present.product_id) == 1

    async def test_find_one_that_is_there_as_it_is(
        self, uow: UnitOfWorkFactory, additions: Additions, lookups: Lookups
    ) -> None:
        customer, product = await owner(uow), make.product(title="Anel 💍", rating=None)
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        seen = await lookups.find_product(product.id)
        assert isinstance(seen, CachedProduct)
        pending = make.favorite(
            customer_id=customer.id, product_id=product.id, when_favorited=None
        )
        confirmed = make.favorite(
            customer_id=customer.id,
            when_favorited=Snapshot.of(make.product(price="0.10", rating=make.rating("4.5", 7))),
        )
        async with uow() as work:
            for present in (pending, confirmed):
                await work.favorites.put(present, at_most=PLENTY)
            await work.commit()
        for present, given in ((pending, seen), (confirmed, None)):
            again = make.favorite(
                customer_id=customer.id,
                product_id=present.product_id,
                favorited_at=NOW + make.HOUR,
                when_favorited=Snapshot.of(product),
            )
            # Also where there is room for no more.
            assert await additions.add(again, at_most=1, seen=given) == KeptFavorite(
                favorite=present, created=False
            )
        stranger = SessionClaim(session_id=SessionId(make.uuid()), at=NOW)
        assert await additions.add(again, at_most=PLENTY, claim=stranger) is None

    async def test_leave_to_others_what_is_no_plain_case(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer, new = await owner(uow), make.customer()
        await do(uow, lambda work: work.customers.add(new))
        rejected = make.favorite(
            customer_id=customer.id, when_favorited=None, rejected_at=make.NOW
        )
        await do(uow, lambda work: work.favorites.put(rejected, at_most=PLENTY))
        before = await listed(uow, customer)
        for favorite, at_most in (
            (make.favorite(customer_id=new.id), PLENTY),
            (make.favorite(), PLENTY),
            (make.favorite(customer_id=customer.id), 2),
            (make.favorite(customer_id=customer.id, when_favorited=None), PLENTY),
            (replace(rejected, rejected_at=None, when_favorited=make.snapshot()), PLENTY),
        ):
            assert await additions.add(favorite, at_most=at_most) is None
        assert await listed(uow, customer) == before
        assert await listed(uow, new) == []

    async def test_forget_that_a_favorite_was_removed(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer = await owner(uow)
        [favorite] = await listed(uow, customer)
        await do(
            uow, lambda work: work.favorites.remove(customer.id, favorite.product_id, now=NOW)
        )
        assert await additions.add(favorite, at_most=PLENTY) == created(favorite)
        assert await see(uow, lambda work: work.favorites.list_removed(customer.id)) == []
        assert await listed(uow, customer) == [favorite]

    async def test_need_the_product_to_be_as_it_was_seen(
        self, uow: UnitOfWorkFactory, additions: Additions, lookups: Lookups
    ) -> None:
        customer, product = await owner(uow), make.product(price="10.00")
        assert lookups.recall_product(product.id) is None
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        seen = await lookups.find_product(product.id)
        assert isinstance(seen, CachedProduct)
        assert lookups.recall_product(product.id) == seen
        dearer = replace(product, price=product.price * 2)
        await do(uow, lambda work: work.products.store([dearer], asked_at=NOW + make.MINUTE))
        before = await listed(uow, customer)
        old = make.favorite(
            customer_id=customer.id, product_id=product.id, when_favorited=Snapshot.of(product)
        )
        assert await additions.add(old, at_most=PLENTY, seen=seen) is None
        assert await listed(uow, customer) == before
        new = await lookups.find_product(product.id)
        assert isinstance(new, CachedProduct)
        favorite = replace(old, when_favorited=Snapshot.of(dearer))
        assert await additions.add(favorite, at_most=PLENTY, seen=new) == created(favorite)
        assert favorite in await listed(uow, customer)

    async def test_need_the_product_to_be_there_still(
        self, uow: UnitOfWorkFactory, additions: Additions, lookups: Lookups
    ) -> None:
        customer, product = await owner(uow), make.product()
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        seen = await lookups.find_product(product.id)
        assert isinstance(seen, CachedProduct)
        await do(
            uow,
            lambda work: work.products.note_absence(
                product.id, asked_at=NOW + make.MINUTE, until=NOW + make.HOUR
            ),
        )
        favorite = make.favorite(customer_id=customer.id, product_id=product.id)
        assert await additions.add(favorite, at_most=PLENTY, seen=seen) is None

    async def test_need_the_session_that_is_claimed(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        (ana, bia), product_id = [await owner(uow) for _ in range(2)], make.product_id()
        session = make.session(customer_id=ana.id)
        token = make.refresh_token(session_id=session.id)
        await do(uow, lambda work: work.sessions.add(session, token))
        over = min(session.idle_expires_at, session.expires_at)
        for customer, session_id, at, allowed in (
            (ana, SessionId(make.uuid()), NOW, False),
            (bia, session.id, NOW, False),
            (ana, session.id, over, False),
            (ana, session.id, over - make.MINUTE, True),
        ):
            favorite = make.favorite(customer_id=customer.id, product_id=product_id)
            claim = SessionClaim(session_id=session_id, at=at)
            added = await additions.add(favorite, at_most=PLENTY, claim=claim)
            assert added == (created(favorite) if allowed else None)
            assert (favorite in await listed(uow, customer)) is allowed
        await do(uow, lambda work: work.sessions.end_all(ana.id, now=NOW))
        claim = SessionClaim(session_id=session.id, at=NOW)
        favorite = make.favorite(customer_id=ana.id)
        assert await additions.add(favorite, at_most=PLENTY, claim=claim) is None
        assert await additions.add(favorite, at_most=PLENTY) == created(favorite)

    async def test_of_many_at_once_are_all_kept_once(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customers = [await owner(uow) for _ in range(5)]
        product_ids = [make.product_id() for _ in range(4)]
        wanted = [
            make.favorite(customer_id=customer.id, product_id=product_id)
            for _ in range(3)
            for product_id in product_ids
            for customer in customers
        ]
        results = await asyncio.gather(
            *(additions.add(favorite, at_most=PLENTY) for favorite in wanted)
        )
        # Of a customer one goes at a time; the others are left for units of work.
        async with uow() as work:
            for favorite, result in zip(wanted, results, strict=True):
                if result is None:
                    await work.favorites.put(favorite, at_most=PLENTY)
            await work.commit()
        added = [result for result in results if result is not None and result.created]
        assert len(added) >= len(customers)
        for customer in customers:
            assert len(await listed(uow, customer)) == 1 + len(product_ids)
        async with uow() as work:
            sizes = [await work.favorites.count(customer.id) for customer in customers]
        assert sizes == [1 + len(product_ids)] * len(customers)
        for product_id in product_ids:
            assert await popularity(uow, product_id) == len(customers)

    async def test_wait_for_nobody_who_holds_a_list(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        busy, free = await owner(uow), await owner(uow)
        async with uow() as work:
            await work.favorites.put(make.favorite(customer_id=busy.id), at_most=PLENTY)
            wanted = [make.favorite(customer_id=customer.id) for customer in (busy, free)]
            tries = [
                asyncio.ensure_future(additions.add(favorite, at_most=PLENTY))
                for favorite in wanted
            ]
            if not _in_memory(work):
                assert await asyncio.gather(*tries) == [None, created(wanted[1])]
        await asyncio.gather(*tries)


def _in_memory(work: object) -> bool:
    """Whether the storage is the double, in which who comes second waits."""
    return "double" in type(work).__module__
