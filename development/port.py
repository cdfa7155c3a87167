"""TCP ports of this machine."""

import secrets
import socket

_LOWEST, _HIGHEST = 20_000, 32_767


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that lingers in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """
    Return a port on 127.0.0.1 that nobody listens on now.

    It is below those that systems give away by themselves, Linux from 32768 on: a connection, or
    a server that takes any port, does not get it before whoever has asked for it listens there.
    """
    while not port_is_free(port := _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST + 1)):
        pass
    return port
