import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import Email
from app.domain.throttle import email_key, ip_key

ANA = Email("ana@example.com")


class TestThrottleKeys:
    def test_are_the_same_for_one_address_case_aside(self) -> None:
        assert email_key("sign-in", ANA) == email_key("sign-in", Email("ANA@example.com"))

    def test_are_apart_by_purpose_kind_and_subject(self) -> None:
        keys = {
            email_key("sign-in", ANA),
            email_key("sign-up", ANA),
            email_key("sign-in", Email("bia@example.com")),
            ip_key("sign-in", "192.0.2.1"),
            ip_key("sign-up", "192.0.2.1"),
            ip_key("sign-in", "192.0.2.2"),
            ip_key("sign-in", ANA.value),
        }
        assert len(keys) == 7

    @pytest.mark.parametrize("key", [email_key("sign-in", ANA), ip_key("sign-in", "192.0.2.1")])
    def test_hold_nothing_personal(self, key: bytes) -> None:
        assert len(key) == 32
        assert b"ana" not in key
        assert b"192" not in key

    @given(st.text(st.characters(exclude_categories=())))
    def test_exist_for_whatever_somebody_types(self, text: str) -> None:
        assert len(email_key("sign-in", Email(text))) == 32
