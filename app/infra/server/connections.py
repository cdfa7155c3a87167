"""All connections of a process, and the periodic check of their time-outs."""

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from app.infra.server.disconnect import ConnectionObserver, DisconnectReason, no_observer
from app.infra.server.limits import HARD_LIMIT_FACTOR, ConnectionLimits, Wait

if TYPE_CHECKING:
    from app.infra.server.protocol import BoundedHttpProtocol

logger = logging.getLogger(__name__)


class Connections(ServerState):
    """
    Check every connection about once a second, and close those that exceed a time-out.

    A connection is closed when two checks at least a time-out apart find it unchanged. A time-out
    is therefore exact to two intervals, and requests set no timers. The observer receives one
    report per check, so requests do no counting either.
    """

    connections: set["BoundedHttpProtocol"]  # type: ignore[assignment]  # the only protocol used

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self.limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._evictable: list[BoundedHttpProtocol] = []
        self._over_limit = 0
        self._observe = no_observer()
        self._disconnects: Counter[DisconnectReason] = Counter()
        self._timeouts_s = {wait: limits.timeout_s(wait) for wait in Wait}
        self._interval_s = min(1.0, min(self._timeouts_s.values()) / 4)

    @property
    def evictable(self) -> int:
        """Return the number of connections that may be closed to make room for new ones."""
        return len(self._evictable)

    def start_checks(self, observe: ConnectionObserver | None = None) -> None:
        """Check and report periodically on the running loop, until `stop_checks`."""
        if observe is not None:
            self._observe = observe
        self._report()
        self._schedule_check()

    def stop_checks(self) -> None:
        """Stop the checks, and report a last time."""
        if self._timer is not None:
            self._timer.cancel()
        self._report()

    def timeout_s(self, wait: Wait) -> float:
        """Return how long the server waits, in seconds."""
        return self._timeouts_s[wait]

    def admit(self, connection: "BoundedHttpProtocol") -> None:
        """Make room for a new connection, or else refuse it."""
        if len(self.connections) <= self.limits.connections:
            return
        self._over_limit += 1
        while self._evictable:
            if self._evictable.pop().close_if_idle():
                self.count(DisconnectReason.MADE_ROOM)
                return
        if len(self.connections) > HARD_LIMIT_FACTOR * self.limits.connections:
            self.count(DisconnectReason.NOT_HEARD)
            connection.transport.abort()
        else:
            connection.refuse_service()

    def count(self, reason: DisconnectReason) -> None:
        """Count a disconnection for the next report."""
        self._disconnects[reason] += 1

    def _report(self) -> None:
        self._observe(
            open_=len(self.connections),
            limit=self.limits.connections,
            cut_off={reason.value: self._disconnects[reason] for reason in DisconnectReason},
        )
        self._disconnects.clear()

    def _schedule_check(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._check)

    def _check(self) -> None:
        self._schedule_check()
        now = asyncio.get_running_loop().time()
        # A copy, because a check may close a connection.
        idle = [
            connection
            for connection in tuple(self.connections)
            if connection.check(now) in {Wait.REQUEST, Wait.HEAD}
        ]
        # A connection that is new since the last check may be about to send its request.
        self._evictable = sorted(
            (connection for connection in idle if connection.waiting_since < now),
            key=lambda connection: connection.waiting_since,
            reverse=True,
        )
        if self._over_limit:
            logger.warning(
                "connections_exhausted",
                extra={"connections": len(self.connections), "newcomers": self._over_limit},
            )
            self._over_limit = 0
        self._report()
