"""The committed generated code is what the .proto files give."""

from pathlib import Path

from contracts.v1 import generate


def test_generated_code_is_current(tmp_path: Path) -> None:
    generate.generate(tmp_path)
    fresh = sorted(tmp_path.rglob("*_pb2*"))
    assert fresh
    for path in fresh:
        committed = generate.ROOT / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{committed.name} is out of date: run `make proto`"
    names = {path.name for path in fresh}
    assert {path.name for path in (generate.ROOT / "contracts/v1").glob("*_pb2*.py*")} == names
