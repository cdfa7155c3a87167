"""Probes for load balancers and orchestrators."""

from datetime import timedelta
from typing import Literal

from fastapi import Request

from app.domain.outcome import StorageUnavailable
from app.infra.http.openapi import PUBLIC
from app.infra.http.route import Router
from app.infra.http.schema import Out

_RETRY_AFTER = timedelta(seconds=1)

router = Router(prefix="/health", tags=["health"])


class HealthOut(Out):
    """The state of the process."""

    status: Literal["ok"] = "ok"


@router.get("/live", summary="Check that the process responds", openapi_extra=PUBLIC)
async def live() -> HealthOut:
    """Respond without using any dependency. If this fails, restart the process."""
    return HealthOut()


@router.get("/ready", summary="Check that requests can be handled", openapi_extra=PUBLIC)
async def ready(request: Request) -> HealthOut:
    """
    Respond 200 if the database is available, its schema is current and no shutdown has begun.

    Otherwise respond 503: send requests to another process for now.
    """
    if getattr(request.state, "draining", False):
        raise StorageUnavailable("Stopping", retry_after=_RETRY_AFTER)
    await request.app.state.options.ready()
    return HealthOut()
