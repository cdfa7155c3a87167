"""What every request took, for whoever counts."""

from starlette.types import ASGIApp, Scope
from typing_extensions import override

from app.infra.http.middleware.timed import Timed, route_template
from app.infra.http.options import RequestObserver


class Measure(Timed):
    """Tell the observer of every request when it has been answered, or given up."""

    def __init__(self, app: ASGIApp, *, observe: RequestObserver) -> None:
        super().__init__(app)
        self._observe = observe

    @override
    def _ended(self, scope: Scope, *, method: str, status: int | None, duration_s: float) -> None:
        self._observe(
            method=method, route=route_template(scope), status=status, duration_s=duration_s
        )
