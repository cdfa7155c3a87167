"""Versions of customers as entity tags (RFC 9110, sections 8.8.3 and 13)."""

import re

from starlette.requests import Request
from starlette.responses import Response

from app.domain.customer import Customer, CustomerId
from app.domain.outcome import PreconditionFailed

_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')
_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)


def customer_etag(customer: Customer) -> str:
    """Name a customer's version; with their id, for `me` is somebody else for everybody."""
    return f'"{customer.id.hex}-{customer.version}"'


def unchanged(request: Request, customer: Customer) -> Response | None:
    """Return 304 if the client holds the current version already, else None."""
    header = ", ".join(request.headers.getlist("if-none-match"))
    current = customer_etag(customer)
    if header.strip() != "*" and current not in _tags(header, weakly=True):
        return None
    return Response(
        status_code=304, headers={"ETag": current, "Cache-Control": "private, no-cache"}
    )


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
