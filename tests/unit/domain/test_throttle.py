import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import Email
from app.domain.throttle import (
    AccessThrottles,
    ThrottleRule,
    device_key,
    email_key,
    ip_key,
)
from tests.make import HOUR, MINUTE, SECOND

ANA = Email("ana@example.com")


class TestThrottleKeys:
    def test_are_the_same_for_one_address_case_aside(self) -> None:
        assert email_key("sign-in", ANA) == email_key("sign-in", Email("ANA@example.com"))

    def test_differ_by_purpose_kind_and_subject(self) -> None:
        keys = {
            email_key("sign-in", ANA),
            email_key("sign-up", ANA),
            email_key("sign-in", Email("bia@example.com")),
            ip_key("sign-in", "192.0.2.1"),
            ip_key("sign-up", "192.0.2.1"),
            ip_key("sign-in", "192.0.2.2"),
            ip_key("sign-in", ANA.value),
            device_key("sign-in", ANA.value),
            device_key("sign-up", ANA.value),
            device_key("sign-in", "another"),
        }
        assert len(keys) == 10

    @pytest.mark.parametrize("key", [email_key("sign-in", ANA), ip_key("sign-in", "192.0.2.1")])
    def test_contain_no_personal_data(self, key: bytes) -> None:
        assert len(key) == 32
        assert b"ana" not in key
        assert b"192" not in key

    @given(st.text(st.characters(exclude_categories=())))
    def test_exist_for_any_text(self, text: str) -> None:
        assert len(email_key("sign-in", Email(text))) == 32

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
            ("2001:db8::1", "2001:DB8:0:0::2", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("192.0.2.1", "192.0.2.2", False),
            ("a proxy", "a proxy", True),
            ("a proxy", "another proxy", False),
        ],
    )
    def test_are_the_same_for_one_network_of_ipv6(
        self, one: str, other: str, *, same: bool
    ) -> None:
        assert (ip_key("sign-in", one) == ip_key("sign-in", other)) is same


class TestAccessThrottles:
    def test_have_a_longest_window(self) -> None:
        rules = [
            ThrottleRule(limit=1, window=MINUTE),
            ThrottleRule(limit=1, window=HOUR),
            ThrottleRule(limit=1, window=SECOND),
        ]
        for shift in range(3):
            email, ip, sign_up = rules[shift:] + rules[:shift]
            throttles = AccessThrottles(sign_in_email=email, sign_in_ip=ip, sign_up_ip=sign_up)
            assert throttles.longest_window == HOUR

    def test_have_none_if_they_are_off(self) -> None:
        throttles = AccessThrottles(sign_in_email=None, sign_in_ip=None, sign_up_ip=None)
        assert throttles.longest_window == 0 * SECOND
