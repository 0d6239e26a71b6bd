"""Which processes `restart` takes, and in which order."""

from __future__ import annotations

import pytest

from cli.stack.control import ProcessInfo
from cli.stack.errors import StackError
from cli.stack.restart import chosen


def info(name: str) -> ProcessInfo:
    return ProcessInfo(
        name, name.split("-")[0], "RUNNING", pid=7, start=100, stop=0, now=112, exit_status=0, spawn_error=""
    )


ALL = [info(name) for name in ("gateway-0", "gateway-10", "gateway-2", "kafka", "processors-0", "sink")]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([], ["kafka", "sink", "processors-0", "gateway-0", "gateway-2", "gateway-10"]),
        (["gateway", "sink"], ["sink", "gateway-0", "gateway-2", "gateway-10"]),
        (["gateway-2", "kafka"], ["kafka", "gateway-2"]),
    ],
)
def test_what_others_need_comes_first(wanted: list[str], names: list[str]) -> None:
    assert [one.name for one in chosen(ALL, wanted)] == names


def test_an_unknown_name_is_said_with_those_that_there_are() -> None:
    with pytest.raises(StackError, match=r"no process gatway; there are: gateway, gateway-0"):
        chosen(ALL, ["gatway", "sink"])
