from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.access import CustomerPrincipal
from app.domain.customer import Customer, CustomerId, Role
from app.domain.outcome import CustomerNotFound
from app.domain.queries import Queries
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.session import RefreshFamily, RefreshToken, Session, SessionId
from app.domain.writes import SignInWrites
from tests import make
from tests.contract.step import do, see, side_by_side
from tests.make import DAY, HOUR, MINUTE, NOW, PASSWORD_HASH, SECOND


async def stored_customer(uow: UnitOfWorkFactory, *, role: Role = Role.CUSTOMER) -> Customer:
    customer = make.customer(role=role)
    await do(uow, lambda work: work.customers.add(customer))
    return customer


async def begin(writes: SignInWrites, session: Session) -> RefreshToken:
    token = make.refresh_token(session_id=session.id)
    assert await writes.begin_session(session, token, password_hash=PASSWORD_HASH, attempts=())
    return token


async def stored(uow: UnitOfWorkFactory, writes: SignInWrites, *sessions: Session) -> None:
    """Store sessions; those that ended begin first."""
    for session in sessions:
        await begin(writes, replace(session, ended_at=None))
        await do(uow, lambda work, session=session: work.sessions.save(session))  # type: ignore[misc]  # bound now


async def begun(uow: UnitOfWorkFactory, writes: SignInWrites) -> tuple[Session, RefreshToken]:
    session = make.session(customer_id=(await stored_customer(uow)).id)
    return session, await begin(writes, session)


async def all_sessions(queries: Queries, customer_id: CustomerId) -> Sequence[Session]:
    records = await queries.find_records(customer_id)
    assert records is not None
    return records.sessions


