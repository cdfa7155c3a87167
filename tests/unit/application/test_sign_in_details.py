"""What signing in and refreshing store and count, and what they do when others interfere."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest
from typing_extensions import override

from app.application.accounts.sign_in import TRIES
from app.application.pending_attempts import PendingAttempts
from app.domain.customer import Customer, Password, PasswordHash
from app.domain.outcome import InvalidCredentials, InvalidRefreshToken, TooManyAttempts
from app.domain.session import RefreshToken
from app.domain.throttle import (
    Attempt,
    ThrottleKey,
    ThrottleRule,
    device_key,
    email_key,
    ip_key,
)
from app.infra.security.device_token import HmacDeviceTokens
from app.infra.security.refresh_token import HmacRefreshTokenSource
from app.infra.security.signing_keys import SigningKeys
from tests import make
from tests.double.hasher import PlainHasher
from tests.double.service import KEYS, PASSWORD, Service
from tests.double.sign_in_writes import InMemorySignInWrites

IP = "192.0.2.7"
OTHER_KEY = {"other": b"another-secret-of-the-tests-0123456789"}


class InterruptedHasher(PlainHasher):
    """Runs something, once, while it hashes a password."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        super().__init__(scheme="stronger")
        self._meanwhile: Callable[[], Awaitable[object]] | None = meanwhile

    @override
    async def hash(self, password: Password) -> PasswordHash:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().hash(password)


class CredulousHasher(PlainHasher):
    """Accepts every password."""

    @override
    async def verify(self, password: Password, hashed: PasswordHash | None) -> bool:
        return True


@dataclass(frozen=True)
class FullThrottle(InMemorySignInWrites):
    """Refuses every attempt, and records when."""

    refused: list[datetime] = field(default_factory=list)

    @override
    async def take_attempts(
        self, email_key: str, *rules: tuple[ThrottleKey, ThrottleRule], now: datetime
    ) -> tuple[Sequence[Attempt], Customer | None]:
        self.refused.append(now)
        raise TooManyAttempts("One too many", retry_after=make.SECOND)


class EndlesslyPending(PendingAttempts):
    """Tells that an attempt has ended, however often it is asked."""

    @override
    async def one_ends(self, keys: Collection[ThrottleKey]) -> bool:
        return True


async def sign_in(
    service: Service, customer: Customer, *, password: str = PASSWORD, token: str | None = None
) -> str | None:
    """Sign in, and return the device token."""
    access = await service.use_cases.sign_in(
        email=customer.email.value, password=password, ip=IP, device="", device_token=token
    )
    return access.device_token


def counted(service: Service) -> set[ThrottleKey]:
    """Return the keys with attempts that count."""
    return {key for key, attempts in service.storage.tables.attempts.items() if attempts}


class TestAttempts:
    async def test_count_for_the_address_and_the_client(self, service: Service) -> None:
        customer = await service.customer()
        with pytest.raises(InvalidCredentials):
            await sign_in(service, customer, password="a guess")
        assert counted(service) == {email_key("sign-in", customer.email), ip_key("sign-in", IP)}

    async def test_count_for_a_known_device_and_the_client(self, service: Service) -> None:
        customer = await service.customer()
        token = await sign_in(service, customer)
        assert token is not None
        device = HmacDeviceTokens(keys=SigningKeys(KEYS)).recognize(token, customer.email)
        assert device is not None
        with pytest.raises(InvalidCredentials):
            await sign_in(service, customer, password="a guess", token=token)
        assert counted(service) == {device_key("sign-in", device), ip_key("sign-in", IP)}

    async def test_are_given_back_after_success(self, service: Service) -> None:
        customer = await service.customer()
        await sign_in(service, customer)
        assert counted(service) == set()

    async def test_are_repeated_while_others_are_pending(self, service: Service) -> None:
        writes = FullThrottle(service.storage)
        customer = await service.customer()
        service.use_cases.sign_in = replace(
            service.use_cases.sign_in, sign_ins=writes, pending=EndlesslyPending()
        )
        with pytest.raises(TooManyAttempts):
            await sign_in(service, customer)
        assert writes.refused == [service.clock()] * TRIES

    async def test_are_refused_at_once_if_none_is_pending(self, service: Service) -> None:
        writes = FullThrottle(service.storage)
        customer = await service.customer()
        service.use_cases.sign_in = replace(service.use_cases.sign_in, sign_ins=writes)
        with pytest.raises(TooManyAttempts):
            await sign_in(service, customer)
        assert writes.refused == [service.clock()]


