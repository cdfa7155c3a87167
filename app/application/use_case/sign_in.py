import logging
from dataclasses import dataclass

from app.application.access import SignedIn, signed_in
from app.application.gateway import (
    Clock,
    DeviceTokens,
    NewId,
    PasswordHasher,
    RefreshTokenSource,
    TokenIssuer,
)
from app.application.throttle import take_attempts
from app.domain.customer import Email, Password, PasswordHash
from app.domain.outcome import HashingBusy, InvalidCredentials, InvalidEmail
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import RefreshToken, Session, SessionId, SessionPolicy
from app.domain.throttle import AccessThrottles, device_key, email_key, ip_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Begin a session for somebody who knows an account's password."""

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    tokens: TokenIssuer
    refresh_tokens: RefreshTokenSource
    devices: DeviceTokens
    throttles: AccessThrottles
    policy: SessionPolicy
    clock: Clock
    new_id: NewId

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
        Sign in; an unknown address and a wrong password cost the same and end the same.

        A device that signed in to this account before has attempts of its own: whoever guesses
        elsewhere does not use them up.

        :raises InvalidCredentials: if address and password do not belong together
        :raises TooManyAttempts: if too many attempts failed for this address or from this client
        :raises HashingBusy: if too many passwords are being hashed
        """
        try:
            address = Email.parse(email)
        except InvalidEmail:
            # No account has such an address; it is counted and costs as much as one that none has.
            address = Email(email)
        now = self.clock()
        known_device = device_token and self.devices.recognize(device_token, address)
        guessed_at = (
            device_key("sign-in", known_device) if known_device else email_key("sign-in", address)
        )
        attempts = await take_attempts(
            self.uow,
            (guessed_at, self.throttles.sign_in_email),
            (ip_key("sign-in", ip), self.throttles.sign_in_ip),
            now=now,
        )
        async with self.uow() as work:
            customer = await work.customers.find_by_email(address.key)
        given = Password(password)
        known = customer.password_hash if customer is not None else None
        if not await self.hasher.verify(given, known) or customer is None or known is None:
            logger.warning(
                "sign_in_refused",
                extra={"customer_id": str(customer.id) if customer else None, "client_ip": ip},
            )
            raise InvalidCredentials("E-mail or password is wrong")
        rehashed = await self._rehash(given, known)
        now = self.clock()
        session = Session.begin(
            id=SessionId(self.new_id()),
            customer_id=customer.id,
            device=device,
            policy=self.policy,
            now=now,
        )
        refresh_token = self.refresh_tokens.first()
        async with self.uow() as work:
            customer = await work.customers.lock(customer.id)
            if customer is None or customer.password_hash != known:
                # Deleted or given another password while we compared with the old one.
                raise InvalidCredentials("E-mail or password is wrong")
            if rehashed is not None:
                customer = customer.with_password(rehashed, now=now)
                await work.customers.save(customer)
            await work.sessions.add(
                session,
                RefreshToken(
                    hash=self.refresh_tokens.hash(refresh_token),
                    session_id=session.id,
                    predecessor=None,
                    issued_at=now,
                ),
            )
            # Only failures count.
            for attempt in attempts:
                await work.throttles.give_back(attempt)
            await work.commit()
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

    async def _rehash(self, password: Password, known: PasswordHash) -> PasswordHash | None:
        """Hash by the parameters of today if that is due; it can wait for the next sign-in."""
        if not self.hasher.outdated(known):
            return None
        try:
            return await self.hasher.hash(password)
        except HashingBusy:
            return None
