from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.access import CustomerPrincipal, PresentedApiKey, Scope, ServicePrincipal
from app.domain.customer import Role
from app.domain.outcome import InvalidApiKey
from app.domain.session import SessionId
from tests import make
from tests.make import HOUR, NOW

TICK = timedelta(microseconds=1)
SECRET = "0123456789abcdef" * 4


class TestPresentedApiKey:
    def test_is_parsed_and_formatted(self) -> None:
        key = PresentedApiKey.parse(f"aiq_shop1_{SECRET}")
        assert (key.id, key.secret) == ("shop1", SECRET)
        assert str(key) == f"aiq_shop1_{SECRET}"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "aiq_",
            "aiq__" + SECRET,
            "aiq_shop1_",
            "aiq_shop1_" + SECRET[:-1],
            "aiq_shop1_" + SECRET + "0",
            "aiq_shop1_" + SECRET.upper(),
            "aiq_shop1_" + SECRET[:-1] + "g",
            "aiq_SHOP_" + SECRET,
            "aiq_sh_op_" + SECRET,
            "aiq_" + "a" * 33 + "_" + SECRET,
            "AIQ_shop1_" + SECRET,
            "xaiq_shop1_" + SECRET,
            " aiq_shop1_" + SECRET,
            "aiq_shop1_" + SECRET + "\n",
            "aiq_shop1_" + SECRET + "\x00",
            "aiq_shöp1_" + SECRET,
            "aiq_shop1_" + "\u0663" * 64,
            "aiq_shop\ud8001_" + SECRET,
        ],
    )
    def test_is_refused_in_any_other_form(self, text: str) -> None:
        with pytest.raises(InvalidApiKey) as refused:
            PresentedApiKey.parse(text)
        assert SECRET not in str(refused.value)

    @given(st.binary() | st.binary().map(b"aiq_a_".__add__))
    def test_raises_no_other_exception(self, data: bytes) -> None:
        for text in (data.decode("latin-1"), data.decode("utf-8", "surrogateescape")):
            with pytest.raises(InvalidApiKey):
                PresentedApiKey.parse(text)

    @given(st.from_regex(r"aiq_[a-z0-9]{1,32}_[0-9a-f]{64}", fullmatch=True))
    def test_is_written_as_it_was_read(self, text: str) -> None:
        assert str(PresentedApiKey.parse(text)) == text

    def test_does_not_show_its_secret_in_logs(self) -> None:
        assert SECRET not in repr(make.presented_api_key(secret=SECRET))


class TestApiKey:
    def test_is_usable_until_it_expires(self) -> None:
        key = make.api_key(expires_at=NOW + HOUR)
        assert key.usable(NOW + HOUR - TICK)
        assert not key.usable(NOW + HOUR)

    def test_is_usable_indefinitely_without_an_end(self) -> None:
        assert make.api_key().usable(NOW + timedelta(36500))

    def test_is_not_usable_once_revoked(self) -> None:
        assert not make.api_key(revoked_at=NOW).usable(NOW)
        assert not make.api_key(revoked_at=NOW, expires_at=NOW + HOUR).usable(NOW)

    def test_is_opened_by_its_secret_alone(self) -> None:
        presented = make.presented_api_key(secret=SECRET)
        key = make.api_key(presented=presented)
        assert key.opened_by(presented)
        assert not key.opened_by(replace(presented, secret=SECRET[::-1]))

    def test_does_not_hold_the_secret(self) -> None:
        key = make.api_key(presented=make.presented_api_key(secret=SECRET))
        assert len(key.secret_hash) == 32
        assert bytes.fromhex(SECRET) != key.secret_hash
        assert repr(key.secret_hash) not in repr(key)

    def test_acts_within_its_scopes(self) -> None:
        key = make.api_key(scopes=[Scope.FAVORITES_READ])
        assert key.principal == ServicePrincipal(
            key_id=key.id, scopes=frozenset({Scope.FAVORITES_READ})
        )


class TestCustomerPrincipal:
    @pytest.mark.parametrize(("role", "admin"), [(Role.ADMIN, True), (Role.CUSTOMER, False)])
    def test_is_an_administrator_by_role(self, role: Role, *, admin: bool) -> None:
        principal = CustomerPrincipal(
            customer_id=make.customer_id(), session_id=SessionId(make.uuid()), role=role
        )
        assert principal.is_admin is admin
