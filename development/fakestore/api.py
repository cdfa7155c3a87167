"""The local Fake Store: the contract of https://fakestoreapi.com, own products, and faults.

`GET /` explains the switches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from development.fakestore.catalog import Catalog, Product, ProductChange
from development.fakestore.faults import CallLog, FaultMiddleware
from development.fakestore.picture import draw
from development.fakestore.switches import FaultState, Switches, UnknownId

MAX_CONTROL_BYTES: Final = 64 * 1024
MAX_DIGITS: Final = 10

KnownId = Annotated[int, Path(ge=1, le=2_147_483_647)]


def create_fakestore(*, public_url: str | None = None) -> FastAPI:
    """Build a store with all products and without faults.

    `public_url` is the base of picture URLs; by default that of each request.
    """
    catalog, state, log = Catalog(), FaultState(), CallLog()
    api = FastAPI(title="Local Fake Store", docs_url=None, redoc_url=None, openapi_url=None)
    api.add_middleware(FaultMiddleware, state=state, log=log)
    api.add_middleware(BodyLimit)
    api.add_exception_handler(RequestValidationError, _refuse)
    _add_catalog(api, _PublicCatalog(catalog, state, public_url))
    _add_control(api, catalog, state)
    _add_log(api, log)
    return api


@dataclass(frozen=True, slots=True)
class _PublicCatalog:
    """The catalog as clients see it."""

    catalog: Catalog
    state: FaultState
    public_url: str | None

    def listing(self, request: Request, category: str | None = None) -> Response:
        found = [
            self._public(request, product_id, product)
            for product_id in self.catalog.ids()
            if (product := self.catalog.get(product_id))
            and (category is None or product.category == category)
        ]
        if request.query_params.get("sort") == "desc":
            found.reverse()
        limit = _plain_number(request.query_params.get("limit", ""))
        return JSONResponse(found[:limit] if limit else found)

    def one(self, request: Request, number: str) -> Response:
        product_id = _plain_number(number) or 0
        product = self.catalog.get(product_id)
        if product:
            return JSONResponse(self._public(request, product_id, product))
        match self.state.switches.unknown_id:
            case UnknownId.NULL:
                return Response(b"null", media_type="application/json")
            case UnknownId.EMPTY:
                return Response(b"", media_type="application/json")
            case UnknownId.NOT_FOUND:
                return JSONResponse({"message": "Not Found"}, HTTPStatus.NOT_FOUND)

    def _public(self, request: Request, product_id: int, product: Product) -> dict[str, Any]:
        base = (self.public_url or str(request.base_url)).rstrip("/")
        image = product.image or f"{base}/img/{product_id}.svg"
        content = {"id": product_id, **product.model_dump(exclude_none=True), "image": image}
        rating = content.pop("rating", None)  # last, as in the public store
        return content if rating is None else {**content, "rating": rating}


def _plain_number(text: str) -> int | None:
    plain = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if plain else None


def _add_catalog(api: FastAPI, public: _PublicCatalog) -> None:
    @api.get("/products")
    async def products(request: Request) -> Response:
        return public.listing(request)

    @api.get("/products/categories")
    async def categories() -> Response:
        return JSONResponse(public.catalog.categories())

    @api.get("/products/category/{name}")
    async def category(request: Request, name: str) -> Response:
        return public.listing(request, name)

    @api.get("/products/{number}")
    async def product(request: Request, number: str) -> Response:
        return public.one(request, number)

    @api.get("/img/{product_id}.svg")
    async def picture(product_id: KnownId) -> Response:
        found = public.catalog.get(product_id)
        if found is None:
            return _problem(HTTPStatus.NOT_FOUND, "There is no such product.")
        svg = draw(product_id, title=found.title, category=found.category)
        return Response(svg, media_type="image/svg+xml", headers={"cache-control": "max-age=300"})


def _add_control(api: FastAPI, catalog: Catalog, state: FaultState) -> None:
    def shown() -> dict[str, Any]:
        return {**state.switches.model_dump(mode="json"), "befallen": state.affected}

    @api.get("/_control")
    async def show() -> dict[str, Any]:
        return shown()

    @api.put("/_control")
    async def set_all(switches: Switches) -> dict[str, Any]:
        state.set(switches)
        return shown()

    @api.patch("/_control")
    async def set_some(switches: Switches) -> dict[str, Any]:
        before = state.switches.model_dump(exclude_unset=True)
        after = switches.model_dump(exclude_unset=True)
        state.set(Switches(**{**before, **after}))
        return shown()

    @api.delete("/_control")
    async def reset() -> dict[str, Any]:
        state.set(Switches())
        return shown()

    @api.put("/_control/products/{product_id}")
    @api.patch("/_control/products/{product_id}")
    async def change(product_id: KnownId, change: ProductChange) -> Response:
        product = catalog.change(product_id, change)
        if product is None:
            return _problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "A new product needs title, price, description and category.",
            )
        return JSONResponse({"id": product_id, **product.model_dump(exclude_none=True)})

    @api.delete("/_control/products/{product_id}", status_code=HTTPStatus.NO_CONTENT)
    async def remove(product_id: KnownId) -> None:
        catalog.remove(product_id)

    @api.delete("/_control/products", status_code=HTTPStatus.NO_CONTENT)
    async def restore() -> None:
        catalog.restore()


def _add_log(api: FastAPI, log: CallLog) -> None:
    @api.get("/_control/calls")
    async def calls() -> dict[str, Any]:
        return {"total": log.total, "by_path": dict(log.by_path), "last": list(log.last)}

    @api.delete("/_control/calls", status_code=HTTPStatus.NO_CONTENT)
    async def forget() -> None:
        log.clear()

    @api.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/")
    async def manual() -> HTMLResponse:
        text = FilePath(__file__).with_name("manual.html").read_text(encoding="utf-8")
        return HTMLResponse(text)


class BodyLimit:
    """Refuse large bodies of control requests before they are buffered in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http" or scope["path"].startswith("/products"):
            await self._app(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_CONTROL_BYTES:
                refusal = _problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "At most 64 KiB.", {"connection": "close"}
                )
                await refusal(scope, receive, send)
                return

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


async def _refuse(_request: Request, error: Exception) -> Response:
    # Without the values, which JSON may not be able to represent (NaN).
    errors = error.errors() if isinstance(error, RequestValidationError | ValidationError) else ()
    sentences = [f"{'/'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in errors]
    text = "; ".join(sentences).encode("ascii", "backslashreplace").decode()
    return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, text)


def _problem(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(
        {"title": status.phrase, "status": status.value, "detail": detail},
        status,
        headers=headers,
        media_type="application/problem+json",
    )
