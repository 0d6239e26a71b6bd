"""With real processes: who counts where, and who lives, is a matter of files and locks between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime import starts

_MEMBER = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from runtime.shared_metrics import SharedMetrics

shared = SharedMetrics(Path(sys.argv[1]), "gateway", int(sys.argv[2]), wait_seconds=0.5)
page = shared.page(Path(sys.argv[1]) / "starts")
registry = CollectorRegistry()
events = Counter("events", "Events.", ["door"], registry=registry)
held = Gauge("held", "Held.", registry=registry, multiprocess_mode="livesum")
ready = Gauge("ready", "Ready.", registry=registry, multiprocess_mode="livemin")
took = Histogram("took", "Took.", buckets=(1, 2), registry=registry)
print("joined", flush=True)
for line in sys.stdin:
    name, _, value = line.strip().partition(" ")
    if name == "count":
        events.labels("grpc").inc(float(value))
        took.observe(float(value))
    elif name == "hold":
        held.set(float(value))
    elif name == "ready":
        ready.set(float(value))
    else:
        print(generate_latest(page).decode())
        print("end")
    print("done", flush=True)
"""


class Member:
    def __init__(self, directory: Path, number: int) -> None:
        command = [sys.executable, "-c", _MEMBER, str(directory), str(number)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lines = iter(self._line, "joined")
        assert all(lines), "it ended"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, text: str) -> list[str]:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        said = []
        while (line := self._line()) != "done":
            said.append(line)
        return said

    def page(self) -> dict[tuple[str, ...], float]:
        """Values by sample name and label values."""
        text = "\n".join(line for line in self.say("page") if line != "end") + "\n"
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def members() -> Iterator[list[Member]]:
    made: list[Member] = []
    yield made
    for member in made:
        if member.process.poll() is None:
            member.kill()


def test_any_process_shows_the_sums_of_all_and_they_never_fall(tmp_path: Path, members: list[Member]) -> None:
    starts.Starts(tmp_path / "starts" / "gateway-1.json")
    members += [Member(tmp_path, 0), Member(tmp_path, 1)]
    one, two = members
    one.say("count 3")
    two.say("count 0.5")
    one.say("hold 10")
    two.say("hold 5")
    one.say("ready 1")
    two.say("ready 0")
    for page in (one.page(), two.page()):
        assert page["events_total", "grpc"] == 3.5
        assert page["took_count",] == 2
        assert page["took_bucket", "1.0"] == 1
        assert page["held",] == 15
        assert page["ready",] == 0, "one of them is not"
        assert page["process_resident_memory_bytes", "gateway-0"] > 0
        assert page["process_resident_memory_bytes", "gateway-1"] > 0
        assert page["chaukas_process_starts_last_hour", "gateway-1"] == 1
        assert ("chaukas_process_starts_last_hour", "gateway-0") not in page

    two.kill()
    page = one.page()
    assert page["events_total", "grpc"] == 3.5, "what a killed process counted stays counted"
    assert page["held",] == 10, "what it held is gone"
    assert page["ready",] == 1
    assert ("process_resident_memory_bytes", "gateway-1") not in page

    members.append(Member(tmp_path, 1))
    successor = members[-1]
    assert successor.page()["held",] == 10
    successor.say("count 1")
    assert one.page()["events_total", "grpc"] == 4.5, "its successor goes on from there"
    assert len(list(tmp_path.glob("counter_*"))) == 2, "and needs no files of its own"


def test_a_name_belongs_to_one_process(tmp_path: Path, members: list[Member]) -> None:
    members.append(Member(tmp_path, 0))
    command = [sys.executable, "-c", _MEMBER, str(tmp_path), "0"]
    second = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "another process is gateway-0" in second.stderr


def test_a_damaged_file_is_begun_anew(tmp_path: Path, members: list[Member]) -> None:
    members.append(Member(tmp_path, 0))
    members[0].say("count 3")
    members[0].kill()
    (path,) = tmp_path.glob("counter_*")
    path.write_bytes(path.read_bytes()[:6])
    members.append(Member(tmp_path, 0))
    members[1].say("count 1")
    assert members[1].page()["events_total", "grpc"] == 1
