"""The two writes of signing in."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from app.domain.customer import Customer, PasswordHash
from app.domain.outcome import TooManyAttempts
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import Session
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
from app.domain.writes import SignInWrites
from tests import make
from tests.contract.step import do, see
from tests.make import MINUTE, NOW, PASSWORD_HASH, SECOND

RULE = ThrottleRule(limit=3, window=5 * MINUTE)
STRICT = ThrottleRule(limit=1, window=MINUTE)


async def known(uow: UnitOfWorkFactory) -> Customer:
    """Store a customer."""
    customer = make.customer(name="Zoë 💍")
    await do(uow, lambda work: work.customers.add(customer))
    return customer


async def remaining(
    uow: UnitOfWorkFactory, key: ThrottleKey, *, now: datetime = NOW, rule: ThrottleRule = RULE
) -> int:
    """Count the attempts that a rule still allows, in a unit that is not committed."""
    async with uow() as work:
        for number in range(rule.limit):
            if not isinstance(await work.throttles.take(key, rule, now=now), Attempt):
                return number
    return rule.limit


async def sessions_of(queries: Queries, customer: Customer) -> Sequence[Session]:
    records = await queries.find_records(customer.id)
    return [] if records is None else records.sessions


class TestTakeAttempts:
    async def test_finds_the_customer_and_counts(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        customer, email, ip = await known(uow), make.throttle_key(), make.throttle_key()
        attempts, found = await sign_in_writes.take_attempts(
            customer.email.key, (email, RULE), (ip, RULE), now=NOW
        )
        assert found == customer
        assert attempts == [Attempt(key=email, at=NOW), Attempt(key=ip, at=NOW)]
        assert await remaining(uow, email) == await remaining(uow, ip) == RULE.limit - 1

    async def test_without_a_customer_counts_as_well(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        key = make.throttle_key()
        _, found = await sign_in_writes.take_attempts("unknown@example.com", (key, RULE), now=NOW)
        assert found is None
        assert await remaining(uow, key) == RULE.limit - 1

    async def test_needs_no_rules(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        customer = await known(uow)
        assert await sign_in_writes.take_attempts(customer.email.key, now=NOW) == ([], customer)

    async def test_finds_an_account_without_a_password(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        managed = make.customer(password_hash=None)
        await do(uow, lambda work: work.customers.add(managed))
        assert await sign_in_writes.take_attempts(managed.email.key, now=NOW) == ([], managed)

    @pytest.mark.parametrize("refusing", [0, 1, 2])
    async def test_counts_against_no_rule_if_one_refuses(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites, refusing: int
    ) -> None:
        rules = [(make.throttle_key(), RULE) for _ in range(3)]
        used_up = rules[refusing] = (rules[refusing][0], STRICT)
        await sign_in_writes.take_attempts("unknown@example.com", used_up, now=NOW)
        with pytest.raises(TooManyAttempts) as refusal:
            await sign_in_writes.take_attempts("unknown@example.com", *rules, now=NOW + SECOND)
        assert refusal.value.retry_after == MINUTE - SECOND
        for number, (key, rule) in enumerate(rules):
            free = 0 if number == refusing else rule.limit
            assert await remaining(uow, key, now=NOW + SECOND, rule=rule) == free

    async def test_side_by_side_never_exceeds_a_rule(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        shared = make.throttle_key()
        results = await asyncio.gather(
            *(
                sign_in_writes.take_attempts(
                    "unknown@example.com", (make.throttle_key(), RULE), (shared, RULE), now=NOW
                )
                for _ in range(10)
            ),
            return_exceptions=True,
        )
        refused = [each for each in results if isinstance(each, TooManyAttempts)]
        assert len(refused) == 10 - RULE.limit
        assert len([each for each in results if isinstance(each, tuple)]) == RULE.limit


class TestBeginSession:
    async def test_stores_the_session_and_forgets_the_attempts(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer, other, mine = await known(uow), make.throttle_key(), make.throttle_key()
        await sign_in_writes.take_attempts("unknown@example.com", (mine, RULE), now=NOW)
        attempts, _ = await sign_in_writes.take_attempts(
            customer.email.key, (other, RULE), (mine, RULE), now=NOW
        )
        session = make.session(customer_id=customer.id, device="Firefox 🐧")
        token = make.refresh_token(session_id=session.id)
        begun = await sign_in_writes.begin_session(
            session, token, password_hash=PASSWORD_HASH, attempts=attempts
        )
        assert begun == customer
        assert await sessions_of(queries, customer) == [session]
        family = await see(uow, lambda work: work.sessions.lock_family(token.hash))
        assert family is not None
        assert (family.session, family.presented, family.successor) == (session, token, None)
        # An attempt of another client at the same moment still counts.
        assert await remaining(uow, other) == RULE.limit
        assert await remaining(uow, mine) == RULE.limit - 1

    async def test_returns_the_customer_as_they_are_now(
        self, uow: UnitOfWorkFactory, sign_in_writes: SignInWrites
    ) -> None:
        customer = await known(uow)
        renamed = customer.changed(name="Zoé", email=None, now=NOW + SECOND)
        await do(uow, lambda work: work.customers.save(renamed))
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        begun = await sign_in_writes.begin_session(
            session, token, password_hash=PASSWORD_HASH, attempts=()
        )
        assert begun == renamed

    @pytest.mark.parametrize("changed", ["gone", "other password", "no password"])
    async def test_stores_nothing_if_the_password_is_another_one(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites, changed: str
    ) -> None:
        customer, key = await known(uow), make.throttle_key()
        attempts, _ = await sign_in_writes.take_attempts(customer.email.key, (key, RULE), now=NOW)
        if changed == "gone":
            await do(uow, lambda work: work.customers.remove(customer.id))
        else:
            password_hash = PasswordHash("$plain$other") if changed == "other password" else None
            changed_to = replace(customer, password_hash=password_hash, version=2)
            await do(uow, lambda work: work.customers.save(changed_to))
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        assert (
            await sign_in_writes.begin_session(
                session, token, password_hash=PASSWORD_HASH, attempts=attempts
            )
            is None
        )
        assert await sessions_of(queries, customer) == []
        assert await remaining(uow, key) == RULE.limit - 1

    async def test_waits_for_a_change_of_the_password_and_then_stores_nothing(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = await known(uow)
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        async with uow() as work:
            locked = await work.customers.lock(customer.id)
            assert locked is not None
            beginning = asyncio.ensure_future(
                sign_in_writes.begin_session(
                    session, token, password_hash=PASSWORD_HASH, attempts=()
                )
            )
            for _ in range(10):
                # Reads something else, so that the other call gets to where it has to wait.
                await asyncio.sleep(0)
                await work.customers.get(make.customer_id())
            changed = locked.with_password(PasswordHash("$plain$other"), now=NOW)
            await work.customers.save(changed)
            await work.sessions.end_all(customer.id, now=NOW)
            await work.commit()
        assert await beginning is None
        assert await sessions_of(queries, customer) == []

    async def test_side_by_side_for_one_customer_stores_all_sessions(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer, ip = await known(uow), make.throttle_key()
        plenty = ThrottleRule(limit=100, window=MINUTE)

        async def sign_in() -> Customer | None:
            attempts, _ = await sign_in_writes.take_attempts(
                customer.email.key, (make.throttle_key(), plenty), (ip, plenty), now=NOW
            )
            session = make.session(customer_id=customer.id)
            token = make.refresh_token(session_id=session.id)
            return await sign_in_writes.begin_session(
                session, token, password_hash=PASSWORD_HASH, attempts=attempts
            )

        assert await asyncio.gather(*(sign_in() for _ in range(8))) == [customer] * 8
        assert len(await sessions_of(queries, customer)) == 8
        assert await remaining(uow, ip, rule=plenty) == plenty.limit
