"""
Routers and routes.

An endpoint that takes a `Call` is *direct*: it returns a `Reply` whose body it has written itself,
and neither FastAPI's solving of dependencies nor its validation of the answer runs (ADR 24). Its
signature still makes the OpenAPI document, and its parameters are validated by the very fields
that document them. All other endpoints are ordinary FastAPI. Both kinds share the router's access
and its dependencies.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_type_hints
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_dependant, request_params_to_args, solve_dependencies
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRouter
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from app.application.build import UseCases
from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.outcome import DomainError, InvalidToken
from app.infra.http.access import (
    CustomerAccess,
    CustomerPath,
    authenticated,
    confirm,
    use_cases_of,
)
from app.infra.http.json_writer import JsonWriter
from app.infra.http.problem import RequestError
from app.infra.http.strict_json import StrictRoute
from app.infra.http.validation import validation_failed

T = TypeVar("T")

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")

# What has been parsed is kept: most requests repeat a path and a query. Long ones, such as those
# with a cursor, rarely do.
_PATHS_KEPT, _QUERIES_KEPT, _LENGTH_KEPT = 4_096, 512, 128


class _ProductConvertor(StringConvertor):
    """A segment that is not the last word of another path."""

    regex = "(?!(?:batch|changes|contains|import)(?:/|$))[^/]+"


register_url_convertor("product", _ProductConvertor())


def use(pick: Callable[[UseCases], T]) -> Callable[[Request], Awaitable[T]]:
    """Return a FastAPI dependency that provides a use case."""

    async def dependency(request: Request) -> T:
        return pick(use_cases_of(request.scope))

    return dependency


async def _of_customer(id: CustomerPath) -> None:
    """Have a parameter `id`, which direct endpoints need not name to have it documented."""


[_CUSTOMER_ID] = get_dependant(path="/{id}", call=_of_customer).path_params


class Reply(NamedTuple):
    """A finished answer; a body is JSON."""

    status: int = 200
    fields: Fields = ()
    body: str | None = None


class Call(Request):
    """
    A request to a direct endpoint.

    On routes of a customer, `customer_id` is the customer to act on. If the caller's session has
    not been checked yet, the endpoint has to pass `session_check` on to the query or the write
    that it makes, or to call `check_session`; a reply without that is a bug, and is not sent.
    """

    customer_id: CustomerId
    query_pairs: Sequence[tuple[str, str]]
    _unchecked: SessionCheck | None = None

    @property
    def session_check(self) -> SessionCheck | None:
        """The check of the session that a statement has to make; None if it was made."""
        unchecked, self._unchecked = self._unchecked, None
        return unchecked

    async def check_session(self) -> None:
        """
        Check the session in a statement of its own, unless that was done already.

        :raises InvalidToken: if it has ended
        """
        if self.session_check is not None:
            await confirm(self.scope, self.scope["state"]["principal"])

    async def authorize(
        self, access: CustomerAccess, target: UUID | str | None, *, invalid: bool
    ) -> None:
        """
        Authorize this request for the customer `target`, or for all customers.

        One that is `invalid` is answered 401 or 403 before 422, as everywhere. Its session is
        checked here, since no statement will do it; its target may be the invalid part.
        """
        if "id" not in self.path_params:
            await access.all_customers(self, await authenticated(self))
        elif target is None:
            await authenticated(self)
        elif invalid:
            await access.customer(self, await authenticated(self), target)
        else:
            self.customer_id, self._unchecked = await access.acting(self.scope, target)

    def ensure_checked(self) -> None:
        """
        Make sure that the endpoint did not forget the session.

        :raises RuntimeError: if it did
        """
        if self._unchecked is not None:
            raise RuntimeError(f"{self.scope['path']}: the session was not checked")

    @property
    def use_cases(self) -> UseCases:
        """The use cases."""
        return use_cases_of(self.scope)

    @property
    def json_writer(self) -> JsonWriter:
        """The writer of JSON bodies."""
        writer: JsonWriter = self.scope["state"]["json_writer"]
        return writer


class Router(APIRouter):
    """
    A router whose operations have the names of their functions, short and stable for clients.

    `access` authorizes every request to its routes, before any dependency runs; without one they
    are open to all. Routes of a customer need one.
    """

    def __init__(
        self,
        *,
        prefix: str,
        tags: list[str | Enum],
        access: CustomerAccess | None = None,
        dependencies: Sequence[Dependency] = (),
    ) -> None:
        super().__init__(
            prefix=prefix,
            tags=tags,
            route_class=StrictRoute,
            generate_unique_id_function=lambda route: route.name,
        )
        self._access = access
        self._dependencies = tuple(dependencies)

    @override
    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        of_customer = "{id}" in self.prefix + path
        if of_customer and self._access is None:
            raise ValueError(f"A route of a customer needs an access: {self.prefix}{path}")
        dependencies = [*self._dependencies, *(options.pop("dependencies", None) or ())]
        if Call in get_type_hints(endpoint).values():
            options["route_class_override"] = partial(DirectRoute, access=self._access)
        elif self._access is not None:
            guard = self._access.customer if of_customer else self._access.all_customers
            dependencies.insert(0, Depends(guard))
        super().add_api_route(path, endpoint, dependencies=dependencies, **options)


class DirectRoute(StrictRoute):
    """
    A route whose endpoint is called without FastAPI's machinery in between.

    Its parameters are a `Call`, path and query parameters, and dependencies.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        access: CustomerAccess | None,
        **options: Any,
    ) -> None:
        super().__init__(path, endpoint, **options)
        dependant = self.dependant
        if dependant.header_params or dependant.cookie_params or dependant.body_params:
            raise ValueError(f"Direct endpoints read header fields and bodies themselves: {path}")
        if "id" in self.param_convertors:
            dependant.path_params.insert(0, _CUSTOMER_ID)
        self.app = _application(self, endpoint, access)


