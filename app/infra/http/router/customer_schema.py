"""Customers in requests and responses."""

from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field, WithJsonSchema

from app.domain.customer import EMAIL_MAX, NAME_MAX, PASSWORD_MAX, PASSWORD_MIN, Email, Role
from app.infra.http.schema import NO_NUL, Out, TimeOut

_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_NAME = rf"^[^{_CONTROLS}]*[^\s{_CONTROLS}][^{_CONTROLS}]*$"

# The domain has the rules. These document them, and bound the length of what it has to check.
NameIn = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4 * NAME_MAX,
        json_schema_extra={"maxLength": NAME_MAX, "pattern": _NAME},
        examples=["Ana Souza"],
    ),
]
EmailIn = Annotated[
    str,
    Field(
        min_length=3,
        max_length=4 * EMAIL_MAX,
        json_schema_extra={"format": "email", "maxLength": EMAIL_MAX},
        examples=["ana@example.com"],
    ),
]
NewPassword = Annotated[
    str,
    Field(
        # The domain counts the composed form (NFC), which may be shorter.
        max_length=8 * PASSWORD_MAX,
        json_schema_extra={
            "minLength": PASSWORD_MIN,
            "maxLength": PASSWORD_MAX,
            "format": "password",
            "pattern": NO_NUL,
        },
        examples=["uma senha bem longa"],
    ),
]
GivenPassword = Annotated[
    str,
    Field(
        max_length=8 * PASSWORD_MAX,
        json_schema_extra={"format": "password", "pattern": NO_NUL},
        examples=["uma senha bem longa"],
    ),
]


def _address(email: object) -> object:
    return email.value if isinstance(email, Email) else email


class CustomerOut(Out):
    """A customer."""

    id: UUID
    name: str
    email: Annotated[
        str, BeforeValidator(_address), WithJsonSchema({"type": "string", "format": "email"})
    ]
    role: Role
    created_at: TimeOut
    updated_at: TimeOut
