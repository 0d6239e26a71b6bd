import os
import shlex
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cli.stack.directory import exclusive, prepare
from cli.stack.endpoints import Endpoints, NoStack, load_endpoints
from cli.stack.errors import StackError
from cli.stack.processes import started
from cli.stack.record import Record, load_record

ENDPOINTS = Endpoints("http://127.0.0.1:1", "127.0.0.1:2", "ck_key", "tenant", "pro ject", "127.0.0.1:3")


def record() -> Record:
    return Record(
        pid=os.getpid(),
        pid_started=started(os.getpid()) or "",
        socket="/s",
        started_at=1.5,
        stop_seconds=60,
        ports={"A": 1},
        ready_urls={"gateway-0": "http://x/readyz"},
        endpoints=ENDPOINTS.public(),
    )


def test_clients_find_what_was_recorded(tmp_path: Path) -> None:
    record().save(tmp_path)
    (tmp_path / "dev.key").write_text("ck_key\n")
    assert load_record(tmp_path) == record()
    assert load_endpoints(tmp_path) == ENDPOINTS


def test_the_key_is_not_in_the_record(tmp_path: Path) -> None:
    record().save(tmp_path)
    assert "ck_key" not in (tmp_path / "stack.json").read_text()


def test_alive_means_this_very_process() -> None:
    ours = record()
    assert ours.alive
    assert not replace(ours, pid_started="other").alive
    assert not ours.stopped().alive
    assert ours.stopped().ports == ours.ports


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"surprise": 1}'])
def test_a_damaged_record_is_none_and_clients_are_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    (tmp_path / "dev.key").write_text("ck_key\n")
    assert load_record(tmp_path) is None
    with pytest.raises(NoStack, match="is damaged"):
        load_endpoints(tmp_path)


def test_without_a_stack_clients_are_told_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoStack, match="chaukas-gateway up"):
        load_endpoints(tmp_path)


def test_exports_can_be_pasted() -> None:
    words = [shlex.split(line) for line in ENDPOINTS.exports()]
    assert ["export", "CHAUKAS_PROJECT_ID=pro ject"] in words
    assert {word.split("=")[0] for _, word in words} == {
        "CHAUKAS_ENDPOINT",
        "CHAUKAS_API_KEY",
        "CHAUKAS_TENANT_ID",
        "CHAUKAS_PROJECT_ID",
    }


def test_the_directory_is_made_for_its_owner_only_and_left_empty(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert not list((tmp_path / "a" / "b").iterdir())


def test_a_directory_that_cannot_be_used_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StackError, match=r"it is not a directory\n.*STACK_DIR"):
            prepare(place)


def test_one_command_at_a_time(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(StackError, match=f"process {os.getpid()}"), exclusive(tmp_path):
        raise AssertionError("two commands hold the lock")
    with exclusive(tmp_path):
        pass
