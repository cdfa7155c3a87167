"""Strict parsing of JSON bodies."""

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from typing_extensions import override

from app.infra.http.problem import (
    FieldError,
    MalformedBody,
    UnsupportedMediaType,
    ValidationFailed,
    pointer,
)

_DEPTH_MAX = 32


class StrictRequest(Request):
    """A request whose JSON body is parsed strictly by RFC 8259 and RFC 7493 (I-JSON)."""

    @override
    async def json(self) -> Any:
        """
        Parse the body.

        :raises MalformedBody: if it is not JSON in UTF-8, has duplicate members, NaN or Infinity,
            or is nested too deeply
        :raises ValidationFailed: if a string contains U+0000 or an unpaired surrogate
        """
        try:
            parsed = json.loads(
                (await self.body()).decode(),
                object_pairs_hook=_unique_members,
                parse_constant=_refuse_constant,
            )
        except (ValueError, RecursionError) as error:
            raise MalformedBody("The body is not valid JSON.") from error
        if faults := list(_faults(parsed)):
            raise ValidationFailed(faults)
        members = parsed if isinstance(parsed, dict) else ()
        self.scope["state"]["body_members"] = frozenset(members)
        return parsed


class StrictRoute(APIRoute):
    """A route that accepts only strict JSON that is declared as such."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if takes_body and await strict.body():
                _check_media_type(strict)
            return await handle(strict)

        return handle_strictly


def declared_media_type(request: Request) -> str | None:
    """Return the media type of the body in lower case; None without exactly one, in UTF-8."""
    declared = request.headers.getlist("content-type")
    media_type, _, parameters = (declared[0] if len(declared) == 1 else "").lower().partition(";")
    other_charset = "charset" in parameters and "utf-8" not in parameters
    return None if other_charset else media_type.strip() or None


def _check_media_type(request: Request) -> None:
    if declared_media_type(request) != "application/json":
        raise UnsupportedMediaType("The body has to be sent as `Content-Type: application/json`.")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _refuse_constant(_: str) -> None:
    raise ValueError("not a JSON number")


def _faults(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[FieldError]:
    if len(at) > _DEPTH_MAX:
        raise MalformedBody(f"The body is nested more than {_DEPTH_MAX} levels deep.")
    match value:
        case str():
            if (fault := _text_fault(value)) is not None:
                yield {"pointer": pointer(*at), **fault}
        case dict():
            for name, member in value.items():
                if (fault := _text_fault(name)) is not None:
                    yield {"pointer": pointer(*at), **fault}
                else:
                    yield from _faults(member, (*at, name))
        case list():
            for index, item in enumerate(value):
                yield from _faults(item, (*at, index))
        case _:
            pass


def _text_fault(text: str) -> FieldError | None:
    if "\0" in text:
        return {"detail": "Text must not contain U+0000.", "code": "string_nul"}
    if any("\ud800" <= character <= "\udfff" for character in text):
        return {"detail": "Text must not contain an unpaired surrogate.", "code": "string_unicode"}
    return None
