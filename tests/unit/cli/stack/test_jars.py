import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from cli.stack import jars
from cli.stack.errors import StackError
from cli.stack.jars import Jar, is_whole, locked_jars, provide
from cli.stack.ui import Reporter


def jar(name: str, content: bytes) -> Jar:
    return Jar("org.example", name, "1.0", len(content), hashlib.sha256(content).hexdigest())


CONTENT = {"one": b"first jar" * 100, "two": b"second jar" * 100}
JARS = [jar(name, content) for name, content in CONTENT.items()]


class Repository:
    """A Maven repository far away, which may serve something else than it should."""

    def __init__(self, served: dict[str, bytes] | None = None) -> None:
        self.served = CONTENT if served is None else served
        self.asked: list[str] = []

    def __call__(self, wanted: Jar, directory: Path, progress: Callable[[int], None]) -> None:
        self.asked.append(wanted.artifact)
        if wanted.artifact not in self.served:
            raise ConnectionError("no route to host\nand more lines")
        path = directory / wanted.path
        path.parent.mkdir(parents=True)
        path.write_bytes(self.served[wanted.artifact])
        progress(wanted.size)


@pytest.fixture
def report() -> Reporter:
    return Reporter(Console(file=io.StringIO(), width=200))


@pytest.fixture(autouse=True)
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "_ATTEMPTS", 1)


def output(report: Reporter) -> str:
    assert isinstance(report.console.file, io.StringIO)
    return report.console.file.getvalue()


def test_downloads_what_is_missing_and_nothing_the_second_time(tmp_path: Path, report: Reporter) -> None:
    remote = Repository()
    paths = provide(JARS, tmp_path, remote, report)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert provide(JARS, tmp_path, remote, report) == paths
    assert sorted(remote.asked) == ["one", "two"]
    assert [path.name for path in tmp_path.iterdir()] == ["org"], "the staging directory is gone"


@pytest.mark.parametrize("damage", [b"first", b"X" * len(CONTENT["one"])])
def test_a_cut_off_or_altered_jar_is_named_and_downloaded_again(
    tmp_path: Path, report: Reporter, damage: bytes
) -> None:
    one, _ = provide(JARS, tmp_path, Repository(), report)
    one.write_bytes(damage)
    remote = Repository()
    provide(JARS, tmp_path, remote, report)
    assert one.read_bytes() == CONTENT["one"]
    assert remote.asked == ["one"]
    assert "Damaged" in output(report)
    assert "one-1.0.jar" in output(report)


def test_when_it_cannot_be_repaired_the_message_says_what_and_what_to_do(tmp_path: Path, report: Reporter) -> None:
    one, _ = provide(JARS, tmp_path, Repository(), report)
    one.unlink()
    with pytest.raises(StackError) as caught:
        provide(JARS, tmp_path, Repository({}), report)
    message = str(caught.value)
    assert "one-1.0.jar: no route to host" in message
    assert "1 are missing" in message
    assert "run the command again" in message
    assert "and more lines" not in message


def test_another_content_than_the_pinned_one_never_enters_the_repository(tmp_path: Path, report: Reporter) -> None:
    with pytest.raises(StackError, match="another checksum than the pinned one"):
        provide(JARS[:1], tmp_path, Repository({"one": b"evil jar!" * 100}), report)
    assert not is_whole(JARS[0], tmp_path)
    assert not list(tmp_path.rglob("*.jar"))


def test_an_unwritable_repository_is_named(tmp_path: Path, report: Reporter) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(StackError, match="M2_REPO"):
        provide(JARS, place / "repository", Repository(), report)


def test_the_pinned_jars_hold_the_broker_and_a_log_binding() -> None:
    pinned = locked_jars()
    names = {(entry.artifact, entry.version) for entry in pinned}
    assert ("kafka_2.13", jars.KAFKA_VERSION) in names
    assert ("kafka-clients", jars.KAFKA_VERSION) in names
    assert ("slf4j-simple", "1.7.36") in names
    assert len({entry.path for entry in pinned}) == len(pinned)
    assert all(len(entry.sha256) == 64 and entry.size > 0 for entry in pinned)
    assert all(Jar.from_line(entry.to_line()) == entry for entry in pinned)
