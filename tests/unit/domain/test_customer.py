import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import (
    EMAIL_MAX,
    NAME_MAX,
    Customer,
    Email,
    Password,
    PasswordHash,
    Role,
    checked_name,
    fold,
)
from app.domain.outcome import InvalidEmail, InvalidName, WeakPassword
from tests import make
from tests.make import NOW

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates as well


class TestEmail:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("ana@example.com", "ana@example.com"),
            ("  ana@example.com\n", "ana@example.com"),
            ("Ana.Souza@Example.COM", "Ana.Souza@example.com"),
            ("ana+offers@example.com", "ana+offers@example.com"),
            ("joão@exemplo.com.br", "joão@exemplo.com.br"),
            ("joa\u0303o@exemplo.com.br", "joão@exemplo.com.br"),
            ("ana@xn--exmple-cua.com", "ana@exämple.com"),
            ("ana@example.test", "ana@example.test"),
        ],
    )
    def test_is_trimmed_and_normalized(self, text: str, value: str) -> None:
        assert Email.parse(text).value == value

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "   ",
            "ana",
            "@example.com",
            "ana@",
            "ana@@example.com",
            "ana@example",
            "ana@example..com",
            ".ana@example.com",
            "ana souza@example.com",
            "ana@exa mple.com",
            "Ana <ana@example.com>",
            '"ana"@example.com',
            "ana@[127.0.0.1]",
            "ana@localhost",
            "ana@example.com,bia@example.com",
            "ana@example.com\r\nBcc: bia@example.com",
            "ana\r\n@example.com",
            "ana@example.com\x00",
            "a\x00na@example.com",
            "a\ud800na@example.com",
            "ana@ex\udfffample.com",
            "a\u202ena@example.com",
            "a" * 65 + "@example.com",
            "a" * 300 + "@example.com",
            "ana@" + "a" * 300 + ".com",
            "ana@" + ".".join(["a" * 60] * 5) + ".com",
        ],
    )
    def test_is_refused_if_it_could_not_receive_mail(self, text: str) -> None:
        with pytest.raises(InvalidEmail):
            Email.parse(text)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("ana@example.com", "ANA@EXAMPLE.COM"),
            ("joão@example.com", "JOA\u0303O@example.com"),
            ("straße@example.com", "STRASSE@example.com"),
        ],
    )
    def test_has_the_same_key_case_aside(self, one: str, other: str) -> None:
        assert Email.parse(one).key == Email.parse(other).key

    def test_has_another_key_otherwise(self) -> None:
        assert Email.parse("ana@example.com").key != Email.parse("ana+1@example.com").key

    def test_does_not_show_in_logs(self) -> None:
        assert "ana" not in repr(Email.parse("ana@example.com"))
        assert "ana" not in repr(make.customer(email="ana@example.com"))

    @given(ANY_TEXT)
    def test_raises_no_other_exception(self, text: str) -> None:
        try:
            email = Email.parse(text)
        except InvalidEmail:
            return
        assert len(email.value) <= EMAIL_MAX

    @given(st.emails())
    def test_stays_the_same_when_parsed_again(self, text: str) -> None:
        try:
            email = Email.parse(text)
        except InvalidEmail:
            return
        assert Email.parse(email.value) == email


EMAIL = Email.parse("Ana.Souza@example.com")
COMMON = frozenset({"password123", "12345678"})


class TestPassword:
    @pytest.mark.parametrize(
        "text",
        [
            "a" * 8,
            "a" * 128,
            "correct horse battery staple",
            "        ",
            "ñandú🐦\x00\n",
            "pass\ud800word",
            "👩‍👩‍👧" * 2,
        ],
    )
    def test_may_hold_any_characters(self, text: str) -> None:
        assert Password.chosen(text, email=EMAIL, common=COMMON).value == text

    @pytest.mark.parametrize("length", [0, 1, 7, 129, 100_000])
    def test_has_8_to_128_code_points(self, length: int) -> None:
        with pytest.raises(WeakPassword):
            Password.chosen("ß" * length, email=EMAIL, common=COMMON)

    def test_is_counted_as_it_is_composed(self) -> None:
        assert len(Password.chosen("e\u0301" * 128, email=EMAIL, common=COMMON).value) == 128
        with pytest.raises(WeakPassword):
            Password.chosen("e\u0301" * 7, email=EMAIL, common=COMMON)

    @pytest.mark.parametrize("text", ["password123", "PASSWORD123", "12345678"])
    def test_is_not_a_common_one(self, text: str) -> None:
        with pytest.raises(WeakPassword):
            Password.chosen(text, email=EMAIL, common=COMMON)

    @pytest.mark.parametrize(
        "text", ["ana.souza@example.com", "ANA.SOUZA@EXAMPLE.COM", "Ana.Souza", "Favorites"]
    )
    def test_is_not_the_address_or_the_name_of_the_service(self, text: str) -> None:
        with pytest.raises(WeakPassword):
            Password.chosen(text, email=EMAIL, common=COMMON)

    def test_is_the_same_from_every_keyboard(self) -> None:
        assert Password("cafe\u0301 com leite") == Password("café com leite")

    def test_is_compared_with_case_and_width(self) -> None:
        assert Password("Correct horse") != Password("correct horse")
        assert Password("\uff21" * 8) != Password("A" * 8)

    def test_does_not_show_in_logs(self) -> None:
        assert "horse" not in repr(Password("correct horse"))

    @given(ANY_TEXT)
    def test_raises_no_other_exception(self, text: str) -> None:
        try:
            password = Password.chosen(text, email=EMAIL, common=COMMON)
        except WeakPassword:
            return
        assert Password(password.value) == password

    def test_is_not_quoted_when_it_is_refused(self) -> None:
        with pytest.raises(WeakPassword) as refused:
            Password.chosen("password123", email=EMAIL, common=COMMON)
        assert "password123" not in str(refused.value)


