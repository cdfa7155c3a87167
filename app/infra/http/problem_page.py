"""The pages that a problem's `type` leads to."""

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
    # The request as such
    "malformed_request": "The path or the query is not UTF-8, or holds U+0000.",
    "request_timeout": "Head and body of a request have to arrive within some seconds each. Send "
    "it again, faster, on a new connection.",
    "head_too_large": "The request line and all headers together have at most 64 KiB; check the "
    "cookies and the query.",
    "server_busy": "Nothing was done. Wait as long as Retry-After says and try again.",
    "malformed_body": "Send one JSON text in UTF-8, without repeated members, NaN or Infinity; "
    "or, where CSV is taken, lines in UTF-8.",
    "invalid_cursor": "Cursors are good for the list they came from, unchanged and with the same "
    "filters. Begin again without one.",
    "cors_refused": "The service has a list of the origins whose pages may ask it something.",
    "route_not_found": "Look at the path: there is an OpenAPI document at /openapi.json.",
    "method_not_allowed": "The header Allow names the methods that are possible at this path.",
    "body_too_large": "Bodies have at most 64 KiB.",
    "unsupported_media_type": "Send JSON and say so: Content-Type: application/json. Imports may "
    "be text/csv.",
    "validation_failed": "The member errors names each fault: where it is, what is wrong, and a "
    "code for programs.",
    "precondition_failed": "If-Match named another version than the current one. Read the "
    "resource again and decide anew.",
    # Values
    "invalid_name": "A name has 1 to 100 characters after trimming, none of them a control "
    "character.",
    "invalid_email": "The address could not receive mail.",
    "weak_password": "A password has 8 to 128 characters, is not among the most common ones and "
    "is neither the e-mail address nor the service's name.",
    # Who asks
    "missing_credentials": "Sign in and send the cookie, or the token as Authorization: Bearer; "
    "internal systems send an API key.",
    "invalid_credentials": "There is no account with this address and this password.",
    "invalid_token": "The access token is malformed, has expired, or its session has ended; or "
    "several credentials were shown that differ. Refresh the session or sign in again.",
    "invalid_refresh_token": "The refresh token is unknown, has expired, or was used before. "
    "Sign in again.",
    "invalid_api_key": "The API key is malformed, unknown, revoked or has expired.",
    # What they may do
    "insufficient_scope": "Ask for a key with the scope that the detail names.",
    "admin_only": "Signed-in customers see their own account only.",
    "customer_only": "This concerns one's own account, which an API key has not.",
    "wrong_password": "To change a password one has to know the current one.",
    "cross_site_request": "The browser said that a page of another site began this request.",
    # What there is
    "customer_not_found": "The account does not exist, or is somebody else's.",
    "session_not_found": "The session has ended, or is somebody else's.",
    "product_not_found": "The catalog says that it has no product of this id.",
    "favorite_not_found": "The customer has not marked this product.",
    "email_taken": "Sign in instead, or use another address.",
    "too_many_pending": "While the catalog cannot be asked, only so many favorites can wait for "
    "it. Try again later.",
    "favorites_full": "Remove a favorite to make room for another.",
    "changes_forgotten": "Removals are remembered for a limited time. Ask again without since, at "
    "the address in start_over, and replace what you hold by what you get.",
    # Not now
    "too_many_attempts": "Wait as long as Retry-After says.",
    "rate_limited": "Wait as long as Retry-After says.",
    "catalog_unavailable": "The catalog does not answer and no copy of the product is known. "
    "Try again after Retry-After.",
    "storage_unavailable": "Try again after Retry-After.",
    "hashing_busy": "Passwords are checked a few at a time. Try again after Retry-After.",
    "internal_error": "The error has been logged under the request id; tell it to support.",
}
"""What each problem means, and what to do about it."""

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
    raise RouteNotFound("There is no problem of this code.")


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