def _application(
    route: DirectRoute, endpoint: Callable[..., Awaitable[Reply]], access: CustomerAccess | None
) -> ASGIApp:
    dependant = route.dependant
    call_name = dependant.request_param_name or "call"
    path_fields, query_fields = dependant.path_params, dependant.query_params

    def parse_query(query: bytes) -> tuple[dict[str, Any], Sequence[Any], Sequence[Any]]:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        values, faults = request_params_to_args(query_fields, QueryParams(pairs))
        return values, faults, pairs

    def parse_path(*params: str) -> tuple[UUID | str | None, dict[str, Any], Sequence[Any]]:
        in_path = dict(zip(route.param_convertors, params, strict=True))
        values, faults = request_params_to_args(path_fields, in_path)
        return values.pop("id", None), values, faults

    parsed_path = lru_cache(_PATHS_KEPT)(parse_path)
    parsed_query = lru_cache(_QUERIES_KEPT)(parse_query)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        parse_params = parsed_path if len(scope["path"]) <= _LENGTH_KEPT else parse_path
        target, in_path, faults = parse_params(*scope["path_params"].values())
        query = scope["query_string"]
        parse = parsed_query if len(query) <= _LENGTH_KEPT else parse_query
        in_query, query_faults, call.query_pairs = parse(query)
        try:
            try:
                if access is not None:
                    await call.authorize(access, target, invalid=bool(faults or query_faults))
                if dependant.dependencies:
                    async with _solved(call, route) as values:
                        reply = await endpoint(**values)
                elif faults or query_faults:
                    raise validation_failed([*faults, *query_faults])
                else:
                    reply = await endpoint(**{call_name: call}, **in_path, **in_query)
                call.ensure_checked()
            except (DomainError, RequestError):
                # Refused before a statement checked the session: if it has ended, this is 401.
                await call.check_session()
                raise
        except InvalidToken:
            # The session has ended: the caller is not the customer that the token names.
            scope["state"].pop("principal", None)
            raise
        await _send(reply, send)

    return application


@asynccontextmanager
async def _solved(call: Call, route: DirectRoute) -> AsyncGenerator[Mapping[str, Any]]:
    """
    Run the dependencies as FastAPI does for other routes, and return all arguments.

    :raises ValidationFailed: if a parameter is not valid
    """
    async with AsyncExitStack() as stack:
        call.scope["fastapi_inner_astack"] = call.scope["fastapi_function_astack"] = stack
        solved = await solve_dependencies(
            request=call,
            dependant=route.dependant,
            async_exit_stack=stack,
            embed_body_fields=False,
        )
        if solved.errors:
            raise validation_failed(solved.errors)
        yield {name: value for name, value in solved.values.items() if name != "id"}


async def _send(reply: Reply, send: Send) -> None:
    if reply.body is None:
        headers, body = [*reply.fields], b""
    else:
        body = reply.body.encode()
        headers = [*reply.fields, (b"content-length", b"%d" % len(body)), _JSON]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