class TestName:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("Ana", "Ana"),
            ("  Ana Souza \t", "Ana Souza"),
            ("\u00a0Zoë\u3000", "Zoë"),
            ("x" * NAME_MAX, "x" * NAME_MAX),
            ("  " + "x" * NAME_MAX + "  ", "x" * NAME_MAX),
            ("李", "李"),
            ("👩‍👩‍👧", "👩‍👩‍👧"),
            ("O'Neil & <b>", "O'Neil & <b>"),
        ],
    )
    def test_is_trimmed(self, text: str, name: str) -> None:
        assert checked_name(text) == name

    @pytest.mark.parametrize(
        "text",
        ["", " ", "\u3000", "x" * (NAME_MAX + 1), "x" * 300]
        + [f"Ana{c}Souza" for c in "\x00\n\r\t\x1b\x7f\x85\u2028\u2029\ud800\udfff"],
    )
    def test_is_refused_if_too_long_empty_or_not_printable(self, text: str) -> None:
        with pytest.raises(InvalidName):
            checked_name(text)

    @given(ANY_TEXT)
    def test_raises_no_other_exception(self, text: str) -> None:
        try:
            name = checked_name(text)
        except InvalidName:
            return
        assert 1 <= len(name) <= NAME_MAX
        assert name in text
        assert checked_name(name) == name
        name.encode()  # storable: no lone surrogates
        assert "\x00" not in name


class TestFold:
    @pytest.mark.parametrize("text", ["Straße", "İstanbul", "ΣΊΣΥΦΟΣ", "CAFÉ", "Cafe\u0301", "ﬁ"])
    def test_makes_case_and_composition_equal(self, text: str) -> None:
        variants = {text, text.upper(), unicodedata.normalize("NFD", text)}
        assert len({fold(variant) for variant in variants}) == 1

    @given(ANY_TEXT)
    def test_is_idempotent(self, text: str) -> None:
        assert fold(fold(text)) == fold(text)


class TestCustomer:
    def test_registers_now(self) -> None:
        id_ = make.customer_id()
        assert Customer.register(
            id=id_, name=" Ana ", email=EMAIL, password_hash=None, now=NOW, role=Role.ADMIN
        ) == Customer(
            id=id_,
            name="Ana",
            email=EMAIL,
            password_hash=None,
            role=Role.ADMIN,
            created_at=NOW,
            updated_at=NOW,
            version=1,
        )

    def test_cannot_register_without_a_name(self) -> None:
        with pytest.raises(InvalidName):
            Customer.register(
                id=make.customer_id(), name="", email=EMAIL, password_hash=None, now=NOW
            )

    def test_changes_only_what_is_given(self) -> None:
        customer, later = make.customer(), NOW + timedelta(1)
        renamed = customer.changed(name=" Bia ", email=None, now=later)
        assert (renamed.name, renamed.email) == ("Bia", customer.email)
        moved = customer.changed(name=None, email=EMAIL, now=later)
        assert (moved.name, moved.email) == (customer.name, EMAIL)
        for changed in (renamed, moved):
            assert (changed.id, changed.role) == (customer.id, customer.role)
            assert (changed.created_at, changed.updated_at) == (NOW, later)
            assert changed.version == customer.version + 1

    def test_cannot_change_to_a_bad_name(self) -> None:
        with pytest.raises(InvalidName):
            make.customer().changed(name="\x00", email=None, now=NOW)

    def test_counts_a_new_password_as_a_change(self) -> None:
        customer = make.customer()
        changed = customer.with_password(PasswordHash("new"), now=NOW + timedelta(1))
        assert changed.password_hash == "new"
        assert changed.updated_at == NOW + timedelta(1)
        assert changed.version == customer.version + 1

    def test_does_not_show_its_secrets_in_logs(self) -> None:
        assert make.PASSWORD_HASH not in repr(make.customer())
