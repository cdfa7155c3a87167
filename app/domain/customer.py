"""Customers, and the rules for their names, addresses and passwords."""

import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType, Self
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

from app.domain.outcome import InvalidEmail, InvalidName, WeakPassword
from app.domain.page import DEFAULT_LIMIT, Position

CustomerId = NewType("CustomerId", UUID)
PasswordHash = NewType("PasswordHash", str)

NAME_MAX = 100
EMAIL_MAX = 254
PASSWORD_MIN, PASSWORD_MAX = 8, 128


class Role(StrEnum):
    """The role of a customer: an administrator may act on all accounts."""

    CUSTOMER = "customer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Email:
    """
    An e-mail address, compared without regard to case.

    `parse` is for input; the constructor is for addresses that were parsed before.
    """

    value: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Trim, check the syntax (RFC 5321, RFC 6531) and normalize to NFC.

        :raises InvalidEmail: if it is not a valid address
        """
        try:
            # The domain .test (RFC 6761) is accepted: no mail is sent.
            checked = validate_email(
                text.strip(), check_deliverability=False, test_environment=True, strict=True
            )
        except (EmailNotValidError, UnicodeError) as error:
            raise InvalidEmail("This is not a valid e-mail address") from error
        if len(checked.normalized) > EMAIL_MAX:
            raise InvalidEmail(f"An e-mail address has at most {EMAIL_MAX} characters")
        return cls(checked.normalized)

    @property
    def key(self) -> str:
        """The form in which equal addresses are compared."""
        return fold(self.value)


@dataclass(frozen=True, slots=True)
class Password:
    """
    A password in plain text, only kept while it is hashed.

    Normalized to NFC (RFC 8265, OpaqueString), so that keyboards that compose accents in different
    ways yield the same password.
    """

    value: str = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", unicodedata.normalize("NFC", self.value))

    @classmethod
    def chosen(cls, text: str, *, email: Email, common: frozenset[str]) -> Self:
        """
        Accept a new password by the current rules.

        :raises WeakPassword: if it is too short, too long, common, the e-mail or the service's
            name
        """
        password = cls(text)
        if not PASSWORD_MIN <= len(password.value) <= PASSWORD_MAX:
            raise WeakPassword(
                f"A password has {PASSWORD_MIN} to {PASSWORD_MAX} characters, any at all"
            )
        folded = fold(password.value)
        if folded in {email.key, email.key.partition("@")[0], "aiqfome", "favorites"}:
            raise WeakPassword("A password may not be the e-mail address or the service's name")
        if folded in common:
            raise WeakPassword("This password is among the most common ones")
        return password


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """
    A registered customer.

    `password_hash` is None for an account managed by internal systems: sign-in is not possible.
    `version` counts the changes.
    """

    id: CustomerId
    name: str
    email: Email
    password_hash: PasswordHash | None = field(repr=False)
    role: Role = Role.CUSTOMER
    created_at: datetime
    updated_at: datetime
    version: int = 1

    @classmethod
    def register(
        cls,
        *,
        id: CustomerId,
        name: str,
        email: Email,
        password_hash: PasswordHash | None,
        now: datetime,
        role: Role = Role.CUSTOMER,
    ) -> Self:
        """
        Create a customer now.

        :raises InvalidName: if the name is not acceptable
        """
        return cls(
            id=id,
            name=checked_name(name),
            email=email,
            password_hash=password_hash,
            role=role,
            created_at=now,
            updated_at=now,
        )

    def changed(self, *, name: str | None, email: Email | None, now: datetime) -> Self:
        """
        Return this customer with another name or address; None leaves it unchanged.

        :raises InvalidName: if the name is not acceptable
        """
        return replace(
            self,
            name=self.name if name is None else checked_name(name),
            email=self.email if email is None else email,
            updated_at=now,
            version=self.version + 1,
        )

    def with_password(self, password_hash: PasswordHash, *, now: datetime) -> Self:
        """Return this customer with another password."""
        return replace(self, password_hash=password_hash, updated_at=now, version=self.version + 1)


def checked_name(text: str) -> str:
    """
    Trim a name and check it: 1 to 100 characters, none of them a control character.

    :raises InvalidName: if it breaks one
    """
    name = text.strip()
    if not 1 <= len(name) <= NAME_MAX:
        raise InvalidName(f"A name has 1 to {NAME_MAX} characters")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        raise InvalidName("A name has no control characters")
    return name


def fold(text: str) -> str:
    """Return the form of a text in which upper and lower case, composed or not, are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class CustomerSort(StrEnum):
    """The orders of a list of customers; a leading minus means descending."""

    OLDEST = "created_at"
    NEWEST = "-created_at"
    NAME = "name"
    EMAIL = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerQuery:
    """
    Which customers to list.

    All given conditions have to be met. `name` is a prefix and `email` the whole address, both
    case aside; `created_after` and `created_before` exclude the moment itself.
    """

    email: str | None = None
    name: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    role: Role | None = None
    sort: CustomerSort = CustomerSort.OLDEST
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
