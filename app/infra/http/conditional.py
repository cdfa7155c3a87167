"""Versions of customers as entity tags (RFC 9110, sections 8.8.3 and 13)."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.domain.customer import Customer, CustomerId
from app.domain.outcome import PreconditionFailed
from app.infra.http.lately_shown import note_shown, was_shown_lately

T = TypeVar("T")

_REVALIDATED = {"Cache-Control": "private, no-cache"}
_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')
_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)


def customer_etag(customer: Customer) -> str:
    """Name a customer's version; with their id, for `me` is somebody else for everybody."""
    return f'"{customer.id.hex}-{customer.version}"'


def unchanged(request: Request, customer: Customer) -> Response | None:
    """Return 304 if the client holds the current version already, else None."""
    current = customer_etag(customer)
    if not (_any_will_do(request) or _is_known(request, current)):
        return None
    return Response(status_code=304, headers=validators(current))


def validators(tag: str) -> dict[str, str]:
    """Return the headers of an answer that has a tag: keep it, but ask each time."""
    return {"ETag": tag, **_REVALIDATED}


@dataclass(frozen=True, slots=True)
class ListState:
    """
    The numbers that an answer about a list depends on.

    `exists` tells that they could not be those of a customer who does not exist.
    """

    numbers: Sequence[int]
    exists: bool


@dataclass(frozen=True, slots=True)
class Revalidation:
    """
    Answer 304 to a client that holds what a list's owner would be shown, mostly before making it.

    The tag is made of the list's state and of what was asked for, so that it says that this very
    resource was there; never of the credentials. It is weak: a copy of a product that was fetched
    anew without a difference, or is due for another, is still the same to a reader.
    """

    request: Request
    response: Response
    customer_id: CustomerId
    state: Callable[[], Awaitable[ListState]]

    async def answer(
        self,
        make: Callable[[], Awaitable[T]],
        *,
        may_be_absent: bool = False,
        may_be_due: bool = True,
    ) -> T | Response:
        """
        Return what `make` does, with its tag, unless the client knows it already.

        The state is read first: of a change in between, the tag is too old and never too new. If
        the resource `may_be_absent` although the list is there, `*` alone does not tell. What is
        in it `may_be_due` for another look at the catalog, so that it is made once in a while.
        """
        state = await self.state()
        tag = self._tag(state.numbers)
        known, any_will_do = _is_known(self.request, tag), _any_will_do(self.request)
        if (
            state.exists
            and (known or (any_will_do and not may_be_absent))
            and (not may_be_due or was_shown_lately(self.request.scope, tag))
        ):
            return Response(status_code=304, headers=validators(tag))
        made = await make()
        if may_be_due:
            note_shown(self.request.scope, tag)
        if known or any_will_do:
            return Response(status_code=304, headers=validators(tag))
        self.response.headers.update(validators(tag))
        return made

    def _tag(self, numbers: Sequence[int]) -> str:
        return list_tag(
            self.customer_id,
            numbers,
            path=self.request.url.path,
            query=self.request.scope["query_string"],
            service=self.request.app.version,
        )


def list_tag(
    customer_id: CustomerId, numbers: Sequence[int], *, path: str, query: bytes, service: str
) -> str:
    """
    Name what somebody would be shown of a list: by the numbers it depends on, and what was asked.

    With the version of the service, for the next one may show the same list in another way.
    """
    find = _asked if len(query) < _QUERY_KEPT else _hash
    asked = find(service, path, query)
    return f'W/"{customer_id.hex}-{"-".join(map(str, numbers))}-{asked}"'


def _hash(service: str, path: str, query: bytes) -> str:
    return hashlib.blake2s(f"{service} {path}?".encode() + query, digest_size=8).hexdigest()


# Most ask for the same few things, without a query or with a short one.
_QUERY_KEPT = 100
_asked = lru_cache(maxsize=512)(_hash)


def if_none_match(scope: Scope) -> str:
    """Return what a request says that it knows, several fields as one; empty without any."""
    return ", ".join(
        value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"
    ).strip()


def _any_will_do(request: Request) -> bool:
    return if_none_match(request.scope) == "*"


def _is_known(request: Request, tag: str) -> bool:
    return is_known(if_none_match(request.scope), tag)


def is_known(header: str, tag: str) -> bool:
    """Whether `If-None-Match` names a tag, compared weakly; `*` is not for this to say."""
    return tag.removeprefix("W/") in _tags(header, weakly=True)


def expected_version(request: Request, customer_id: CustomerId) -> int | None:
    """
    Return the version that `If-Match` asks for; None if any will do.

    Of several the highest: no other can be current any more.

    :raises PreconditionFailed: if it names none of this customer's
    """
    header = ", ".join(request.headers.getlist("if-match"))
    if not header or header.strip() == "*":
        return None
    prefix = f'"{customer_id.hex}-'
    versions = [
        int(version)
        for tag in _tags(header, weakly=False)
        if tag.startswith(prefix) and _VERSION.fullmatch(version := tag[len(prefix) : -1])
    ]
    if not versions:
        raise PreconditionFailed("`If-Match` names no version of this customer.")
    return max(versions)


def _tags(header: str, *, weakly: bool) -> set[str]:
    return {
        f'"{match["opaque"]}"' for match in _TAG.finditer(header) if weakly or not match["weak"]
    }
