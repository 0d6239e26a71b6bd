import json
from pathlib import Path

import pytest

from cli.client.usage import WrongUsage
from cli.store.target import resolve


def stack(directory: Path, port: int = 4711) -> dict[str, str]:
    record = {
        "pid": 0,
        "pid_started": "",
        "socket": "",
        "started_at": 0,
        "stop_seconds": 1,
        "ports": {"SINK_GRPC_PORT": port},
    }
    (directory / "stack.json").write_text(json.dumps(record))
    (directory / "sink-admin.token").write_text("of-the-stack\n")
    return {"STACK_DIR": str(directory)}


def test_the_local_stack_needs_no_words(tmp_path: Path) -> None:
    target = resolve(None, stack(tmp_path))
    assert (target.endpoint, target.api_key) == ("127.0.0.1:4711", "of-the-stack")
    assert "of-the-stack" not in repr(target)


def test_the_order_of_what_names_the_sink(tmp_path: Path) -> None:
    found = {**stack(tmp_path), "SINK_ADMIN_TOKEN": "mine", "SINK_GRPC_HOST": "0.0.0.0", "SINK_GRPC_PORT": "1"}
    assert resolve(None, found).endpoint == "127.0.0.1:1"
    found["GATEWAY_SINK_TARGET"] = "sink:2"
    assert resolve(None, found).endpoint == "sink:2"
    assert resolve("other:3", found).endpoint == "other:3"
    assert resolve("other:3", found).api_key == "mine"
    assert resolve(None, {"SINK_ADMIN_TOKEN": "x", "STACK_DIR": str(tmp_path / "no")}).endpoint == "127.0.0.1:50052"


def test_the_stacks_token_does_not_travel(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="SINK_ADMIN_TOKEN"):
        resolve("sink.example.com:50052", stack(tmp_path))


@pytest.mark.parametrize("sink", ["sink", ":1", "http://sink:1", "sink:0", "sink:65536", "sink:x"])
def test_an_address_is_host_and_port(tmp_path: Path, sink: str) -> None:
    with pytest.raises(WrongUsage, match="host:port"):
        resolve(sink, stack(tmp_path))


def test_a_token_with_a_line_break_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="SINK_ADMIN_TOKEN"):
        resolve(None, {**stack(tmp_path), "SINK_ADMIN_TOKEN": "a\nb"})
