"""Which ports a stack uses: those of the settings, or free ones. Checked before anything is started."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cli.stack.errors import StackError

#: Below every usual range of ephemeral ports, so that nobody's outgoing connection takes a port between choice and use.
_FREE_RANGE = range(20_000, 32_000)
_ATTEMPTS = 500


@dataclass(frozen=True, slots=True)
class PortRequest:
    """One listener: the setting that names its port, and how many consecutive ports it takes."""

    variable: str
    host: str
    port: int
    span: int = 1


def settle(requests: Iterable[PortRequest], previous: Mapping[str, int], *, auto: bool) -> dict[str, int]:
    """The port for every variable. `auto` or port 0: the previous one if it is free, else a free one.

    Raises StackError that names every port in use, not only the first.
    """
    chosen: dict[str, int] = {}
    owner: dict[int, str] = {}
    problems: list[str] = []
    wanted = list(requests)
    # Fixed ports first, so that a free choice never takes one of them.
    for request in sorted(wanted, key=lambda r: auto or r.port == 0):
        free_choice = auto or request.port == 0
        port = _choose(request, previous.get(request.variable), owner) if free_choice else request.port
        for number in range(port, port + request.span):
            if number in owner:
                problems.append(f"port {number} is wanted twice: by {owner[number]} and by {request.variable}")
            elif not free_choice and not is_free(request.host, number):
                problems.append(f"port {number} on {request.host} ({request.variable}) is in use by another program")
            owner[number] = request.variable
        chosen[request.variable] = port
    if problems:
        names = ", ".join(sorted({r.variable for r in wanted if any(r.variable in text for text in problems)}))
        raise StackError(
            "\n".join(problems)
            + f"\nStop that program, set {names} to free ports, or let STACK_PORTS=auto choose them."
        )
    return {request.variable: chosen[request.variable] for request in wanted}


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    if not 0 < port <= 65535:
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def accepts(host: str, port: int, timeout_seconds: float = 0.5) -> bool:
    """Whether somebody listens there. Blocks up to the timeout."""
    try:
        with socket.create_connection((reachable(host), port), timeout_seconds):
            return True
    except OSError:
        return False


def reachable(host: str) -> str:
    """The address by which this machine reaches a listener on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


def _choose(request: PortRequest, previous: int | None, taken: Mapping[int, str]) -> int:
    def fits(port: int) -> bool:
        numbers = range(port, port + request.span)
        return not any(n in taken for n in numbers) and all(is_free(request.host, n) for n in numbers)

    if previous is not None and fits(previous):
        return previous
    choice = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = choice.choice(_FREE_RANGE)
        if fits(port):
            return port
    raise StackError(
        f"no free port found on {request.host} for {request.variable}: does this machine own that address?"
    )
