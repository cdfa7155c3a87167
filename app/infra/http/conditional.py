"""Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13)."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.domain.customer import Customer, CustomerId
from app.domain.favorite import ListVersion
from app.domain.outcome import PreconditionFailed

_REVALIDATED = {"Cache-Control": "private, no-cache"}
_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')
_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)


def customer_etag(customer: Customer) -> str:
    """Return the tag of a customer's version, with their id: `me` depends on the caller."""
    return f'"{customer.id.hex}-{customer.version}"'


def unchanged(request: Request, customer: Customer) -> Response | None:
    """Return 304 if the client holds the current version already, else None."""
    current = customer_etag(customer)
    condition = IfNoneMatch.of(request.scope)
    if condition is None or not condition.met_by(current):
        return None
    return Response(status_code=304, headers=validators(current))


def validators(tag: str) -> dict[str, str]:
    """Return the header fields of an answer with a tag: store it, and revalidate each time."""
    return {"ETag": tag, **_REVALIDATED}


def validator_fields(tag: str) -> list[tuple[bytes, bytes]]:
    """Return the same as ASGI has them."""
    return [(b"etag", tag.encode("latin-1")), (b"cache-control", b"private, no-cache")]


@dataclass(frozen=True, slots=True)
class IfNoneMatch:
    """The tags that a client holds; `*` matches any current answer."""

    any: bool
    tags: frozenset[str]

    @classmethod
    def of(cls, scope: Scope) -> "IfNoneMatch | None":
        """Read the condition of a request, several fields as one; None without any."""
        sent = [value for name, value in scope["headers"] if name == b"if-none-match"]
        if not sent:
            return None
        field = ", ".join(value.decode("latin-1") for value in sent).strip()
        return cls(field == "*", frozenset(_tags(field, weakly=True)))

    def met_by(self, tag: str) -> bool:
        """Tell whether the client holds the answer with a tag, by weak comparison."""
        return self.any or tag.removeprefix("W/") in self.tags


class ListTags:
    """
    The tags of answers about one list, for one request.

    A tag is made of the list's version and of what was requested, never of the credentials. It is
    weak: a copy of a product that was fetched again without a difference, or is due for that, is
    the same to a reader. It names the version of the service, as the next one may write the same
    list in another way.
    """

    def __init__(self, scope: Scope, customer_id: CustomerId) -> None:
        self._prefix = f'W/"{customer_id.hex}-'
        self._requested = _requested(scope)

    def tag(self, version: ListVersion, *more: int) -> str:
        """Return the tag of the answer about a version, which depends on `more` numbers too."""
        numbers = (*more, version.favorites, version.catalog)
        return f'{self._prefix}{"-".join(map(str, numbers))}-{self._requested}"'

    def held(self, condition: IfNoneMatch | None) -> Callable[[ListVersion], bool] | None:
        """Return a test whether the client has the response for a version; None if it has none."""
        if condition is None:
            return None
        return lambda version: condition.met_by(self.tag(version))


def _requested(scope: Scope) -> str:
    service, path, query = scope["app"].version, scope["path"], scope["query_string"]
    digest = _kept_digest if len(query) < _QUERY_KEPT else _digest
    return digest(service, path, query)


def _digest(service: str, path: str, query: bytes) -> str:
    return hashlib.blake2s(f"{service} {path}?".encode() + query, digest_size=8).hexdigest()


# Most requests are for the same few paths, without a query or with a short one.
_QUERY_KEPT = 100
_kept_digest = lru_cache(maxsize=512)(_digest)


def expected_version(request: Request, customer_id: CustomerId) -> int | None:
    """
    Return the version that `If-Match` requires; None if it requires none.

    Of several the highest: no other can be current any more.

    :raises PreconditionFailed: if it names no version of this customer
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
