"""Lookups say what a unit of work would, whatever was there before and whoever asks besides."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.access import SessionClaim
from app.domain.customer import Customer, CustomerId
from app.domain.favorite import Favorite, FavoriteQuery, Snapshot
from app.domain.outcome import InvalidToken
from app.domain.product import Product, ProductId
from app.domain.repository import Lookups, UnitOfWorkFactory
from app.domain.session import Session, SessionId
from tests import make
from tests.contract.step import do, see
from tests.make import HOUR, MINUTE, NOW, PLENTY

TICK = timedelta(microseconds=1)


async def stored_customer(uow: UnitOfWorkFactory) -> Customer:
    customer = make.customer()
    await do(uow, lambda work: work.customers.add(customer))
    return customer


async def favored(uow: UnitOfWorkFactory, *favorites: Favorite) -> None:
    async with uow() as work:
        for favorite in favorites:
            await work.favorites.put(favorite, at_most=PLENTY)
        await work.commit()


async def stored(uow: UnitOfWorkFactory, *products: Product) -> None:
    await do(uow, lambda work: work.products.store(products, asked_at=NOW))


async def end_sessions(uow: UnitOfWorkFactory, customer_id: CustomerId) -> None:
    await do(uow, lambda work: work.sessions.end_all(customer_id, now=NOW))


async def expect_list(
    uow: UnitOfWorkFactory, lookups: Lookups, customer_id: CustomerId, *, limit: int = 25
) -> Sequence[ProductId]:
    """Compare the lookups of a list with the reads of a unit; return what it holds."""
    query = FavoriteQuery(customer_id=customer_id, limit=limit)
    page = await see(uow, lambda work: work.favorites.list_page(query))
    version = await see(uow, lambda work: work.favorites.version(customer_id))
    ids = [item.favorite.product_id for item in page.items]
    asked = [*ids, make.product_id()]
    assert await lookups.list_newest(customer_id, limit=limit) == (version, page)
    assert await lookups.list_version(customer_id) == version
    assert await lookups.contains(customer_id, asked) == (version, frozenset(ids))
    async with uow() as work:
        alone = [
            (await work.favorites.get(customer_id, each), await work.products.get(each))
            for each in asked
        ]
    assert [await lookups.find_favorite(customer_id, each) for each in asked] == alone
    return ids


class TestLookupsOfFavorites:
    async def test_of_a_list_nobody_has_written_to(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        customer = await stored_customer(uow)
        assert await expect_list(uow, lookups, customer.id) == []
        assert await expect_list(uow, lookups, make.customer_id()) == []

    async def test_of_favorites_of_every_kind(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        customer = await stored_customer(uow)
        products = [
            make.product(title='"Bracelete" 💍', price="0.10", rating=None),
            make.product(rating=make.rating("0.0", 0)),
            make.product(),
        ]
        await stored(uow, *products)
        await favored(
            uow,
            *(
                make.favorite(
                    customer_id=customer.id,
                    product_id=product.id,
                    favorited_at=NOW + number * TICK,
                    when_favorited=Snapshot.of(product),
                )
                for number, product in enumerate(products)
            ),
            # One whose copy is gone, one that waits for the catalog, one that was turned down.
            make.favorite(customer_id=customer.id, favorited_at=NOW + MINUTE),
            make.favorite(customer_id=customer.id, when_favorited=None),
            make.favorite(customer_id=customer.id, when_favorited=None, rejected_at=NOW),
        )
        assert len(await expect_list(uow, lookups, customer.id)) == 6

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    async def test_of_pages(self, uow: UnitOfWorkFactory, lookups: Lookups, limit: int) -> None:
        customer = await stored_customer(uow)
        # Ties are ordered by product.
        await favored(
            uow, *(make.favorite(customer_id=customer.id, favorited_at=NOW) for _ in range(3))
        )
        assert len(await expect_list(uow, lookups, customer.id, limit=limit)) == min(limit, 3)

    async def test_see_every_change(self, uow: UnitOfWorkFactory, lookups: Lookups) -> None:
        customer, product = await stored_customer(uow), make.product(price="10.00")
        await stored(uow, product)
        await favored(
            uow,
            make.favorite(
                customer_id=customer.id,
                product_id=product.id,
                when_favorited=Snapshot.of(product),
            ),
        )
        await expect_list(uow, lookups, customer.id)
        dearer = replace(product, price=product.price * 2)
        await do(uow, lambda work: work.products.store([dearer], asked_at=NOW + MINUTE))
        await expect_list(uow, lookups, customer.id)
        _, page = await lookups.list_newest(customer.id, limit=1)
        assert page.items[0].cached is not None
        assert page.items[0].cached.product == dearer
        await do(
            uow,
            lambda work: work.products.claim(
                [product.id], now=NOW + HOUR, until=NOW + HOUR + MINUTE
            ),
        )
        await expect_list(uow, lookups, customer.id)
        await do(uow, lambda work: work.favorites.remove(customer.id, product.id, now=NOW))
        assert await expect_list(uow, lookups, customer.id) == []

    async def test_of_many_customers_at_once(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        customers = [await stored_customer(uow) for _ in range(8)]
        products = [make.product() for _ in range(5)]
        await stored(uow, *products)
        for number, customer in enumerate(customers):
            await favored(
                uow,
                *(
                    make.favorite(
                        customer_id=customer.id,
                        product_id=product.id,
                        when_favorited=Snapshot.of(product),
                    )
                    for product in products[: number % len(products)]
                ),
            )
        await asyncio.gather(
            *(expect_list(uow, lookups, customer.id) for customer in customers * 5)
        )


class TestLookupsOfProducts:
    async def test_of_known_unknown_and_absent_ones(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        product, absent, claimed = make.product(), make.product_id(), make.product_id()
        await stored(uow, product)
        await do(
            uow, lambda work: work.products.note_absence(absent, asked_at=NOW, until=NOW + HOUR)
        )
        await do(uow, lambda work: work.products.claim([claimed], now=NOW, until=NOW + MINUTE))
        ids = [product.id, absent, claimed, make.product_id()]
        for _ in range(2):
            looked_up = await asyncio.gather(*map(lookups.find_product, ids))
            async with uow() as work:
                assert looked_up == [await work.products.get(each) for each in ids]

    async def test_see_every_change(self, uow: UnitOfWorkFactory, lookups: Lookups) -> None:
        product = make.product(title="Casaco")
        assert await lookups.find_product(product.id) is None
        for title, age in (("Casaco", 0), ("Casaco novo", 1), ("Casaco", 2)):
            version = replace(product, title=title)
            async with uow() as work:
                await work.products.store([version], asked_at=NOW + age * MINUTE)
                await work.commit()
            found = await lookups.find_product(product.id)
            assert found == await see(uow, lambda work: work.products.get(product.id))
            assert getattr(found, "product", None) == version


class TestLookupsOfSessions:
    async def test_tell_whose_an_active_one_is(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        customer = await stored_customer(uow)
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        await do(uow, lambda work: work.sessions.add(session, token))
        over = min(session.idle_expires_at, session.expires_at)
        for now in (NOW, over - TICK, over, over + HOUR):
            async with uow() as work:
                expected = await work.sessions.find_principal(session.id, now=now)
            assert (expected is None) == (now >= over)
            assert await lookups.find_principal(session.id, now=now) == expected
        assert await lookups.find_principal(SessionId(make.uuid()), now=NOW) is None

    async def test_see_an_end_at_once(self, uow: UnitOfWorkFactory, lookups: Lookups) -> None:
        customer = await stored_customer(uow)
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        await do(uow, lambda work: work.sessions.add(session, token))
        assert await lookups.find_principal(session.id, now=NOW) is not None
        await end_sessions(uow, customer.id)
        assert await lookups.find_principal(session.id, now=NOW) is None


async def asked_under(
    lookups: Lookups, customer_id: CustomerId, claim: SessionClaim | None
) -> list[object]:
    """Ask everything that can be asked under a claim; what is refused is None."""
    product_id = ProductId(1)
    answers = await asyncio.gather(
        lookups.list_version(customer_id, claim=claim),
        lookups.list_newest(customer_id, limit=2, claim=claim),
        lookups.contains(customer_id, [product_id], claim=claim),
        lookups.find_favorite(customer_id, product_id, claim=claim),
        return_exceptions=True,
    )
    return [None if isinstance(answer, InvalidToken) else answer for answer in answers]


REFUSED = [None] * 4


class TestLookupsUnderAClaim:
    async def signed_in(self, uow: UnitOfWorkFactory) -> tuple[CustomerId, Session]:
        customer = await stored_customer(uow)
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        await do(uow, lambda work: work.sessions.add(session, token))
        await favored(
            uow,
            *(make.favorite(customer_id=customer.id) for _ in range(4)),
            make.favorite(customer_id=customer.id, product_id=ProductId(1)),
        )
        return customer.id, session

    async def test_answer_as_without_while_the_session_holds(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        customer_id, session = await self.signed_in(uow)
        over = min(session.idle_expires_at, session.expires_at)
        without = await asked_under(lookups, customer_id, None)
        assert None not in without
        for now, answers in (
            (NOW, without),
            (over - TICK, without),
            (over, REFUSED),
            (over + HOUR, REFUSED),
        ):
            claim = SessionClaim(session_id=session.id, at=now)
            assert await asked_under(lookups, customer_id, claim) == answers

    async def test_refuse_a_session_that_is_unknown_or_of_somebody_else(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        (customer_id, session), (_, other) = await self.signed_in(uow), await self.signed_in(uow)
        for id_ in (SessionId(make.uuid()), other.id):
            claim = SessionClaim(session_id=id_, at=NOW)
            assert await asked_under(lookups, customer_id, claim) == REFUSED
        claim = SessionClaim(session_id=session.id, at=NOW)
        assert await asked_under(lookups, make.customer_id(), claim) == REFUSED

    async def test_see_an_end_at_once(self, uow: UnitOfWorkFactory, lookups: Lookups) -> None:
        customer_id, session = await self.signed_in(uow)
        claim = SessionClaim(session_id=session.id, at=NOW)
        assert None not in await asked_under(lookups, customer_id, claim)
        await end_sessions(uow, customer_id)
        assert await asked_under(lookups, customer_id, claim) == REFUSED

    async def test_do_not_mix_up_those_who_ask_together(
        self, uow: UnitOfWorkFactory, lookups: Lookups
    ) -> None:
        held = [await self.signed_in(uow) for _ in range(4)]
        ended = [await self.signed_in(uow) for _ in range(4)]
        for customer_id, _ in ended:
            await end_sessions(uow, customer_id)
        without = [await asked_under(lookups, customer_id, None) for customer_id, _ in held]
        asked = [pair for pairs in zip(held, ended, strict=True) for pair in pairs]
        answers = await asyncio.gather(
            *(
                asked_under(lookups, customer_id, SessionClaim(session_id=session.id, at=NOW))
                for customer_id, session in asked
            ),
            *(asked_under(lookups, customer_id, None) for customer_id, _ in held),
        )
        assert answers[: len(asked)] == [answer for each in without for answer in (each, REFUSED)]
        assert answers[len(asked) :] == without
