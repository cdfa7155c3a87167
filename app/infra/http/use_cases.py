"""Handing wired use cases to routes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from fastapi import Request
from starlette.types import Scope

from app.application.use_cases import UseCases

T = TypeVar("T")


def use(pick: Callable[[UseCases], T]) -> Callable[[Request], Awaitable[T]]:
    """Return a FastAPI dependency that provides one use case."""

    async def dependency(request: Request) -> T:
        return pick(wired(request.scope))

    return dependency


def wired(scope: Scope) -> UseCases:
    """Return the use cases that the lifespan put into the state of every request."""
    return cast(UseCases, scope["state"]["use_cases"])
