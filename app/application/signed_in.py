"""The tokens of a customer who is signed in."""

from dataclasses import dataclass, field
from datetime import datetime

from app.application.ports import AccessToken, TokenIssuer
from app.domain.access import CustomerPrincipal
from app.domain.customer import Customer
from app.domain.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """
    A customer in a session, with its tokens.

    `device_token` is for the device's next sign-in; None if it has one.
    """

    customer: Customer
    session: Session
    access_token: AccessToken
    refresh_token: str = field(repr=False)
    device_token: str | None = field(default=None, repr=False)


def signed_in(
    customer: Customer,
    session: Session,
    *,
    refresh_token: str,
    tokens: TokenIssuer,
    now: datetime,
    device_token: str | None = None,
) -> SignedIn:
    """Issue the access token that goes with a refresh token."""
    principal = CustomerPrincipal(
        customer_id=customer.id, session_id=session.id, role=customer.role
    )
    return SignedIn(
        customer=customer,
        session=session,
        access_token=tokens.issue(principal, now=now),
        refresh_token=refresh_token,
        device_token=device_token,
    )
