from dataclasses import dataclass

from app.application.ports import AccessToken, Clock, TokenIssuer
from app.domain.access import ServicePrincipal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeApiKey:
    """Issue a short-lived token for an API key, so that the key is sent less often."""

    tokens: TokenIssuer
    clock: Clock

    async def __call__(self, *, principal: ServicePrincipal) -> AccessToken:
        """Issue a token with the scopes of the key."""
        return self.tokens.issue(principal, now=self.clock())
