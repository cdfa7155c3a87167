from dataclasses import dataclass

from app.application.ports import AccessToken, Clock, TokenIssuer
from app.domain.access import ServicePrincipal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeApiKey:
    """Give an internal system a short-lived token, so that its key need not travel each time."""

    tokens: TokenIssuer
    clock: Clock

    async def __call__(self, *, principal: ServicePrincipal) -> AccessToken:
        """Issue a token with the scopes of the key."""
        return self.tokens.issue(principal, now=self.clock())
