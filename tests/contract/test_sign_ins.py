"""The two steps of signing in are what units of work would do, and lasting when they are done."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from app.domain.customer import Customer, PasswordHash
from app.domain.outcome import TooManyAttempts
from app.domain.repository import SignIns, UnitOfWorkFactory
from app.domain.session import Session
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
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
    """Count how often more something may be tried, in a unit that is not committed."""
    async with uow() as work:
        for number in range(rule.limit):
            if not isinstance(await work.throttles.take(key, rule, now=now), Attempt):
                return number
    return rule.limit


async def sessions_of(uow: UnitOfWorkFactory, customer: Customer) -> Sequence[Session]:
    return await see(uow, lambda work: work.sessions.list_all(customer.id))


class TestAttempt:
    async def test_finds_the_customer_and_counts(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        customer, email, ip = await known(uow), make.throttle_key(), make.throttle_key()
        attempts, found = await sign_ins.attempt(
            customer.email.key, (email, RULE), (ip, RULE), now=NOW
        )
        assert found == customer
        assert attempts == [Attempt(key=email, at=NOW), Attempt(key=ip, at=NOW)]
        assert await remaining(uow, email) == await remaining(uow, ip) == RULE.limit - 1

    async def test_of_nobody_counts_as_well(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        key = make.throttle_key()
        _, found = await sign_ins.attempt("nobody@example.com", (key, RULE), now=NOW)
        assert found is None
        assert await remaining(uow, key) == RULE.limit - 1

    async def test_needs_no_rules(self, uow: UnitOfWorkFactory, sign_ins: SignIns) -> None:
        customer = await known(uow)
        assert await sign_ins.attempt(customer.email.key, now=NOW) == ([], customer)

    async def test_finds_an_account_without_a_password(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        managed = make.customer(password_hash=None)
        await do(uow, lambda work: work.customers.add(managed))
        assert await sign_ins.attempt(managed.email.key, now=NOW) == ([], managed)

    @pytest.mark.parametrize("refusing", [0, 1, 2])
    async def test_counts_against_no_rule_if_one_refuses(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns, refusing: int
    ) -> None:
        rules = [(make.throttle_key(), RULE) for _ in range(3)]
        used_up = rules[refusing] = (rules[refusing][0], STRICT)
        await sign_ins.attempt("nobody@example.com", used_up, now=NOW)
        with pytest.raises(TooManyAttempts) as refusal:
            await sign_ins.attempt("nobody@example.com", *rules, now=NOW + SECOND)
        assert refusal.value.retry_after == MINUTE - SECOND
        for number, (key, rule) in enumerate(rules):
            free = 0 if number == refusing else rule.limit
            assert await remaining(uow, key, now=NOW + SECOND, rule=rule) == free

    async def test_side_by_side_never_exceeds_a_rule(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        shared = make.throttle_key()
        results = await asyncio.gather(
            *(
                sign_ins.attempt(
                    "nobody@example.com", (make.throttle_key(), RULE), (shared, RULE), now=NOW
                )
                for _ in range(10)
            ),
            return_exceptions=True,
        )
        refused = [each for each in results if isinstance(each, TooManyAttempts)]
        assert len(refused) == 10 - RULE.limit
        assert len([each for each in results if isinstance(each, tuple)]) == RULE.limit


class TestBegin:
    async def test_stores_the_session_and_forgets_the_attempts(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        customer, other, mine = await known(uow), make.throttle_key(), make.throttle_key()
        await sign_ins.attempt("nobody@example.com", (mine, RULE), now=NOW)
        attempts, _ = await sign_ins.attempt(
            customer.email.key, (other, RULE), (mine, RULE), now=NOW
        )
        session = make.session(customer_id=customer.id, device="Firefox 🐧")
        token = make.refresh_token(session_id=session.id)
        begun = await sign_ins.begin(session, token, known=PASSWORD_HASH, attempts=attempts)
        assert begun == customer
        assert await sessions_of(uow, customer) == [session]
        family = await see(uow, lambda work: work.sessions.lock_family(token.hash))
        assert family is not None
        assert (family.session, family.presented, family.successor) == (session, token, None)
        # What others tried at the same moment is not forgotten.
        assert await remaining(uow, other) == RULE.limit
        assert await remaining(uow, mine) == RULE.limit - 1

    async def test_tells_how_the_customer_is_now(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        customer = await known(uow)
        renamed = customer.changed(name="Zoé", email=None, now=NOW + SECOND)
        await do(uow, lambda work: work.customers.save(renamed))
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        begun = await sign_ins.begin(session, token, known=PASSWORD_HASH, attempts=())
        assert begun == renamed

    @pytest.mark.parametrize("changed", ["gone", "other password", "no password"])
    async def test_begins_nothing_if_the_password_is_not_that_any_more(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns, changed: str
    ) -> None:
        customer, key = await known(uow), make.throttle_key()
        attempts, _ = await sign_ins.attempt(customer.email.key, (key, RULE), now=NOW)
        if changed == "gone":
            await do(uow, lambda work: work.customers.remove(customer.id))
        else:
            password_hash = PasswordHash("$plain$other") if changed == "other password" else None
            changed_to = replace(customer, password_hash=password_hash, version=2)
            await do(uow, lambda work: work.customers.save(changed_to))
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        assert await sign_ins.begin(session, token, known=PASSWORD_HASH, attempts=attempts) is None
        assert await sessions_of(uow, customer) == []
        assert await remaining(uow, key) == RULE.limit - 1

    async def test_waits_for_a_change_of_the_password_and_begins_nothing_then(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        customer = await known(uow)
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        async with uow() as work:
            locked = await work.customers.lock(customer.id)
            assert locked is not None
            beginning = asyncio.ensure_future(
                sign_ins.begin(session, token, known=PASSWORD_HASH, attempts=())
            )
            for _ in range(10):
                # Looks at something else, so that the other comes to where it has to wait.
                await asyncio.sleep(0)
                await work.customers.get(make.customer_id())
            changed = locked.with_password(PasswordHash("$plain$other"), now=NOW)
            await work.customers.save(changed)
            await work.sessions.end_all(customer.id, now=NOW)
            await work.commit()
        assert await beginning is None
        assert await sessions_of(uow, customer) == []

    async def test_side_by_side_for_one_customer_begins_as_many_sessions(
        self, uow: UnitOfWorkFactory, sign_ins: SignIns
    ) -> None:
        customer, ip = await known(uow), make.throttle_key()
        plenty = ThrottleRule(limit=100, window=MINUTE)

        async def sign_in() -> Customer | None:
            attempts, _ = await sign_ins.attempt(
                customer.email.key, (make.throttle_key(), plenty), (ip, plenty), now=NOW
            )
            session = make.session(customer_id=customer.id)
            token = make.refresh_token(session_id=session.id)
            return await sign_ins.begin(session, token, known=PASSWORD_HASH, attempts=attempts)

        assert await asyncio.gather(*(sign_in() for _ in range(8))) == [customer] * 8
        assert len(await sessions_of(uow, customer)) == 8
        assert await remaining(uow, ip, rule=plenty) == plenty.limit
