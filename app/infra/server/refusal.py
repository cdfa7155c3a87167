"""Responses that the server sends instead of the application."""

from typing import Protocol

from starlette.responses import Response
from starlette.types import Scope


class Refusals(Protocol):
    """
    Create these responses, complete with `Connection: close`.

    `scope["state"]["request_id"]` is the ID that log lines and the response share. An instance is
    pickled for each worker process.
    """

    def malformed(self, scope: Scope, detail: str) -> Response:
        """Refuse what is not a valid request."""

    def head_too_large(self, scope: Scope, detail: str) -> Response:
        """Refuse a head, or trailers, over the limit."""

    def request_timeout(self, scope: Scope, detail: str) -> Response:
        """Refuse a request that arrived too slowly."""

    def server_busy(self, scope: Scope) -> Response | None:
        """
        Refuse a request on a connection above the limit; None passes it to the application.

        Sets the request ID.
        """

    def internal_error(self, scope: Scope) -> Response:
        """Replace the response of an application that failed."""
