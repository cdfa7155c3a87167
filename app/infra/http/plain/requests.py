"""
The requests that are made most, answered without FastAPI.

What is here is also a route, whose code says what is right: FastAPI reads its parameters, solves
its dependencies and checks its answer against a schema, which for an answer of a few hundred
bytes is most of the work. A request that is plain, well-formed and about one's own, is answered
here by the same guard, the same use case and the same bytes; any other goes on to the route.
`tests/http/test_plain.py` asks both ways and compares.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.access import CustomerPrincipal
from app.domain.customer import CustomerId
from app.domain.favorite import ListVersion
from app.domain.outcome import InvalidToken
from app.domain.page import DEFAULT_LIMIT
from app.domain.product import ProductId
from app.infra.http.access import claimed_by, in_the_name_of
from app.infra.http.conditional import if_none_match, is_known, list_tag, validators
from app.infra.http.lately_shown import note_shown, was_shown_lately
from app.infra.http.middleware.target import is_plain
from app.infra.http.paging import Links
from app.infra.http.plain.fragments import Fragments
from app.infra.http.router.favorite_request import favorites_name
from app.infra.http.router.favorites import favorited_status
from app.infra.http.router.products import product_headers
from app.infra.http.schema import parse_product_id
from app.infra.http.use_cases import wired

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]

_LIMIT = re.compile(rb"limit=([1-9][0-9]?|100)")
_PRODUCT_IDS = re.compile(rb"product_ids=([1-9][0-9]{0,8}(?:,[1-9][0-9]{0,8}){0,99})")
_JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, fields and content of an answer."""

    status: int
    fields: Fields = ()
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """What stands for the route in the log and the metrics."""

    path: str


_PRODUCT = Template("/products/{product_id}")
_LIST = Template("/customers/{id}/favorites")
_CONTAINS = Template("/customers/{id}/favorites/contains")
_FAVORITE = Template("/customers/{id}/favorites/{product_id}")


# What makes the layers between here and the routes look closer: a body, or a page that writes.
_BODY = frozenset({b"content-length", b"transfer-encoding"})
_BODY_OR_PAGE = _BODY | {b"origin", b"sec-fetch-site"}
# Most clients say so of a PUT or a POST without a body (RFC 9110, section 8.6).
_NO_BODY = (b"content-length", b"0")


