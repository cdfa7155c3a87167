from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.access import CustomerPrincipal
from app.domain.customer import Customer, Role
from app.domain.outcome import CustomerNotFound
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.session import RefreshFamily, RefreshToken, Session, SessionId
from tests import make
from tests.contract.step import do, see, side_by_side
from tests.make import DAY, HOUR, MINUTE, NOW, SECOND


async def stored_customer(uow: UnitOfWorkFactory, *, role: Role = Role.CUSTOMER) -> Customer:
    customer = make.customer(role=role)
    await do(uow, lambda work: work.customers.add(customer))
    return customer


async def stored(uow: UnitOfWorkFactory, *sessions: Session) -> None:
    async with uow() as work:
        for session in sessions:
            await work.sessions.add(session, make.refresh_token(session_id=session.id))
        await work.commit()


async def begun(uow: UnitOfWorkFactory) -> tuple[Session, RefreshToken]:
    session = make.session(customer_id=(await stored_customer(uow)).id)
    token = make.refresh_token(session_id=session.id)
    await do(uow, lambda work: work.sessions.add(session, token))
    return session, token


class TestSessions:
    async def test_are_returned_as_they_were_stored(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        session = make.session(
            customer_id=customer.id,
            device="Firefox 148 – Ubuntu 🐧",  # noqa: RUF001 - what a client says of itself
            last_used_at=NOW + MINUTE,
            idle_expires_at=NOW + HOUR,
            expires_at=NOW + DAY,
            ended_at=NOW + 2 * MINUTE,
        )
        await stored(uow, session)
        assert await see(uow, lambda work: work.sessions.get(session.id)) == session

    async def test_are_none_if_unknown(self, uow: UnitOfWorkFactory) -> None:
        unknown = SessionId(make.uuid())
        async with uow() as work:
            assert await work.sessions.get(unknown) is None
            assert await work.sessions.find_principal(unknown, now=NOW) is None

    async def test_need_a_customer(self, uow: UnitOfWorkFactory) -> None:
        with pytest.raises(CustomerNotFound):
            await stored(uow, make.session())

    async def test_are_replaced(self, uow: UnitOfWorkFactory) -> None:
        session, _ = await begun(uow)
        changed = replace(
            session.used(policy=make.SESSION_POLICY, now=NOW + HOUR), ended_at=NOW + DAY
        )
        await do(uow, lambda work: work.sessions.save(changed))
        assert await see(uow, lambda work: work.sessions.get(session.id)) == changed

    @pytest.mark.parametrize("role", list(Role))
    async def test_stand_for_their_customer_in_today_s_role(
        self, uow: UnitOfWorkFactory, role: Role
    ) -> None:
        customer = await stored_customer(uow, role=role)
        session = make.session(customer_id=customer.id)
        await stored(uow, session)
        principal = await see(uow, lambda w: w.sessions.find_principal(session.id, now=NOW))
        assert principal == CustomerPrincipal(
            customer_id=customer.id, session_id=session.id, role=role
        )

    async def test_stand_for_nobody_once_they_ended(self, uow: UnitOfWorkFactory) -> None:
        session, _ = await begun(uow)
        await do(uow, lambda work: work.sessions.save(session.ended(NOW)))
        assert await see(uow, lambda w: w.sessions.find_principal(session.id, now=NOW)) is None

    @pytest.mark.parametrize(("idle", "absolute"), [(HOUR, DAY), (DAY, HOUR), (HOUR, HOUR)])
    async def test_stand_for_nobody_once_they_expired(
        self, uow: UnitOfWorkFactory, idle: timedelta, absolute: timedelta
    ) -> None:
        customer = await stored_customer(uow)
        session = make.session(
            customer_id=customer.id,
            idle_expires_at=NOW + idle,
            expires_at=NOW + absolute,
        )
        await stored(uow, session)
        async with uow() as work:
            before = NOW + HOUR - SECOND
            assert await work.sessions.find_principal(session.id, now=before) is not None
            assert await work.sessions.find_principal(session.id, now=NOW + HOUR) is None

    async def test_are_listed_last_used_first_and_by_id(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        tied, tied_later, latest = (make.session(customer_id=customer.id) for _ in range(3))
        latest = replace(latest, last_used_at=NOW + HOUR)
        await stored(
            uow,
            latest,
            tied,
            tied_later,
            make.session(customer_id=(await stored_customer(uow)).id),
        )
        expected = [latest, tied_later, tied]
        async with uow() as work:
            assert await work.sessions.list_active(customer.id, now=NOW) == expected
            assert await work.sessions.list_all(customer.id) == expected

    async def test_are_listed_as_active_only_while_they_are(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        active = make.session(customer_id=customer.id)
        ended = make.session(customer_id=customer.id, ended_at=NOW)
        idle = make.session(customer_id=customer.id, idle_expires_at=NOW)
        expired = make.session(customer_id=customer.id, expires_at=NOW)
        await stored(uow, active, ended, idle, expired)
        async with uow() as work:
            assert await work.sessions.list_active(customer.id, now=NOW) == [active]
            assert await work.sessions.list_all(customer.id) == [expired, idle, ended, active]


class TestEndingSessions:
    async def test_ends_all_that_are_active(self, uow: UnitOfWorkFactory) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        sessions = [make.session(customer_id=customer.id) for _ in range(2)]
        ended = make.session(customer_id=customer.id, ended_at=NOW - HOUR)
        others = make.session(customer_id=other.id)
        await stored(uow, *sessions, ended, others)
        assert await do(uow, lambda work: work.sessions.end_all(customer.id, now=NOW)) == 2
        async with uow() as work:
            for session in sessions:
                assert await work.sessions.get(session.id) == session.ended(NOW)
            assert await work.sessions.get(ended.id) == ended
            assert await work.sessions.get(others.id) == others

    async def test_spares_the_one_to_keep(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        kept, ended = (make.session(customer_id=customer.id) for _ in range(2))
        await stored(uow, kept, ended)
        assert await do(uow, lambda w: w.sessions.end_all(customer.id, now=NOW, keep=kept.id)) == 1
        assert await see(uow, lambda w: w.sessions.list_active(customer.id, now=NOW)) == [kept]

    async def test_ends_none_if_there_is_none(self, uow: UnitOfWorkFactory) -> None:
        assert await do(uow, lambda w: w.sessions.end_all(make.customer_id(), now=NOW)) == 0


class TestRefreshFamilies:
    async def test_are_found_by_a_token(self, uow: UnitOfWorkFactory) -> None:
        session, token = await begun(uow)
        assert await do(uow, lambda w: w.sessions.lock_family(token.hash)) == RefreshFamily(
            session=session, presented=token, successor=None
        )

    async def test_are_none_for_an_unknown_token(self, uow: UnitOfWorkFactory) -> None:
        assert await do(uow, lambda w: w.sessions.lock_family(make.token_hash())) is None

    async def test_are_found_although_they_ended(self, uow: UnitOfWorkFactory) -> None:
        session, token = await begun(uow)
        await do(uow, lambda work: work.sessions.save(session.ended(NOW)))
        family = await do(uow, lambda w: w.sessions.lock_family(token.hash))
        assert family is not None
        assert family.session.ended_at == NOW

    async def test_know_the_successor_of_each_token(self, uow: UnitOfWorkFactory) -> None:
        session, first = await begun(uow)
        used = replace(first, used_at=NOW + MINUTE)
        second = make.refresh_token(session_id=session.id, predecessor=first.hash)
        third = make.refresh_token(session_id=session.id, predecessor=second.hash)
        async with uow() as work:
            await work.sessions.save_token(used)
            await work.sessions.add_token(second)
            await work.sessions.add_token(third)
            await work.commit()
        async with uow() as work:
            of_first = await work.sessions.lock_family(first.hash)
            of_second = await work.sessions.lock_family(second.hash)
            of_third = await work.sessions.lock_family(third.hash)
        assert of_first == RefreshFamily(session=session, presented=used, successor=second)
        assert of_second == RefreshFamily(session=session, presented=second, successor=third)
        assert of_third == RefreshFamily(session=session, presented=third, successor=None)

    async def test_rotate_once_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        session, token = await begun(uow)

        async def rotate(work: UnitOfWork) -> bool:
            family = await work.sessions.lock_family(token.hash)
            assert family is not None
            if family.presented.used_at is not None:
                # Whoever comes later sees all that the first one did.
                assert family.successor is not None
                assert family.session.last_used_at == NOW + HOUR
                return False
            await work.sessions.save_token(replace(family.presented, used_at=NOW + HOUR))
            await work.sessions.add_token(
                make.refresh_token(session_id=session.id, predecessor=token.hash)
            )
            await work.sessions.save(
                family.session.used(policy=make.SESSION_POLICY, now=NOW + HOUR)
            )
            return True

        assert sorted(await side_by_side(5, uow, rotate), key=str) == [False] * 4 + [True]


class TestPurgingSessions:
    async def test_erases_what_was_over_before(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        before = NOW - SECOND
        over = [
            make.session(customer_id=customer.id, ended_at=before),
            make.session(customer_id=customer.id, idle_expires_at=before),
            make.session(customer_id=customer.id, expires_at=before),
            make.session(customer_id=customer.id, expires_at=before, ended_at=NOW),
        ]
        kept = [
            make.session(customer_id=customer.id),
            make.session(customer_id=customer.id, ended_at=NOW),
            make.session(customer_id=customer.id, idle_expires_at=NOW),
            make.session(customer_id=customer.id, expires_at=NOW),
        ]
        await stored(uow, *over, *kept)
        assert await do(uow, lambda work: work.sessions.purge(before=NOW)) == 4
        left = await see(uow, lambda work: work.sessions.list_all(customer.id))
        assert {session.id for session in left} == {session.id for session in kept}

    async def test_erases_their_tokens_too(self, uow: UnitOfWorkFactory) -> None:
        session, token = await begun(uow)
        await do(uow, lambda work: work.sessions.save(session.ended(NOW)))
        assert await do(uow, lambda work: work.sessions.purge(before=NOW + SECOND)) == 1
        assert await do(uow, lambda work: work.sessions.lock_family(token.hash)) is None
        assert await do(uow, lambda work: work.sessions.purge(before=NOW + SECOND)) == 0
