"""For load balancers and orchestrators."""

from datetime import timedelta
from typing import Literal

from fastapi import Request

from app.domain.outcome import StorageUnavailable
from app.infra.http.openapi import PUBLIC
from app.infra.http.schema import Out
from app.infra.http.strict_json import StrictRouter

_ELSEWHERE = timedelta(seconds=1)

router = StrictRouter(prefix="/health", tags=["health"])


class HealthOut(Out):
    """How things stand."""

    status: Literal["ok"] = "ok"


@router.get("/live", summary="Tell whether the process answers", openapi_extra=PUBLIC)
async def live() -> HealthOut:
    """Answer without touching anything: if this fails, the process has to be restarted."""
    return HealthOut()


@router.get("/ready", summary="Tell whether requests can be served", openapi_extra=PUBLIC)
async def ready(request: Request) -> HealthOut:
    """
    Answer 200 if the database can be reached, its schema is current and no shutdown has begun.

    Otherwise 503: send requests elsewhere for now.
    """
    if getattr(request.state, "draining", False):
        raise StorageUnavailable("Stopping", retry_after=_ELSEWHERE)
    await request.app.state.options.ready()
    return HealthOut()
