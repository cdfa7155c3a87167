"""API keys, made from random bits."""

import secrets

from app.domain.access import ApiKeyId, PresentedApiKey


def new_api_key() -> PresentedApiKey:
    """Make a key with an id of 48 and a secret of 256 random bits; it is shown once."""
    return PresentedApiKey(id=ApiKeyId(secrets.token_hex(6)), secret=secrets.token_hex(32))
