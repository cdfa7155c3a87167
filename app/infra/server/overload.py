"""What a process serves to connections above its limit."""

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.server.connections import Connections
from app.infra.server.disconnect import DisconnectReason
from app.infra.server.refusal import Refusals

logger = logging.getLogger(__name__)


async def refuse_when_busy(
    app: ASGIApp,
    connections: Connections,
    refusals: Refusals,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Refuse a request, unless it is one that a busy server must answer as well."""
    if (response := refusals.server_busy(scope)) is None:
        await app(scope, receive, send)
        return
    connections.count(DisconnectReason.SERVER_BUSY)
    client_ip = scope["client"][0] if scope["client"] else None
    request_id = scope["state"]["request_id"]
    logger.info("service_refused", extra={"request_id": request_id, "client_ip": client_ip})
    await response(scope, receive, send)
