"""`import` against the fake gateway: everything once, nothing forgotten, and on from where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.client.import_files import complete_bytes
from cli.client.import_state import State
from cli.client.usage import WrongUsage
from tests.support.events import event
from tests.unit.cli.client.conftest import Run
from tests.unit.cli.client.test_jsonl import sdk_line
from tests.unit.cli.fake_gateway import UNAVAILABLE, FakeGateway


def lines(*ids: str, tenant: str = "t") -> bytes:
    return b"".join(sdk_line(event(event_id=one, tenant=tenant)) for one in ids)


def ids(gateway: FakeGateway) -> list[str]:
    return [one.event_id for one in gateway.events]


def summary(run: Run, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    done = run("import", *arguments, "--json")
    assert done.exit_code == exit_code, (done.output, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "sdk"
    (made / "sub").mkdir(parents=True)
    (made / "b.jsonl").write_bytes(lines("b1"))
    (made / "a.jsonl").write_bytes(lines("a1", "a2"))
    (made / "sub" / "c.jsonl").write_bytes(lines("c1"))
    (made / "notes.txt").write_text("no events")
    return made


def test_a_directory_goes_in_once_and_what_is_added_later_too(run: Run, gateway: FakeGateway, directory: Path) -> None:
    assert summary(run, str(directory))["accepted"] == 4
    assert ids(gateway) == ["a1", "a2", "b1", "c1"]
    again = summary(run, str(directory))
    assert (again["files"], again["lines"]) == (3, 0)
    with (directory / "a.jsonl").open("ab") as file:
        file.write(lines("a3"))
    (directory / "b.jsonl").rename(directory / "b.1.jsonl")
    assert summary(run, str(directory))["accepted"] == 1
    assert ids(gateway)[4:] == ["a3"]


def test_it_goes_on_where_the_gateway_went_away(run: Run, gateway: FakeGateway, directory: Path) -> None:
    (directory / "a.jsonl").write_bytes(lines(*(f"a{n}" for n in range(2500))))
    gateway.failures = [None, UNAVAILABLE]  # the second of three requests fails for good
    broken = summary(run, str(directory / "a.jsonl"), "--retry-seconds", "0", exit_code=3)
    assert broken["accepted"] == 1000 == len(gateway.events)
    whole = summary(run, str(directory / "a.jsonl"))
    assert whole["accepted"] == 1500
    assert ids(gateway) == [f"a{n}" for n in range(2500)]


def test_rejects_are_written_with_file_line_and_reason_and_no_content(
    run: Run, gateway: FakeGateway, directory: Path
) -> None:
    (directory / "a.jsonl").write_bytes(lines("a1") + b'{"secret": 1\n' + lines("x1", tenant="other"))
    found = summary(run, str(directory), exit_code=1)
    assert (found["accepted"], found["rejected"]) == (3, 2)
    rows = [json.loads(line) for line in Path(found["rejects"]).read_text().splitlines()]
    assert [(Path(row["file"]).name, row["line"], row["event_id"]) for row in rows] == [
        ("a.jsonl", 2, ""),
        ("a.jsonl", 3, "x1"),
    ]
    assert "not JSON" in rows[0]["reason"]
    assert "another tenant" in rows[1]["reason"]
    assert "secret" not in Path(found["rejects"]).read_text()
    # They are done: another run neither repeats them nor reads the rejects as events.
    assert summary(run, str(directory))["lines"] == 0
    # Later lines keep their numbers.
    with (directory / "a.jsonl").open("ab") as file:
        file.write(b"no\n")
    summary(run, str(directory), exit_code=1)
    assert json.loads(Path(found["rejects"]).read_text().splitlines()[-1])["line"] == 4


def test_a_line_without_an_end_is_left_until_it_has_one(run: Run, gateway: FakeGateway, directory: Path) -> None:
    whole = lines("b1", "b2")
    (directory / "b.jsonl").write_bytes(whole[:-20])
    found = summary(run, str(directory))
    assert found["unfinished"] == [f"{directory}/b.jsonl:2"]
    (directory / "b.jsonl").write_bytes(whole)
    assert summary(run, str(directory))["accepted"] == 1
    assert sorted(ids(gateway)) == ["a1", "a2", "b1", "b2", "c1"]
    # A last line that is whole but for its end is an event.
    (directory / "b.jsonl").write_bytes(whole + lines("b3").rstrip())
    assert summary(run, str(directory))["accepted"] == 1


def test_a_file_that_was_replaced_or_cut_is_begun_anew(run: Run, gateway: FakeGateway, directory: Path) -> None:
    summary(run, str(directory))
    (directory / "a.jsonl").write_bytes(lines("z1", "z2", "z3"))  # the same inode, other content
    assert summary(run, str(directory))["accepted"] == 3
    (directory / "a.jsonl").write_bytes(lines("z1"))
    assert summary(run, str(directory))["accepted"] == 1
    assert ids(gateway)[-1] == "z1"


def test_another_tenant_and_project_can_be_given(run: Run, gateway: FakeGateway, directory: Path) -> None:
    (directory / "a.jsonl").write_bytes(lines("a1", tenant="elsewhere"))
    summary(run, str(directory / "a.jsonl"), "--tenant", "t", "--project", "q")
    assert (gateway.events[0].tenant_id, gateway.events[0].project_id) == ("t", "q")


def test_what_cannot_be_meant(run: Run, tmp_path: Path) -> None:
    assert run("import", str(tmp_path / "none")).exit_code == 2
    (tmp_path / "empty").mkdir()
    assert "holds no *.jsonl" in run("import", str(tmp_path / "empty")).output
    (tmp_path / "a.jsonl").write_bytes(lines("a"))
    (tmp_path / "state").write_text('{"version": 1, "files": {"x": {"odd": 1}}}')
    assert "is not the state" in run("import", str(tmp_path / "a.jsonl"), "--state", str(tmp_path / "state")).output
    nowhere = run("import", str(tmp_path / "a.jsonl"), "--state", str(tmp_path / "no" / "where"))
    assert nowhere.exit_code == 2
    with pytest.raises(WrongUsage):
        State(tmp_path)


@pytest.mark.parametrize(
    ("content", "complete"), [(b"", 0), (b"x", 0), (b"x\n", 2), (b"x\ny", 2), (b"\n" + b"y" * 200_000, 1)]
)
def test_where_the_last_whole_line_ends(content: bytes, complete: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with (tmp_path / "f").open("rb") as source:
        assert complete_bytes(source) == complete
