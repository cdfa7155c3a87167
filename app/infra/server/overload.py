"""What a process serves to connections above its limit."""

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.server.connections import Connections
from app.infra.server.disconnect import DisconnectReason
from app.infra.server.limits import HEALTH_PREFIX
from app.infra.server.refusal import RefusalWriter

logger = logging.getLogger(__name__)


async def serve_health_only(
    app: ASGIApp,
    connections: Connections,
    refuse: RefusalWriter,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Pass health checks to the application, and refuse every other request."""
    if scope["path"].startswith(HEALTH_PREFIX):
        await app(scope, receive, send)
        return
    connections.count(DisconnectReason.SERVER_BUSY)
    refusal = refuse(DisconnectReason.SERVER_BUSY, scope, None)
    client_ip = scope["client"][0] if scope["client"] else None
    logger.info(
        "service_refused", extra={"request_id": refusal.request_id, "client_ip": client_ip}
    )
    await refusal.send(send)
