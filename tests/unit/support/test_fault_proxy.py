"""The proxy does to a connection what it was told, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.fault_proxy import BLACKHOLE, PASS, REFUSE, FaultProxy, cut, slow
from tests.support.waiting import wait_for

CONTENT = bytes(range(256)) * 400


class Echo:
    """Sends back what comes, connection by connection, and its end too."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._socket.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    echo = Echo()
    with FaultProxy(echo.port) as made:
        yield made
    echo.close()


def connect(proxy: FaultProxy, timeout: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout)


def exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = connection.recv(count - len(found))
        if not data:
            raise EOFError(found)
        found += data
    return found


def is_silent(connection: socket.socket, seconds: float = 0.2) -> bool:
    connection.settimeout(seconds)
    try:
        return not connection.recv(1) and False
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)


def test_bytes_and_ends_pass_unchanged(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(CONTENT,))
        sender.start()
        assert exactly(connection, len(CONTENT)) == CONTENT
        sender.join()
        assert proxy.connections == 1
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    wait_for("the connection to be gone", lambda: proxy.connections == 0, seconds=5)


@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_a_black_hole_is_silent_and_gives_everything_back(proxy: FaultProxy, direction: str) -> None:
    with connect(proxy) as old:
        old.sendall(b"before")
        assert exactly(old, 6) == b"before"
        proxy.set(**{direction: BLACKHOLE})
        old.sendall(b"held")
        assert is_silent(old)
        with connect(proxy) as new:
            new.sendall(b"new")
            assert is_silent(new)
            proxy.set(PASS)
            assert exactly(new, 3) == b"new"
        assert exactly(old, 4) == b"held"


def test_a_black_hole_swallows_an_end_too(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"x")
        assert exactly(connection, 1) == b"x"
        proxy.set(down=BLACKHOLE)
        connection.shutdown(socket.SHUT_WR)
        assert is_silent(connection)


def test_slow_means_so_many_bytes_a_second(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        proxy.set(down=slow(bytes_per_second=100_000))
        started = time.monotonic()
        connection.sendall(CONTENT[:30_000])
        assert exactly(connection, 30_000) == CONTENT[:30_000]
        assert time.monotonic() - started >= 0.29
        proxy.set(slow(bytes_per_second=20))
        connection.sendall(b"y" * 1000)
        assert len(connection.recv(1000)) < 10
        proxy.set(PASS)  # and does not wait for the portion it has in hand


def test_latency_delays_every_answer(proxy: FaultProxy) -> None:
    proxy.set(down=slow(latency_seconds=0.1))
    with connect(proxy) as connection:
        started = time.monotonic()
        for _ in range(3):
            connection.sendall(b"z")
            assert exactly(connection, 1) == b"z"
        assert time.monotonic() - started >= 0.3


def test_a_cut_resets_in_the_middle_of_an_answer(proxy: FaultProxy) -> None:
    with connect(proxy) as old:
        old.sendall(b"a" * 50)
        assert exactly(old, 50) == b"a" * 50
        proxy.set(down=cut(7, times=2))
        for connection in (old, connect(proxy)):
            with connection:
                connection.sendall(b"b" * 20)
                assert exactly(connection, 7) == b"b" * 7
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
    with connect(proxy) as third:
        third.sendall(b"c" * 20)
        assert exactly(third, 20) == b"c" * 20


def test_refused_is_refused_until_it_passes_again(proxy: FaultProxy) -> None:
    with connect(proxy) as old:
        old.sendall(b"x")
        assert exactly(old, 1) == b"x"
        proxy.set(REFUSE)
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.set(PASS)
    with connect(proxy) as new:
        new.sendall(b"y")
        assert exactly(new, 1) == b"y"


def test_severed_connections_are_reset_and_new_ones_pass(proxy: FaultProxy) -> None:
    with connect(proxy) as old:
        old.sendall(b"x")
        assert exactly(old, 1) == b"x"
        assert proxy.sever() == 1
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    with connect(proxy) as new:
        new.sendall(b"y")
        assert exactly(new, 1) == b"y"


def test_a_server_that_is_not_there_resets_the_client() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens; while it is bound nobody else does
        port = closed.getsockname()[1]
        with FaultProxy(port) as proxy, connect(proxy) as connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
