"""Who a caller is: by an access token, whose session or key may have ended, or by an API key."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.application.accounts.authenticate import Authenticate
from app.domain.access import (
    ApiKey,
    CustomerPrincipal,
    PresentedApiKey,
    Scope,
    ServicePrincipal,
    SessionCheck,
)
from app.domain.customer import Customer, Role
from app.domain.outcome import InvalidApiKey, InvalidToken
from app.domain.session import SessionId
from tests import make
from tests.double.queries import InMemoryQueries
from tests.double.service import DEVELOPMENT_KEY, PASSWORD, Service

READ, WRITE = Scope.CUSTOMERS_READ, Scope.CUSTOMERS_WRITE
TICK = timedelta(microseconds=1)


async def principal_of(service: Service, customer: Customer) -> CustomerPrincipal:
    """Sign in, and return what the access token names."""
    access = await service.use_cases.sign_in(
        email=customer.email.value, password=PASSWORD, ip="192.0.2.7", device=""
    )
    principal = service.use_cases.authenticate.verify(access.access_token.value)
    assert isinstance(principal, CustomerPrincipal)
    return principal


async def stored(service: Service, presented: PresentedApiKey, **members: object) -> ApiKey:
    """Store a key."""
    key = replace(make.api_key(presented=presented), **members)  # type: ignore[arg-type]  # its own
    async with service.storage() as work:
        await work.api_keys.add(key)
        await work.commit()
    return key


class TestTheTokenOfACustomer:
    async def test_names_its_customer_and_session(self, service: Service) -> None:
        customer = await service.customer()
        claimed = await principal_of(service, customer)
        assert (claimed.customer_id, claimed.role) == (customer.id, Role.CUSTOMER)
        assert await service.use_cases.authenticate.confirm(claimed) == claimed

    async def test_gets_the_current_role(self, service: Service) -> None:
        admin = await service.customer(role=Role.ADMIN)
        claimed = await principal_of(service, admin)
        assert claimed.is_admin
        async with service.storage() as work:
            await work.customers.save(replace(admin, role=Role.CUSTOMER, version=2))
            await work.commit()
        confirmed = await service.use_cases.authenticate.confirm(claimed)
        assert confirmed == replace(claimed, role=Role.CUSTOMER)

    async def test_is_refused_for_a_session_that_is_unknown_or_not_the_customers(
        self, service: Service
    ) -> None:
        claimed = await principal_of(service, await service.customer())
        for forged in (
            replace(claimed, session_id=SessionId(make.uuid())),
            replace(claimed, customer_id=make.customer_id()),
        ):
            with pytest.raises(InvalidToken, match="ended"):
                await service.use_cases.authenticate.confirm(forged)

    async def test_is_refused_once_the_session_has_expired(self, service: Service) -> None:
        claimed = await principal_of(service, await service.customer())
        service.clock.advance(make.SESSION_POLICY.idle - TICK)
        assert await service.use_cases.authenticate.confirm(claimed) == claimed
        service.clock.advance(TICK)
        with pytest.raises(InvalidToken):
            await service.use_cases.authenticate.confirm(claimed)

    async def test_is_verified_as_of_now(self, service: Service) -> None:
        token = service.tokens.issue(
            await principal_of(service, await service.customer()), now=service.clock()
        )
        service.clock.advance(service.token_ttl)
        with pytest.raises(InvalidToken):
            service.use_cases.authenticate.verify(token.value)

    async def test_can_be_checked_by_another_statement(self, service: Service) -> None:
        claimed = await principal_of(service, await service.customer())
        service.clock.advance(make.MINUTE)
        check = service.use_cases.authenticate.session_check(claimed)
        assert isinstance(check, SessionCheck)
        assert (check.session_id, check.at) == (claimed.session_id, service.clock())


class TestTheTokenOfAKey:
    async def test_loses_the_scopes_that_the_key_has_lost(self, service: Service) -> None:
        key = await stored(service, make.presented_api_key(), scopes=frozenset({READ}))
        claimed = ServicePrincipal(key_id=key.id, scopes=frozenset({READ, WRITE}))
        confirmed = await service.use_cases.authenticate.confirm(claimed)
        assert confirmed == ServicePrincipal(key_id=key.id, scopes=frozenset({READ}))

    async def test_gains_no_scope(self, service: Service) -> None:
        key = await stored(service, make.presented_api_key(), scopes=frozenset({READ, WRITE}))
        claimed = ServicePrincipal(key_id=key.id, scopes=frozenset({READ}))
        assert await service.use_cases.authenticate.confirm(claimed) == claimed

    async def test_is_refused_once_the_key_has_ended(self, service: Service) -> None:
        ends = service.clock() + make.HOUR
        key = await stored(service, make.presented_api_key(), expires_at=ends)
        claimed = ServicePrincipal(key_id=key.id, scopes=key.scopes)
        service.clock.advance(make.HOUR - TICK)
        assert await service.use_cases.authenticate.confirm(claimed) == claimed
        service.clock.advance(TICK)
        for ended in (claimed, replace(claimed, key_id=make.presented_api_key().id)):
            with pytest.raises(InvalidToken):
                await service.use_cases.authenticate.confirm(ended)

    async def test_may_be_for_the_key_of_development(self, service: Service) -> None:
        claimed = ServicePrincipal(key_id=DEVELOPMENT_KEY.id, scopes=frozenset({READ}))
        assert await service.use_cases.authenticate.confirm(claimed) == claimed


class TestAnApiKey:
    async def test_is_refused_with_another_secret_or_after_its_end(self, service: Service) -> None:
        presented = make.presented_api_key()
        key = await stored(service, presented, expires_at=service.clock() + make.HOUR)
        by_api_key = service.use_cases.authenticate.by_api_key
        assert await by_api_key(str(presented)) == key.principal
        with pytest.raises(InvalidApiKey):
            await by_api_key(str(replace(presented, secret="0" * 64)))
        service.clock.advance(make.HOUR)
        with pytest.raises(InvalidApiKey):
            await by_api_key(str(presented))

    async def test_has_its_use_noted_once_a_minute(self, service: Service) -> None:
        presented, began = make.presented_api_key(), service.clock()
        await stored(service, presented)
        noted = []
        for passed in (0 * make.SECOND, make.MINUTE - TICK, TICK):
            service.clock.advance(passed)
            await service.use_cases.authenticate.by_api_key(str(presented))
            [key] = await service.use_cases.manage_api_keys.list_all()
            noted.append(key.last_used_at)
        assert noted == [began, began, began + make.MINUTE]

    async def test_of_development_is_unknown_without_the_setting(self, service: Service) -> None:
        authenticate = Authenticate(
            queries=InMemoryQueries(service.storage),
            uow=service.storage,
            tokens=service.tokens,
            clock=service.clock,
        )
        with pytest.raises(InvalidApiKey):
            await authenticate.by_api_key(str(DEVELOPMENT_KEY))
        claimed = ServicePrincipal(key_id=DEVELOPMENT_KEY.id, scopes=frozenset(Scope))
        with pytest.raises(InvalidToken):
            await authenticate.confirm(claimed)