class PlainRequests:
    """
    Answers plain requests, and lets the others pass.

    It stands before the layers that look for what a plain request does not have: a body, a target
    with escapes, the origin of a page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._fragments: Fragments | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(scope) if scope["type"] == "http" else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        headers, content = [*answer.fields], b""
        if answer.content is not None:
            content = answer.content.encode()
            headers += [(b"content-length", b"%d" % len(content)), _JSON]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope) -> Answer | None:
        if not (is_plain(scope.get("raw_path") or b"%") and is_plain(scope["query_string"])):
            return None
        special = _BODY if scope["method"] == "GET" else _BODY_OR_PAGE
        if [each for each in scope["headers"] if each[0] in special and each != _NO_BODY]:
            return None
        match scope["method"], scope["path"].split("/"):
            case "GET", ["", "products", number]:
                return await self._read_product(scope, number)
            case "GET", ["", "customers", id_, "favorites"]:
                return await self._list_favorites(scope, id_)
            case "GET", ["", "customers", id_, "favorites", "contains"]:
                return await self._contains(scope, id_)
            case "PUT" | "POST", ["", "customers", id_, "favorites", number]:
                return await self._favor(scope, id_, number)
            case _:
                return None

    async def _read_product(self, scope: Scope, number: str) -> Answer | None:
        product_id = _product_id(number)
        if product_id is None:
            return None
        scope["route"] = _PRODUCT
        products = wired(scope).products
        reading = await products.read(product_id)
        age = reading.cached.age(products.clock())
        headers = product_headers(
            scope["app"].state.options.product_max_age,
            reading.served_from,
            age,
            collapsed=reading.collapsed,
        )
        content = self._written(scope).product(reading.cached, stale=reading.stale)
        return Answer(200, _encoded(headers), content)

    async def _list_favorites(self, scope: Scope, id_: str) -> Answer | None:
        query = scope["query_string"]
        limit = DEFAULT_LIMIT
        if query:
            if (found := _LIMIT.fullmatch(query)) is None:
                return None
            limit = int(found[1])
        claimed = _claimed(scope, id_)
        if claimed is None:
            return None
        customer_id = claimed.customer_id
        known = if_none_match(scope)
        if known == "*":
            return None
        scope["route"] = _LIST
        use_cases = wired(scope)
        with in_the_name_of(scope, claimed) as claim:
            if known:
                version = await use_cases.read_list_version(customer_id=customer_id, claim=claim)
                tag = _tag(scope, customer_id, version)
                if is_known(known, tag) and was_shown_lately(scope, tag):
                    # A list that never changed could be that of a customer who has been erased.
                    return Answer(304, _encoded(validators(tag))) if version.favorites else None
            version, page = await use_cases.list_favorites.newest(
                customer_id, limit=limit, claim=claim
            )
        tag = _tag(scope, customer_id, version)
        note_shown(scope, tag)
        if known and is_known(known, tag):
            return Answer(304, _encoded(validators(tag)))
        next_ = None
        if page.next is not None:
            links = Links(
                scope["app"].state.cursors,
                path=scope["path"],
                query=[("limit", str(limit))] if query else [],
                name=favorites_name(customer_id),
            )
            next_ = json.dumps(links.url(page.next))
        content = self._written(scope).favorites(
            page.items, now=use_cases.products.clock(), next=next_
        )
        return Answer(200, _encoded(validators(tag)), content)

    async def _contains(self, scope: Scope, id_: str) -> Answer | None:
        if (found := _PRODUCT_IDS.fullmatch(scope["query_string"])) is None:
            return None
        product_ids = [ProductId(int(each)) for each in found[1].split(b",")]
        claimed = _claimed(scope, id_)
        if claimed is None or if_none_match(scope):
            return None
        scope["route"] = _CONTAINS
        with in_the_name_of(scope, claimed) as claim:
            version, favorites = await wired(scope).contains_favorites(
                customer_id=claimed.customer_id, product_ids=product_ids, claim=claim
            )
        hearts = ",".join(
            [
                f'"{each}":true' if each in favorites else f'"{each}":false'
                for each in dict.fromkeys(product_ids)
            ]
        )
        tag = _tag(scope, claimed.customer_id, version)
        return Answer(200, _encoded(validators(tag)), f'{{"items":{{{hearts}}}}}')

    async def _favor(self, scope: Scope, id_: str, number: str) -> Answer | None:
        product_id, claimed = _product_id(number), _claimed(scope, id_)
        if product_id is None or claimed is None:
            return None
        scope["route"] = _FAVORITE
        use_cases = wired(scope)
        with in_the_name_of(scope, claimed) as claim:
            favorited = await use_cases.favorite_product(
                customer_id=claimed.customer_id, product_id=product_id, claim=claim
            )
        location = f"/customers/{claimed.customer_id}/favorites/{product_id}"
        content = self._written(scope).favorite(favorited.item, now=use_cases.products.clock())
        return Answer(favorited_status(favorited), _encoded({"Location": location}), content)

    def _written(self, scope: Scope) -> Fragments:
        if self._fragments is None:
            self._fragments = Fragments(wired(scope).products.policy)
        return self._fragments


def _product_id(text: str) -> ProductId | None:
    try:
        return parse_product_id(text)
    except PydanticCustomError:
        return None


def _claimed(scope: Scope, id_: str) -> CustomerPrincipal | None:
    """Return whose request it is, if it is about themselves; what is wrong is for the route."""
    try:
        claimed = claimed_by(scope)
    except InvalidToken:
        return None
    if isinstance(claimed, CustomerPrincipal) and (id_ == "me" or id_ == str(claimed.customer_id)):
        return claimed
    return None


def _tag(scope: Scope, customer_id: CustomerId, version: ListVersion) -> str:
    return list_tag(
        customer_id,
        (version.favorites, version.catalog),
        path=scope["path"],
        query=scope["query_string"],
        service=scope["app"].version,
    )


def _encoded(headers: dict[str, str]) -> Fields:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
