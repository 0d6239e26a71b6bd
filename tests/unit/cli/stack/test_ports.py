import socket
from collections.abc import Iterator

import pytest

from cli.stack.errors import StackError
from cli.stack.ports import PortRequest, accepts, is_free, settle

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_fixed_ports_are_taken_as_they_are() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    assert settle([PortRequest("A_PORT", HOST, port)], {}, auto=False) == {"A_PORT": port}


def test_every_port_in_use_is_named_with_its_setting_and_a_remedy(taken: int) -> None:
    with socket.create_server((HOST, 0)) as other:
        second = other.getsockname()[1]
        with pytest.raises(StackError) as caught:
            settle([PortRequest("A_PORT", HOST, taken), PortRequest("B_PORT", HOST, second)], {}, auto=False)
    message = str(caught.value)
    assert f"port {taken} on {HOST} (A_PORT) is in use" in message
    assert f"port {second} on {HOST} (B_PORT) is in use" in message
    assert "set A_PORT, B_PORT to free ports" in message
    assert "STACK_PORTS=auto" in message


def test_a_port_of_a_later_instance_counts(taken: int) -> None:
    with pytest.raises(StackError, match=f"port {taken} "):
        settle([PortRequest("A_PORT", HOST, taken - 1, span=2)], {}, auto=False)


def test_one_port_for_two_listeners_is_refused() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(StackError, match="wanted twice: by A_PORT and by B_PORT"):
        settle([PortRequest("A_PORT", HOST, port), PortRequest("B_PORT", HOST, port)], {}, auto=False)


def test_auto_chooses_free_ports_that_differ() -> None:
    requests = [PortRequest(f"P{n}_PORT", HOST, 8080, span=1 + n % 3) for n in range(20)]
    chosen = settle(requests, {}, auto=True)
    numbers = [number for r in requests for number in range(chosen[r.variable], chosen[r.variable] + r.span)]
    assert len(set(numbers)) == len(numbers)
    assert all(is_free(HOST, number) for number in numbers)


def test_auto_keeps_the_last_ports_unless_somebody_took_them(taken: int) -> None:
    first = settle([PortRequest("A_PORT", HOST, 0)], {}, auto=True)
    assert settle([PortRequest("A_PORT", HOST, 0)], first, auto=True) == first
    assert settle([PortRequest("A_PORT", HOST, 0)], {"A_PORT": taken}, auto=True) != {"A_PORT": taken}


def test_port_zero_means_a_free_one_that_is_no_fixed_one() -> None:
    fixed = settle([PortRequest("A_PORT", HOST, 0)], {}, auto=False)["A_PORT"]
    requests = [PortRequest("B_PORT", HOST, 0), PortRequest("A_PORT", HOST, fixed)]
    assert settle(requests, {"B_PORT": fixed}, auto=False)["B_PORT"] != fixed


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(StackError, match="does this machine own that address"):
        settle([PortRequest("A_PORT", "192.0.2.1", 0)], {}, auto=False)


def test_accepts(taken: int) -> None:
    assert accepts("0.0.0.0", taken)
    with socket.create_server((HOST, 0)) as server:
        gone = server.getsockname()[1]
    assert not accepts(HOST, gone)
