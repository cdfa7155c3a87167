import socket

from development.port import free_port, port_is_free

FIRST_EPHEMERAL = 32_768  # the default of Linux; elsewhere 49152


class TestFreePort:
    def test_can_be_listened_on(self) -> None:
        port = free_port()
        with socket.create_server(("127.0.0.1", port)):
            assert not port_is_free(port)

    def test_is_not_ephemeral(self) -> None:
        assert max(free_port() for _ in range(100)) < FIRST_EPHEMERAL
