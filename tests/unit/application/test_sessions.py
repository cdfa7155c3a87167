from dataclasses import replace

import pytest

from app.application.signed_in import SignedIn
from app.domain.access import CustomerPrincipal
from app.domain.outcome import InvalidRefreshToken, InvalidToken, SessionNotFound
from app.domain.session import SessionId
from tests import make
from tests.double.service import PASSWORD, Service


async def signed_in(service: Service) -> SignedIn:
    customer = await service.customer()
    return await service.use_cases.sign_in(
        email=customer.email.value, password=PASSWORD, ip="192.0.2.7", device="a test"
    )


async def gives_access(service: Service, access: SignedIn) -> bool:
    try:
        await service.use_cases.authenticate.confirm(
            service.use_cases.authenticate.verify(access.access_token.value)
        )
    except InvalidToken:
        return False
    return True


class TestRefreshSession:
    async def test_rotates_the_token_within_its_session(self, service: Service) -> None:
        first = await signed_in(service)
        service.clock.advance(make.MINUTE)

        second = await service.use_cases.refresh_session(refresh_token=first.refresh_token)

        assert second.refresh_token != first.refresh_token
        assert second.session.id == first.session.id
        assert second.session.last_used_at == service.clock.now
        assert await gives_access(service, second)

    async def test_yields_the_same_successor_while_it_is_unused(self, service: Service) -> None:
        first = await signed_in(service)
        second = await service.use_cases.refresh_session(refresh_token=first.refresh_token)
        service.clock.advance(10 * make.SECOND)
        again = await service.use_cases.refresh_session(refresh_token=first.refresh_token)
        assert again.refresh_token == second.refresh_token

    async def test_ends_the_family_when_a_token_is_reused(self, service: Service) -> None:
        first = await signed_in(service)
        second = await service.use_cases.refresh_session(refresh_token=first.refresh_token)
        service.clock.advance(11 * make.SECOND)

        for token in (first.refresh_token, second.refresh_token):
            with pytest.raises(InvalidRefreshToken):
                await service.use_cases.refresh_session(refresh_token=token)

        assert not await gives_access(service, second)

    async def test_ends_the_family_within_the_grace_once_the_successor_was_used(
        self, service: Service
    ) -> None:
        first = await signed_in(service)
        second = await service.use_cases.refresh_session(refresh_token=first.refresh_token)
        third = await service.use_cases.refresh_session(refresh_token=second.refresh_token)
        with pytest.raises(InvalidRefreshToken):
            await service.use_cases.refresh_session(refresh_token=first.refresh_token)
        assert not await gives_access(service, third)

    async def test_continues_while_it_is_used_until_the_absolute_expiry(
        self, service: Service
    ) -> None:
        access = await signed_in(service)
        began = service.clock.now
        while service.clock.now - began < make.SESSION_POLICY.absolute - 6 * make.DAY:
            service.clock.advance(6 * make.DAY)
            access = await service.use_cases.refresh_session(refresh_token=access.refresh_token)
        service.clock.now = began + make.SESSION_POLICY.absolute
        with pytest.raises(InvalidRefreshToken):
            await service.use_cases.refresh_session(refresh_token=access.refresh_token)

    async def test_ends_when_it_is_idle(self, service: Service) -> None:
        access = await signed_in(service)
        service.clock.advance(make.SESSION_POLICY.idle)
        with pytest.raises(InvalidRefreshToken):
            await service.use_cases.refresh_session(refresh_token=access.refresh_token)

    @pytest.mark.parametrize("token", ["", "x", "\ud800", "\0", "a" * 10_000])
    async def test_refuses_a_text_that_is_not_a_token(self, service: Service, token: str) -> None:
        with pytest.raises(InvalidRefreshToken):
            await service.use_cases.refresh_session(refresh_token=token)


class TestManageSessions:
    async def test_ends_one_or_all(self, service: Service) -> None:
        access = await signed_in(service)
        customer_id = access.customer.id
        other = await service.use_cases.sign_in(
            email=access.customer.email.value, password=PASSWORD, ip="", device="another"
        )

        await service.use_cases.manage_sessions.end(
            customer_id=customer_id, session_id=other.session.id
        )
        assert not await gives_access(service, other)
        assert await gives_access(service, access)

        await service.use_cases.manage_sessions.end_all(customer_id=customer_id)
        assert not await gives_access(service, access)

    async def test_ends_no_session_of_another_customer(self, service: Service) -> None:
        mine, theirs = await signed_in(service), await signed_in(service)
        for session_id in (theirs.session.id, SessionId(make.uuid())):
            with pytest.raises(SessionNotFound):
                await service.use_cases.manage_sessions.end(
                    customer_id=mine.customer.id, session_id=session_id
                )
        assert await gives_access(service, theirs)


class TestAuthenticate:
    async def test_takes_the_role_from_storage_and_not_from_the_token(
        self, service: Service
    ) -> None:
        access = await signed_in(service)
        forged = replace(
            CustomerPrincipal(
                customer_id=access.customer.id,
                session_id=access.session.id,
                role=access.customer.role,
            ),
            customer_id=make.customer_id(),
        )
        token = service.tokens.issue(forged, now=service.clock.now)
        with pytest.raises(InvalidToken):
            await service.use_cases.authenticate.confirm(
                service.use_cases.authenticate.verify(token.value)
            )

    async def test_refuses_a_token_that_expired(self, service: Service) -> None:
        access = await signed_in(service)
        service.clock.advance(service.token_ttl)
        assert not await gives_access(service, access)
