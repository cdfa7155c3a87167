import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import Email
from app.infra.security.device_token import HmacDeviceTokens
from app.infra.security.signing_keys import SigningKeys

OLD, NEW = b"o" * 32, b"n" * 32
ANA, BIA = Email("ana@example.com"), Email("bia@example.com")


@pytest.fixture
def devices() -> HmacDeviceTokens:
    return HmacDeviceTokens(keys=SigningKeys({"old": OLD}))


class TestDeviceTokens:
    def test_identify_a_device_for_one_address(self, devices: HmacDeviceTokens) -> None:
        token = devices.issue(ANA)
        name = devices.recognize(token, Email("ANA@example.com"))
        assert name
        assert devices.recognize(token, ANA) == name
        assert devices.recognize(token, BIA) is None
        assert devices.recognize(devices.issue(ANA), ANA) != name

    def test_outlive_the_rotation_of_keys(self, devices: HmacDeviceTokens) -> None:
        token = devices.issue(ANA)
        both = HmacDeviceTokens(keys=SigningKeys({"new": NEW, "old": OLD}))
        assert both.recognize(token, ANA)
        assert devices.recognize(both.issue(ANA), ANA) is None

    def test_cannot_be_forged(self, devices: HmacDeviceTokens) -> None:
        token = devices.issue(ANA)
        for place in range(len(token)):
            other = "0" if token[place] != "0" else "1"
            assert devices.recognize(token[:place] + other + token[place + 1 :], ANA) is None

    @given(text=st.text())
    def test_are_not_any_other_text(self, text: str) -> None:
        assert HmacDeviceTokens(keys=SigningKeys({"k": OLD})).recognize(text, ANA) is None
