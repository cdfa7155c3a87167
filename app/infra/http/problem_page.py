"""The pages at the address that is the `type` of a problem."""

from collections.abc import Mapping
from html import escape

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.infra.http.problem import (
    ProblemType,
    RouteNotFound,
    concrete_problems,
    status_of,
)

MEANING: Mapping[str, str] = {
    # Requests that are not valid HTTP or not valid for the operation
    "malformed_request": "The path or the query is not UTF-8, or contains U+0000.",
    "request_timeout": "The head and the body of a request each have to arrive within a time-out. "
    "Send the request again on a new connection.",
    "head_too_large": "The request line and all header fields together have at most 64 KiB. Check "
    "the cookies and the query.",
    "server_busy": "The request was not processed. Try again after Retry-After.",
    "malformed_body": "Send one JSON text in UTF-8, without duplicate members, NaN or Infinity. "
    "Where CSV is accepted, send it in UTF-8.",
    "invalid_cursor": "A cursor is valid only for the list that it came from, unchanged and with "
    "the same filters. Start again without a cursor.",
    "cors_refused": "Only pages of the configured origins may send requests to this service.",
    "route_not_found": "Check the path. The OpenAPI document is at /openapi.json.",
    "method_not_allowed": "The header field Allow lists the methods that this path supports.",
    "body_too_large": "The body is larger than the maximum, which the detail contains.",
    "unsupported_media_type": "Send JSON with Content-Type: application/json. Imports also accept "
    "text/csv.",
    "validation_failed": "The member errors lists each fault: where it is, what is wrong, and a "
    "code for programs.",
    "precondition_failed": "If-Match did not name the current version. Read the resource again, "
    "and repeat the change if it still applies.",
    # Values
    "invalid_name": "A name has 1 to 100 characters after trimming, and no control characters.",
    "invalid_email": "The address is not a valid e-mail address.",
    "weak_password": "A password has 8 to 128 characters. It must not be one of the most common "
    "passwords, the e-mail address or the name of the service.",
    # Authentication
    "missing_credentials": "Sign in and send the cookie, or send the token as Authorization: "
    "Bearer. Internal systems send an API key.",
    "invalid_credentials": "There is no account with this address and this password.",
    "invalid_token": "The access token is malformed or has expired, or its session has ended; or "
    "the request has several credentials that differ. Refresh the session or sign in again.",
    "invalid_refresh_token": "The refresh token is unknown, has expired, or was used before. "
    "Sign in again.",
    "invalid_api_key": "The API key is malformed, unknown, revoked or expired.",
    # Authorization
    "insufficient_scope": "The API key does not have the scope that the detail names.",
    "admin_only": "Customers may read and change only their own account.",
    "customer_only": "This operation is for signed-in customers, not for API keys.",
    "wrong_password": "The current password is required to change the password.",
    "cross_site_request": "A page of another site initiated the request.",
    # Resources
    "customer_not_found": "The account does not exist or belongs to another customer.",
    "session_not_found": "The session has ended or belongs to another customer.",
    "product_not_found": "The catalog has no product with this id.",
    "favorite_not_found": "The product is not one of the customer's favorites.",
    "email_taken": "An account with this address exists. Sign in, or use another address.",
    "too_many_pending": "While the catalog is unavailable, the number of favorites that wait for "
    "it is limited. Try again later.",
    "favorites_full": "The list has the maximum number of favorites. Remove one before adding "
    "another.",
    "changes_forgotten": "Removals are kept for a limited time. Request the address in "
    "start_over, and replace the local copy of the list by the response.",
    # Try again later
    "too_many_attempts": "Try again after Retry-After.",
    "rate_limited": "Try again after Retry-After.",
    "catalog_unavailable": "The catalog does not respond, and there is no copy of the product. "
    "Try again after Retry-After.",
    "storage_unavailable": "Try again after Retry-After.",
    "hashing_busy": "The number of passwords that are verified at the same time is limited. Try "
    "again after Retry-After.",
    "internal_error": "The error has been logged under the request id. Send that id to support.",
}
"""What each problem means, and how to solve it."""

router = APIRouter(prefix="/problems", include_in_schema=False)

_CACHED = {"Cache-Control": "public, max-age=3600", "Vary": "Accept"}


@router.get("")
async def list_problems(request: Request) -> Response:
    kinds = {kind.code: kind for kind in concrete_problems()}
    items = [_described(kinds[code]) for code in sorted(kinds)]
    rows = "".join(
        f'<li><a href="/problems/{item["code"]}">{item["code"]}</a> ({item["status"]}): '
        f"{escape(str(item['title']))}</li>"
        for item in items
    )
    return _page(request, "Problems", f"<ul>{rows}</ul>", {"items": items})


@router.get("/{code}")
async def read_problem(request: Request, code: str) -> Response:
    for kind in concrete_problems():
        if kind.code == code:
            item = _described(kind)
            body = f"<p>{escape(str(item['meaning']))}</p><p>Status {item['status']}</p>"
            return _page(request, kind.title, body, item)
    raise RouteNotFound("There is no problem with this code.")


def _described(kind: ProblemType) -> dict[str, str | int]:
    return {
        "type": f"/problems/{kind.code}",
        "code": kind.code,
        "title": kind.title,
        "status": status_of(kind).value,
        "meaning": MEANING[kind.code],
    }


def _page(request: Request, title: str, body: str, content: object) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(content, headers=_CACHED)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1>{body}</html>",
        headers=_CACHED,
    )
