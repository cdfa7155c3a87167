import re

from app.domain.access import PresentedApiKey
from app.infra.security.api_key import new_api_key


class TestNewApiKey:
    def test_has_the_format_of_a_key(self) -> None:
        key = new_api_key()
        assert re.fullmatch(r"aiq_[0-9a-f]{12}_[0-9a-f]{64}", str(key))
        assert PresentedApiKey.parse(str(key)) == key

    def test_is_unique(self) -> None:
        keys = [new_api_key() for _ in range(100)]
        assert len({key.id for key in keys}) == 100
        assert len({key.secret for key in keys}) == 100