class TestSignIn:
    async def test_stores_the_first_token_of_the_session(self, service: Service) -> None:
        customer = await service.customer()
        access = await service.use_cases.sign_in(
            email=customer.email.value, password=PASSWORD, ip=IP, device="a test"
        )
        source = HmacRefreshTokenSource(keys=SigningKeys(KEYS))
        token = RefreshToken(
            hash=source.hash(access.refresh_token),
            session_id=access.session.id,
            predecessor=None,
            issued_at=service.clock(),
        )
        assert list(service.storage.tables.tokens.values()) == [token]
        assert access.session == make.session(
            id=access.session.id, customer_id=customer.id, device="a test"
        )
        assert access.access_token.expires_in == service.token_ttl

    async def test_is_impossible_without_a_password_whatever_the_hasher_says(
        self, service: Service
    ) -> None:
        managed = make.customer(password_hash=None)
        async with service.storage() as work:
            await work.customers.add(managed)
            await work.commit()
        service.use_cases.sign_in = replace(service.use_cases.sign_in, hasher=CredulousHasher())
        for customer in (managed, make.customer()):
            with pytest.raises(InvalidCredentials):
                await sign_in(service, customer)
        assert service.storage.tables.sessions == {}


class TestHashingAgain:
    async def test_changes_the_customer(self, service: Service) -> None:
        customer = await service.customer()
        service.hasher.scheme = "stronger"
        service.clock.advance(make.HOUR)
        await sign_in(service, customer)
        stored = await service.use_cases.read_customer(customer_id=customer.id)
        assert stored == replace(
            customer,
            password_hash=PasswordHash(f"$stronger${PASSWORD}"),
            updated_at=service.clock(),
            version=2,
        )

    async def test_is_skipped_while_the_queue_is_full(self, service: Service) -> None:
        customer = await service.customer()

        async def fill_the_queue() -> None:
            hasher.busy = True

        hasher = InterruptedHasher(fill_the_queue)
        service.use_cases.sign_in = replace(service.use_cases.sign_in, hasher=hasher)
        await sign_in(service, customer)
        assert await service.use_cases.read_customer(customer_id=customer.id) == customer

    async def test_does_not_overwrite_a_password_that_was_changed(self, service: Service) -> None:
        customer = await service.customer()
        changed = customer.with_password(PasswordHash("$stronger$another"), now=make.NOW)

        async def change() -> None:
            async with service.storage() as work:
                await work.customers.save(changed)
                await work.commit()

        service.use_cases.sign_in = replace(
            service.use_cases.sign_in, hasher=InterruptedHasher(change)
        )
        with pytest.raises(InvalidCredentials):
            await sign_in(service, customer)
        assert await service.use_cases.read_customer(customer_id=customer.id) == changed
        assert service.storage.tables.sessions == {}

    async def test_does_not_restore_an_account_that_was_deleted(self, service: Service) -> None:
        customer = await service.customer()

        async def delete() -> None:
            await service.use_cases.delete_customer(customer_id=customer.id)

        service.use_cases.sign_in = replace(
            service.use_cases.sign_in, hasher=InterruptedHasher(delete)
        )
        with pytest.raises(InvalidCredentials):
            await sign_in(service, customer)
        assert service.storage.tables.customers == {}


class TestRefreshSession:
    async def test_stores_the_successor(self, service: Service) -> None:
        customer = await service.customer()
        first = await service.use_cases.sign_in(
            email=customer.email.value, password=PASSWORD, ip=IP, device=""
        )
        service.clock.advance(make.MINUTE)
        second = await service.use_cases.refresh_session(refresh_token=first.refresh_token)
        hash_of = HmacRefreshTokenSource(keys=SigningKeys(KEYS)).hash
        old, new = service.storage.tables.tokens.values()
        assert (old.hash, old.used_at) == (hash_of(first.refresh_token), service.clock())
        assert new == RefreshToken(
            hash=hash_of(second.refresh_token),
            session_id=first.session.id,
            predecessor=old.hash,
            issued_at=service.clock(),
        )

    async def test_repeats_a_successor_of_an_earlier_key(self, service: Service) -> None:
        customer = await service.customer()
        first = await service.use_cases.sign_in(
            email=customer.email.value, password=PASSWORD, ip=IP, device=""
        )
        refresh = service.use_cases.refresh_session
        second = await refresh(refresh_token=first.refresh_token)
        rotated = HmacRefreshTokenSource(keys=SigningKeys(OTHER_KEY | KEYS))
        again = await replace(refresh, refresh_tokens=rotated)(refresh_token=first.refresh_token)
        assert again.refresh_token == second.refresh_token
        without = HmacRefreshTokenSource(keys=SigningKeys(OTHER_KEY))
        with pytest.raises(InvalidRefreshToken):
            await replace(refresh, refresh_tokens=without)(refresh_token=first.refresh_token)

    async def test_ends_with_the_account(self, service: Service) -> None:
        customer = await service.customer()
        access = await service.use_cases.sign_in(
            email=customer.email.value, password=PASSWORD, ip=IP, device=""
        )
        # The session is still there: only the customer has just been deleted.
        del service.storage.tables.customers[customer.id]
        with pytest.raises(InvalidRefreshToken):
            await service.use_cases.refresh_session(refresh_token=access.refresh_token)
        assert len(service.storage.tables.tokens) == 1
