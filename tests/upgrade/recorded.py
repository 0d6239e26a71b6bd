"""What an archive of a previous version holds: its data directory, and what its clients were told.

An archive is a ``.tar.xz`` of ``data/`` (STACK_DIR without logs and what each start writes anew) and ``expected.json``.
"""

from __future__ import annotations

import base64
import json
import lzma
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2

from contracts.v1 import facts_pb2, insights_pb2
from tests.support.stack import Client, Stack

ARCHIVES = Path(__file__).parent / "archives"
DATA, EXPECTED = "data", "expected.json"
#: Of the first tenant's events, the one of the development key.
PROJECT = "p"
#: Written anew by each start, or of this machine.
_LEFT_OUT = (
    "logs",
    "tmp",
    "metrics",
    "starts",
    "stack.lock",
    "supervisor.sock",
    "supervisord.conf",
    "supervisord.pid",
    "env.sh",
    "kafka/server.properties",
    "kafka/classpath.args",
    "clickhouse/gateway-config.xml",
    "clickhouse/gateway.lock",
)


@dataclass
class Answers:
    """What a tenant's queries are answered: serialized messages, base64."""

    events: list[str] = field(default_factory=list)
    stats: str = ""
    handoffs: list[str] = field(default_factory=list)
    mcp_calls: list[str] = field(default_factory=list)

    @property
    def found(self) -> list[pb.Event]:
        return [pb.Event.FromString(base64.b64decode(text)) for text in self.events]

    @property
    def statistics(self) -> server_pb2.GetEventStatsResponse:
        return server_pb2.GetEventStatsResponse.FromString(base64.b64decode(self.stats))

    @property
    def handoff_facts(self) -> dict[str, facts_pb2.HandoffFact]:
        facts = [facts_pb2.HandoffFact.FromString(base64.b64decode(text)) for text in self.handoffs]
        return {fact.handoff_id: fact for fact in facts}

    @property
    def mcp_facts(self) -> dict[str, facts_pb2.McpCallFact]:
        facts = [facts_pb2.McpCallFact.FromString(base64.b64decode(text)) for text in self.mcp_calls]
        return {fact.call_id: fact for fact in facts}


@dataclass
class Expected:
    """What happened to the old version."""

    revision: str
    schema_version: int
    #: Key by tenant.
    keys: dict[str, str] = field(default_factory=dict)
    #: By tenant and id: what was acknowledged first under the id, serialized, base64.
    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Ids that the gateway rejected.
    rejected: list[str] = field(default_factory=list)
    #: Ids of which another content was acknowledged, too.
    conflicting: list[str] = field(default_factory=list)
    #: Records nobody of ours wrote: topic, partition, offset.
    foreign: list[tuple[str, int, int]] = field(default_factory=list)
    #: By tenant, before the backlog was sent.
    answers: dict[str, Answers] = field(default_factory=dict)
    #: Events acknowledged after the last answer was given.
    backlog: int = 0

    def sent(self, tenant: str) -> dict[str, pb.Event]:
        return {
            event_id: pb.Event.FromString(base64.b64decode(text))
            for event_id, text in self.acknowledged[tenant].items()
        }


def ask(stack: Stack, key: str) -> Answers:
    """Everything a key may see."""
    client = Client(stack, key)
    try:
        found = Answers(
            events=[_text(event) for event in client.query_all()],
            stats=_text(client.stats()),
            handoffs=[_text(fact) for fact in _all(client, "ListHandoffs", "handoffs")],
            mcp_calls=[_text(fact) for fact in _all(client, "ListMcpCalls", "calls")],
        )
    finally:
        client.close()
    return found


def pack(directory: Path, expected: Expected, archive: Path) -> None:
    """Write `archive` from the stopped stack in `directory`."""
    document = directory.parent / EXPECTED
    document.write_text(json.dumps(asdict(expected), indent=1, sort_keys=True))

    def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        inside = entry.name.removeprefix(f"{DATA}/")
        if any(inside == name or inside.startswith(f"{name}/") for name in _LEFT_OUT):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    archive.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(archive, "wb", preset=9 | lzma.PRESET_EXTREME) as out, tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(directory, DATA, filter=keep)
        tar.add(document, EXPECTED, filter=keep)


def unpack(archive: Path, into: Path) -> tuple[Path, Expected]:
    """The data directory below `into`, and what is expected of it."""
    with tarfile.open(archive, "r:xz") as tar:
        tar.extractall(into, filter="data")
    document = json.loads((into / EXPECTED).read_text())
    document["answers"] = {tenant: Answers(**found) for tenant, found in document["answers"].items()}
    document["foreign"] = [tuple(place) for place in document["foreign"]]
    return into / DATA, Expected(**document)


def encoded(events: Sequence[pb.Event]) -> dict[str, str]:
    return {event.event_id: _text(event) for event in events}


def _all(client: Client, method: str, name: str) -> list[Any]:
    request = getattr(insights_pb2, f"{method}Request")(page_size=1000)
    found: list[Any] = []
    while True:
        answer = getattr(client.insights, method)(request, metadata=client.metadata, timeout=30)
        found.extend(getattr(answer, name))
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def _text(message: Any) -> str:
    return base64.b64encode(message.SerializeToString(deterministic=True)).decode()