class TestSessions:
    async def test_are_returned_as_they_were_stored(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        session = make.session(
            customer_id=customer.id,
            device="Firefox 148 – Ubuntu 🐧",  # noqa: RUF001 - what a client says of itself
            last_used_at=NOW + MINUTE,
            idle_expires_at=NOW + HOUR,
            expires_at=NOW + DAY,
            ended_at=NOW + 2 * MINUTE,
        )
        await stored(uow, sign_in_writes, session)
        assert await see(uow, lambda work: work.sessions.get(session.id)) == session

    async def test_are_none_if_unknown(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        unknown = SessionId(make.uuid())
        assert await queries.find_principal(unknown, now=NOW) is None
        assert await see(uow, lambda work: work.sessions.get(unknown)) is None

    async def test_need_a_customer(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        session = make.session()
        token = make.refresh_token(session_id=session.id)
        begun = await sign_in_writes.begin_session(
            session, token, password_hash=PASSWORD_HASH, attempts=()
        )
        assert begun is None
        assert await see(uow, lambda work: work.sessions.get(session.id)) is None
        assert await queries.find_principal(session.id, now=NOW) is None
        with pytest.raises(CustomerNotFound):
            await queries.list_sessions(session.customer_id, now=NOW)

    async def test_are_replaced(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        session, _ = await begun(uow, sign_in_writes)
        changed = replace(
            session.used(policy=make.SESSION_POLICY, now=NOW + HOUR), ended_at=NOW + DAY
        )
        await do(uow, lambda work: work.sessions.save(changed))
        assert await see(uow, lambda work: work.sessions.get(session.id)) == changed

    @pytest.mark.parametrize("role", list(Role))
    async def test_give_their_customer_access_in_the_current_role(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites, role: Role
    ) -> None:
        customer = await stored_customer(uow, role=role)
        session = make.session(customer_id=customer.id)
        await stored(uow, sign_in_writes, session)
        principal = await queries.find_principal(session.id, now=NOW)
        assert principal == CustomerPrincipal(
            customer_id=customer.id, session_id=session.id, role=role
        )

    async def test_give_no_access_once_they_ended(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        session, _ = await begun(uow, sign_in_writes)
        await do(uow, lambda work: work.sessions.save(session.ended(NOW)))
        assert await queries.find_principal(session.id, now=NOW) is None

    @pytest.mark.parametrize(("idle", "absolute"), [(HOUR, DAY), (DAY, HOUR), (HOUR, HOUR)])
    async def test_give_no_access_once_they_expired(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        sign_in_writes: SignInWrites,
        idle: timedelta,
        absolute: timedelta,
    ) -> None:
        customer = await stored_customer(uow)
        session = make.session(
            customer_id=customer.id,
            idle_expires_at=NOW + idle,
            expires_at=NOW + absolute,
        )
        await stored(uow, sign_in_writes, session)
        before = NOW + HOUR - SECOND
        assert await queries.find_principal(session.id, now=before) is not None
        assert await queries.find_principal(session.id, now=NOW + HOUR) is None

    async def test_are_listed_last_used_first_and_by_id(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        tied, tied_later, latest = (make.session(customer_id=customer.id) for _ in range(3))
        latest = replace(latest, last_used_at=NOW + HOUR)
        await stored(
            uow,
            sign_in_writes,
            latest,
            tied,
            tied_later,
            make.session(customer_id=(await stored_customer(uow)).id),
        )
        expected = [latest, tied_later, tied]
        assert await queries.list_sessions(customer.id, now=NOW) == expected
        assert await all_sessions(queries, customer.id) == expected

    async def test_are_listed_as_active_only_while_they_are(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        active = make.session(customer_id=customer.id)
        ended = make.session(customer_id=customer.id, ended_at=NOW)
        idle = make.session(customer_id=customer.id, idle_expires_at=NOW)
        expired = make.session(customer_id=customer.id, expires_at=NOW)
        await stored(uow, sign_in_writes, active, ended, idle, expired)
        assert await queries.list_sessions(customer.id, now=NOW) == [active]
        assert await all_sessions(queries, customer.id) == [expired, idle, ended, active]

    async def test_are_none_of_a_customer_without_any(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        assert await queries.list_sessions(customer.id, now=NOW) == []
        assert await all_sessions(queries, customer.id) == []
        await stored(uow, sign_in_writes, make.session(customer_id=customer.id, ended_at=NOW))
        assert await queries.list_sessions(customer.id, now=NOW) == []


class TestEndingSessions:
    async def test_ends_all_that_are_active(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        sessions = [make.session(customer_id=customer.id) for _ in range(2)]
        ended = make.session(customer_id=customer.id, ended_at=NOW - HOUR)
        others = make.session(customer_id=other.id)
        await stored(uow, sign_in_writes, *sessions, ended, others)
        assert await do(uow, lambda work: work.sessions.end_all(customer.id, now=NOW)) == 2
        async with uow() as work:
            for session in sessions:
                assert await work.sessions.get(session.id) == session.ended(NOW)
            assert await work.sessions.get(ended.id) == ended
            assert await work.sessions.get(others.id) == others

    async def test_spares_the_one_to_keep(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await stored_customer(uow)
        kept, ended = (make.session(customer_id=customer.id) for _ in range(2))
        await stored(uow, sign_in_writes, kept, ended)
        assert await do(uow, lambda w: w.sessions.end_all(customer.id, now=NOW, keep=kept.id)) == 1
        assert await queries.list_sessions(customer.id, now=NOW) == [kept]

    async def test_ends_none_if_there_is_none(self, uow: UnitOfWorkFactory) -> None:
        assert await do(uow, lambda w: w.sessions.end_all(make.customer_id(), now=NOW)) == 0


class TestRefreshFamilies:
    async def test_are_found_by_a_token(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        session, token = await begun(uow, sign_in_writes)
        assert await do(uow, lambda w: w.sessions.lock_family(token.hash)) == RefreshFamily(
            session=session, presented=token, successor=None
        )

    async def test_are_none_for_an_unknown_token(self, uow: UnitOfWorkFactory) -> None:
        assert await do(uow, lambda w: w.sessions.lock_family(make.token_hash())) is None

    async def test_are_found_although_they_ended(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        session, token = await begun(uow, sign_in_writes)
        await do(uow, lambda work: work.sessions.save(session.ended(NOW)))
        family = await do(uow, lambda w: w.sessions.lock_family(token.hash))
        assert family is not None
        assert family.session.ended_at == NOW

    async def test_know_the_successor_of_each_token(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        session, first = await begun(uow, sign_in_writes)
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

    async def test_rotate_once_side_by_side(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        session, token = await begun(uow, sign_in_writes)

        async def rotate(work: UnitOfWork) -> bool:
            family = await work.sessions.lock_family(token.hash)
            assert family is not None
            if family.presented.used_at is not None:
                # A later transaction sees everything that the first one did.
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
    async def test_erases_what_was_over_before(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
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
        await stored(uow, sign_in_writes, *over, *kept)
        assert await do(uow, lambda work: work.sessions.purge(before=NOW)) == 4
        left = await all_sessions(queries, customer.id)
        assert {session.id for session in left} == {session.id for session in kept}

    async def test_erases_their_tokens_too(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        session, token = await begun(uow, sign_in_writes)
        await do(uow, lambda work: work.sessions.save(session.ended(NOW)))
        assert await do(uow, lambda work: work.sessions.purge(before=NOW + SECOND)) == 1
        assert await do(uow, lambda work: work.sessions.lock_family(token.hash)) is None
        assert await do(uow, lambda work: work.sessions.purge(before=NOW + SECOND)) == 0
