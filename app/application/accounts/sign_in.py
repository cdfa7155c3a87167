import itertools
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.application.pending_attempts import PendingAttempts
from app.application.ports import (
    Clock,
    DeviceTokens,
    NewId,
    PasswordHasher,
    RefreshTokenSource,
    TokenIssuer,
)
from app.application.signed_in import SignedIn, signed_in
from app.application.throttle import given_back_if_busy
from app.domain.customer import Customer, Email, Password, PasswordHash
from app.domain.outcome import (
    HashingBusy,
    InvalidCredentials,
    InvalidEmail,
    TooManyAttempts,
)
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import RefreshToken, Session, SessionId, SessionPolicy
from app.domain.throttle import (
    AccessThrottles,
    Attempt,
    ThrottleKey,
    ThrottleRule,
    device_key,
    email_key,
    ip_key,
)
from app.domain.writes import SignInWrites

logger = logging.getLogger(__name__)

TRIES = 10
"""How often an attempt is repeated that pending attempts leave no room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Begin a session for a customer who proves the account's password."""

    uow: UnitOfWorkFactory
    sign_ins: SignInWrites
    hasher: PasswordHasher
    tokens: TokenIssuer
    refresh_tokens: RefreshTokenSource
    devices: DeviceTokens
    throttles: AccessThrottles
    policy: SessionPolicy
    clock: Clock
    new_id: NewId
    pending: PendingAttempts = field(default_factory=PendingAttempts)

    async def __call__(
        self,
        *,
        email: str,
        password: str,
        ip: str,
        device: str,
        device_token: str | None = None,
    ) -> SignedIn:
        """
        Sign in; an unknown address and a wrong password take the same time and outcome.

        A device that signed in to this account before has attempts of its own, which guesses from
        elsewhere do not use up.

        :raises InvalidCredentials: if address and password do not belong together
        :raises TooManyAttempts: if too many attempts failed for this address or from this client
        :raises HashingBusy: if too many passwords are being hashed
        """
        try:
            address = Email.parse(email)
        except InvalidEmail:
            # No account has such an address; it is counted and costs as much as an unknown one.
            address = Email(email)
        known_device = device_token and self.devices.recognize(device_token, address)
        guessed_at = (
            device_key("sign-in", known_device) if known_device else email_key("sign-in", address)
        )
        rules = (
            (guessed_at, self.throttles.sign_in_email),
            (ip_key("sign-in", ip), self.throttles.sign_in_ip),
        )
        async with self._attempt(address, *rules) as (attempts, customer):
            given = Password(password)
            known = customer.password_hash if customer is not None else None
            if not await self.hasher.verify(given, known) or customer is None or known is None:
                logger.warning(
                    "sign_in_refused",
                    extra={"customer_id": str(customer.id) if customer else None, "client_ip": ip},
                )
                raise InvalidCredentials("E-mail or password is wrong")
            known = await self._keep_rehashed(customer, given) or known
            now = self.clock()
            session = Session.begin(
                id=SessionId(self.new_id()),
                customer_id=customer.id,
                device=device,
                policy=self.policy,
                now=now,
            )
            refresh_token = self.refresh_tokens.first()
            token = RefreshToken(
                hash=self.refresh_tokens.hash(refresh_token),
                session_id=session.id,
                predecessor=None,
                issued_at=now,
            )
            # Only failures count.
            customer = await self.sign_ins.begin_session(
                session, token, password_hash=known, attempts=attempts
            )
        if customer is None:
            # Deleted, or the password was changed while the old one was being verified.
            raise InvalidCredentials("E-mail or password is wrong")
        logger.info(
            "sign_in_succeeded",
            extra={"customer_id": str(customer.id), "session_id": str(session.id)},
        )
        return signed_in(
            customer,
            session,
            refresh_token=refresh_token,
            tokens=self.tokens,
            now=now,
            device_token=None if known_device else self.devices.issue(address),
        )

    @asynccontextmanager
    async def _attempt(
        self, address: Email, *rules: tuple[ThrottleKey, ThrottleRule | None]
    ) -> AsyncGenerator[tuple[Sequence[Attempt], Customer | None]]:
        """Count an attempt, which is pending until its outcome is known."""
        counted = [(key, rule) for key, rule in rules if rule is not None]
        keys = [key for key, _ in counted]
        for tried in itertools.count(1):
            try:
                attempts, customer = await self.sign_ins.take_attempts(
                    address.key, *counted, now=self.clock()
                )
                break
            except TooManyAttempts:
                # Pending attempts may succeed, and then they do not count.
                if tried == TRIES or not await self.pending.one_ends(keys):
                    raise
        with self.pending.one(keys):
            async with given_back_if_busy(self.uow, attempts):
                yield attempts, customer

    async def _keep_rehashed(self, customer: Customer, password: Password) -> PasswordHash | None:
        """Hash with the current parameters if the hash is outdated; not critical if busy."""
        if customer.password_hash is None or not self.hasher.outdated(customer.password_hash):
            return None
        try:
            rehashed = await self.hasher.hash(password)
        except HashingBusy:
            return None
        async with self.uow() as work:
            current = await work.customers.lock(customer.id)
            if current is None or current.password_hash != customer.password_hash:
                return None
            await work.customers.save(current.with_password(rehashed, now=self.clock()))
            await work.commit()
        return rehashed
