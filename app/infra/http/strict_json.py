"""Bodies that mean one thing only, to every parser."""

import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from enum import Enum
from typing import Any

from fastapi import Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute, APIRouter
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
    """A request whose JSON is read by the letter of RFC 8259 and RFC 7493 (I-JSON)."""

    @override
    async def json(self) -> Any:
        """
        Parse the body.

        :raises MalformedBody: if it is not JSON in UTF-8, repeats a member of an object, holds NaN
            or Infinity, or is nested too deeply
        :raises ValidationFailed: if a string in it holds U+0000 or half a surrogate pair
        """
        try:
            parsed = json.loads(
                (await self.body()).decode(),
                object_pairs_hook=_members_once,
                parse_constant=_refuse_constant,
            )
        except (ValueError, RecursionError) as error:
            raise MalformedBody("The body is not a JSON text that can be read.") from error
        if faults := list(_faults(parsed)):
            raise ValidationFailed(faults)
        members = parsed if isinstance(parsed, dict) else ()
        self.scope["state"]["body_members"] = frozenset(members)
        return parsed


class StrictRoute(APIRoute):
    """A route that takes JSON only if it is declared as such, and strictly."""

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


class StrictRouter(APIRouter):
    """Strict routes; operations have the names of functions, short and stable for clients."""

    def __init__(
        self, *, prefix: str, tags: list[str | Enum], dependencies: Sequence[Depends] = ()
    ) -> None:
        super().__init__(
            prefix=prefix,
            tags=tags,
            dependencies=dependencies,
            route_class=StrictRoute,
            generate_unique_id_function=lambda route: route.name,
        )


def declared_media_type(request: Request) -> str | None:
    """Return what the body is declared as, in lower case; None unless it is one, in UTF-8."""
    declared = request.headers.getlist("content-type")
    media_type, _, parameters = (declared[0] if len(declared) == 1 else "").lower().partition(";")
    foreign = "charset" in parameters and "utf-8" not in parameters
    return None if foreign else media_type.strip() or None


def _check_media_type(request: Request) -> None:
    if declared_media_type(request) != "application/json":
        raise UnsupportedMediaType("The body has to be sent as `Content-Type: application/json`.")


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
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
        return {"detail": "Text may not hold U+0000.", "code": "string_nul"}
    if any("\ud800" <= character <= "\udfff" for character in text):
        return {"detail": "Text may not hold half a surrogate pair.", "code": "string_unicode"}
    return None
