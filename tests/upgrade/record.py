"""``python -m tests.upgrade.record REVISION NAME [--backlog]``: a data directory of a previous version, for tests/integration/test_upgrade.py.

Run by hand when a migration is added (docs/upgrading.md), not by CI. It takes REVISION's code from git into a worktree, starts that
version's whole stack with this environment's packages on a fresh directory, sends seeded events, asks for everything, and packs
the directory of the stopped stack with the answers into ``tests/upgrade/archives/NAME.tar.xz``.

With ``--backlog`` it is not stopped at rest: the sink is stopped first and more is sent (records that wait between processors and
sink), then the processors and more is sent (records that wait before the processors), then the rest.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaukas.spec.common.v1 import events_pb2 as pb
from confluent_kafka import Producer

from runtime.kafka import admin, topic_changes
from tests.conservation.system import System
from tests.support.events import event, seeded_sessions
from tests.support.stack import Client
from tests.support.waiting import wait_for
from tests.upgrade.recorded import ARCHIVES, DATA, PROJECT, Expected, ask, encoded, pack

_ROOT = Path(__file__).parents[2]
_OTHER_TENANT = "other-tenant"
_SEED = 42
#: Sessions of the first tenant: of each part, and one more that goes on through all parts.
_SESSIONS = 3


class Recorder:
    """One run."""

    def __init__(self, system: System, revision: str) -> None:
        self.system = system
        self.expected = Expected(revision, self._schema_version())
        tenant = system.endpoints.tenant_id
        created = system.cli(
            "keys", "create", "--tenant", _OTHER_TENANT, "--file", str(system.directory / "keys.json")
        ).stdout
        self.expected.keys = {tenant: system.endpoints.api_key, _OTHER_TENANT: created.split()[-1]}
        self.expected.acknowledged = {name: {} for name in self.expected.keys}
        self._sessions = {
            name: seeded_sessions(_SEED + number, 100, tenant=name, project=project)
            for number, (name, project) in enumerate(zip(self.expected.keys, (PROJECT, "elsewhere"), strict=True))
        }
        self._clients = {name: Client(system, key) for name, key in self.expected.keys.items()}
        # It goes on through all parts: STARTs of one have their ENDs in the next.
        self._long = next(self._sessions[tenant])
        self._tenant = tenant
        self._wait_for_key()

    def _schema_version(self) -> int:
        names = [path.name for path in (self.source / "sink/sql/migrations").iterdir()]
        return max(int(name[:4]) for name in names if re.match(r"\d{4}_", name))

    @property
    def source(self) -> Path:
        return Path(self.system.environment["PYTHONPATH"])

    def _wait_for_key(self) -> None:
        """The gateway reads its key file every now and then."""

        def known() -> bool:
            request = urllib.request.Request(
                f"{self.system.endpoints.http_url}/capabilities",
                headers={"authorization": f"Bearer {self.expected.keys[_OTHER_TENANT]}"},
            )
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_for("the gateway to know the second key", known)

    def send(self, tenant: str, events: Sequence[pb.Event]) -> None:
        self._clients[tenant].send_until_accepted(list(events))
        known = self.expected.acknowledged[tenant]
        known.update({name: text for name, text in encoded(events).items() if name not in known})

    def part(self, number: int) -> None:
        """Sessions of both tenants, a piece of the long one, a copy, a conflict, an event to reject, a foreign record."""
        tenant = self._tenant
        piece = len(self._long) // 3 + 1
        self.send(tenant, self._long[(number - 1) * piece : number * piece])
        sessions = [next(self._sessions[tenant]) for _ in range(_SESSIONS)]
        for session in sessions:
            self.send(tenant, session)
        self.send(_OTHER_TENANT, next(self._sessions[_OTHER_TENANT]))
        first = sessions[0]
        self.send(tenant, first[:3])
        changed = pb.Event()
        changed.CopyFrom(first[4])
        changed.tags.append("changed")
        self.send(tenant, [changed])
        self.expected.conflicting.append(changed.event_id)
        bad = event(pb.EVENT_TYPE_UNSPECIFIED, tenant=tenant, project=PROJECT, event_id=f"rejected-{number}")
        answer = self._clients[tenant].send_batch([bad])
        assert list(answer.rejected_event_ids) == [bad.event_id], answer
        self.expected.rejected.append(bad.event_id)
        self.foreign(self.system.kafka.topics.raw, f"no event {number} \xff".encode("latin-1"))

    def foreign(self, topic: str, value: bytes) -> None:
        producer = Producer(self.system.kafka.client_config({}))
        places: list[tuple[str, int, int]] = []

        def report(error: object, message: object) -> None:
            assert error is None, error
            places.append((message.topic(), message.partition(), message.offset()))  # type: ignore[attr-defined]

        producer.produce(topic, value, b"stranger", on_delivery=report)
        producer.flush(20)
        self.expected.foreign += places

    def ask(self) -> None:
        self.system.wait_drained()
        self.expected.answers = {tenant: ask(self.system, key) for tenant, key in self.expected.keys.items()}

    def acknowledged(self) -> int:
        return sum(map(len, self.expected.acknowledged.values()))

    def leave_backlog(self) -> None:
        system, before = self.system, self.acknowledged()
        raw = system.kafka.topics.raw
        system.stop_program("sink")
        self.part(2)
        wait_for("the processors to have done all", lambda: not system.lag()[raw])
        system.stop_program("processors")
        self.part(3)
        self.expected.backlog = self.acknowledged() - before
        print("waiting records by topic:", system.lag())

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def keep_records(system: System) -> None:
    """No retention: an archive is read in years to come."""
    client = admin(system.kafka)
    names = [name for name in client.list_topics(timeout=20).topics if not name.startswith("_")]
    changes = topic_changes({name: {"retention.ms": "-1"} for name in names})
    for done in client.incremental_alter_configs(changes).values():
        done.result(20)


@contextmanager
def worktree(revision: str, directory: Path) -> Iterator[Path]:
    """The code of `revision`."""
    git = ["git", "-C", str(_ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(directory), revision], check=True)
    try:
        yield directory
    finally:
        subprocess.run([*git, "remove", "--force", str(directory)], check=True)


def record(revision: str, archive: Path, *, backlog: bool) -> Expected:
    """Blocks for about a minute."""
    found = subprocess.run(
        ["git", "-C", str(_ROOT), "rev-parse", "--short", revision], check=True, capture_output=True, text=True
    )
    with (
        tempfile.TemporaryDirectory(prefix="chaukas-record-") as place,
        worktree(revision, Path(place) / "source") as source,
    ):
        environment = {
            "PYTHONPATH": str(source),
            "PYTHONSAFEPATH": "1",  # not the code of the directory this runs in
            "PYTHONDONTWRITEBYTECODE": "1",
            "STACK_GATEWAYS": "1",
            "KAFKA_TOPIC_PARTITIONS": "2",
            "SINK_SETTLE_SECONDS": "3",
        }
        system = System(Path(place) / DATA, environment)
        try:
            system.up()
            keep_records(system)
            recorder = Recorder(system, found.stdout.strip())
            recorder.part(1)
            recorder.foreign(system.kafka.topics.enriched, b"no enriched event \xff")
            recorder.ask()
            if backlog:
                recorder.leave_backlog()
            recorder.close()
        finally:
            system.cli("down", check=False)
        pack(system.directory, recorder.expected, archive)
    return recorder.expected


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.record", description=__doc__.split("\n")[0])
    parser.add_argument("revision")
    parser.add_argument("name", help="of the archive, without .tar.xz")
    parser.add_argument(
        "--backlog", action="store_true", help="stop it with records on Kafka that nobody has processed"
    )
    options = parser.parse_args()
    archive = ARCHIVES / f"{options.name}.tar.xz"
    expected = record(options.revision, archive, backlog=options.backlog)
    count = sum(map(len, expected.acknowledged.values()))
    print(
        f"{archive.name}: {archive.stat().st_size:,} bytes; revision {expected.revision}, schema {expected.schema_version}; "
        f"{count} events acknowledged, {expected.backlog} of them not processed, {len(expected.foreign)} foreign records"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
