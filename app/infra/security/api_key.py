"""Generation of API keys."""

import secrets

from app.domain.access import ApiKeyId, PresentedApiKey


def new_api_key() -> PresentedApiKey:
    """Generate a key with an ID of 48 random bits and a secret of 256."""
    return PresentedApiKey(id=ApiKeyId(secrets.token_hex(6)), secret=secrets.token_hex(32))
