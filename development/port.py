"""TCP ports of this machine."""

import secrets
import socket

_LOWEST, _HIGHEST = 20_000, 32_767


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server could listen on a port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """
    Return a port on 127.0.0.1 that is free now.

    It is below the ephemeral ports (on Linux from 32768), so that no outgoing connection and no
    server on any port takes it before the caller listens.
    """
    while not port_is_free(port := _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST + 1)):
        pass
    return port
