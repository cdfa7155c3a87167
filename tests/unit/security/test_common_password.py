from importlib.resources import files

import pytest

from app.domain.customer import PASSWORD_MIN, Email, Password, fold
from app.domain.outcome import WeakPassword
from app.infra.security.common_password import common_passwords

EMAIL = Email.parse("ana@example.test")


class TestCommonPasswords:
    @pytest.mark.parametrize(
        "text",
        [
            "12345678",
            "password1",
            "Password1",
            "QWERTYUIOP",
            "senha123",
            "Senha123",
            "brasil123",
            "Mudar123",
            "flamengo10",
            "coração1",
            "CORAÇÃO1",
            "corac\u0327a\u0303o1",
            "amordaminhavida",
        ],
    )
    def test_cannot_be_chosen(self, text: str) -> None:
        with pytest.raises(WeakPassword):
            Password.chosen(text, email=EMAIL, common=common_passwords())

    @pytest.mark.parametrize("text", ["correct horse battery staple", "cavalo certo", "😀" * 8])
    def test_allow_other_passwords(self, text: str) -> None:
        assert Password.chosen(text, email=EMAIL, common=common_passwords()).value == text

    def test_are_more_than_the_3000_that_owasp_requires(self) -> None:
        """ASVS 5.0, 6.2.4: the top 3000 that satisfy the other rules."""
        assert sum(len(text) >= PASSWORD_MIN for text in common_passwords()) >= 3000

    def test_are_case_folded_without_comments(self) -> None:
        listed = common_passwords()
        assert all(text == fold(text) and text == text.strip() for text in listed)
        assert not any(text.startswith("#") for text in listed)

    def test_are_listed_with_their_source_and_license(self) -> None:
        text = files("app.infra.security").joinpath("common_passwords.txt").read_text("utf-8")
        head = text.partition("\n\n")[0]
        assert all(line.startswith("#") for line in head.splitlines())
        assert "Source: https://github.com/dropbox/zxcvbn" in head
        assert "License (MIT)" in head
        assert "Permission is hereby granted" in head
