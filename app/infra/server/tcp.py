"""Operations on TCP sockets that asyncio does not offer."""

import asyncio
import socket
import struct
import sys
from contextlib import suppress

if sys.platform == "linux":
    import fcntl
    import termios


def unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return how many sent bytes the peer has not acknowledged; 0 if the system cannot tell."""
    if sys.platform != "linux":
        return 0
    peer: socket.socket = transport.get_extra_info("socket")
    try:
        count = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        # The socket has just been closed.
        return 0
    return int.from_bytes(count, sys.byteorder)


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with RST, so that the kernel drops unsent data at once."""
    peer: socket.socket = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def accept_pending(listener: socket.socket) -> list[socket.socket]:
    """Accept every connection in the backlog, and close the listener."""
    connections = []
    with listener:
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                connections.append(connection)
    return connections
