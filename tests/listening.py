"""Waiting for a server that a test has started."""

import socket
import subprocess
import time

START_S = 20.0
POLL_S = 0.01


def wait_until_listening(process: "subprocess.Popen[bytes]", port: int) -> None:
    """
    Wait until something listens on a port of this machine.

    :raises AssertionError: if the process that is to listen there ends, or takes too long
    """
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, f"{process.args!r} has ended"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"{process.args!r} does not listen"
            time.sleep(POLL_S)
        else:
            return
