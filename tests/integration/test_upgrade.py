"""The data directory of a previous version, with what that had not processed yet, under this version: nothing lost, nothing changed.

The archives are made by ``python -m tests.upgrade.record`` (docs/upgrading.md).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from cli.stack.record import load_record
from contracts.v1.facts_pb2 import HandoffFact, McpCallFact
from sink.migrate import load as migrations
from tests.conservation.account import problems
from tests.conservation.evidence import gather
from tests.conservation.system import SERVICES, System
from tests.conservation.traffic import Ledger
from tests.support.events import seeded_sessions, without_ours
from tests.support.stack import Client
from tests.upgrade.recorded import ARCHIVES, PROJECT, Answers, Expected, ask, unpack


@dataclass
class Upgraded:
    """This version's stack on a previous version's directory, after it has processed what was left."""

    system: System
    expected: Expected
    now: dict[str, Answers]


@pytest.fixture(scope="module", params=sorted(path.name for path in ARCHIVES.glob("*.tar.xz")))
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    directory, expected = unpack(ARCHIVES / request.param, tmp_path_factory.mktemp("upgrade"))
    system = System(directory, {"KAFKA_TOPIC_PARTITIONS": "2", "SINK_SETTLE_SECONDS": "3", "STACK_GATEWAYS": "1"})
    try:
        system.up()
        system.wait_drained()
        yield Upgraded(system, expected, {tenant: ask(system, key) for tenant, key in expected.keys.items()})
    finally:
        system.cli("down", check=False)


def test_everything_acknowledged_is_there_once_with_all_that_follows_from_it(upgraded: Upgraded) -> None:
    system, tenant = upgraded.system, upgraded.system.endpoints.tenant_id
    assert upgraded.expected.keys[tenant] == system.endpoints.api_key, "the key of the old version"
    sent = upgraded.expected.sent(tenant)
    ledger = Ledger(sent=sent, acknowledged=set(sent), rejected=set(upgraded.expected.rejected))
    # Statistics, hand-offs, MCP calls, durations and letters too, also of what began before and ended after the upgrade.
    assert problems(ledger, gather(system, PROJECT, Counter()), PROJECT) == []


def test_every_tenants_events_are_as_they_were_sent(upgraded: Upgraded) -> None:
    assert len(upgraded.now) > 1
    for tenant, now in upgraded.now.items():
        sent = upgraded.expected.sent(tenant)
        assert Counter(event.event_id for event in now.found) == Counter(sent.keys())
        assert all(without_ours(event) == sent[event.event_id] for event in now.found)
        assert now.statistics.total_events == len(sent)


def test_what_the_old_version_answered_is_answered_the_same(upgraded: Upgraded) -> None:
    for tenant, before in upgraded.expected.answers.items():
        now = upgraded.now[tenant]
        stored = {event.event_id: event for event in now.found}
        assert before.found
        assert [event for event in before.found if stored[event.event_id] != event] == []
        later: dict[str, HandoffFact | McpCallFact] = {**now.mcp_facts, **now.handoff_facts}
        earlier: dict[str, HandoffFact | McpCallFact] = {**before.mcp_facts, **before.handoff_facts}
        other = {name for name, fact in earlier.items() if later[name] != fact}
        # A call that was open, or a hand-off that nobody had picked up, may have come to its end.
        assert all(later[name].revision > earlier[name].revision for name in other)
        if not upgraded.expected.backlog:
            assert not other
            assert later.keys() == earlier.keys()
            assert now.statistics == before.statistics


def test_it_goes_on_where_the_old_version_stopped(upgraded: Upgraded) -> None:
    """Reading everything again would change no answer, but take as long as there are records."""
    system = upgraded.system
    topics, foreign = system.kafka.topics, Counter(topic for topic, _, _ in upgraded.expected.foreign)
    events = sum(system.ends(topics.raw).values()) - foreign[topics.raw]
    assert sum(system.ends(topics.enriched).values()) - foreign[topics.enriched] == events


def test_dead_letters_are_still_listed(upgraded: Upgraded) -> None:
    lines = upgraded.system.cli("dlq", "list", "--all", "--json").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted((row["topic"], row["partition"], row["offset"]) for row in rows) == sorted(upgraded.expected.foreign)


def test_the_schema_is_the_newest_and_doctor_finds_nothing_else(upgraded: Upgraded) -> None:
    record = load_record(upgraded.system.directory)
    assert record is not None
    page = httpx.get(record.ready_urls["sink"].replace("/readyz", "/metrics")).text
    newest = migrations()[-1].version
    assert upgraded.expected.schema_version < newest
    assert f"sink_schema_version {newest}.0" in page
    rows = [json.loads(line) for line in upgraded.system.cli("doctor", "--json", check=False).stdout.splitlines()]
    assert len(rows) > 10
    assert {row["check"] for row in rows if row["severity"] in ("warning", "error")} <= {"dead letters"}, rows


def test_new_events_are_written_and_read(upgraded: Upgraded) -> None:
    tenant, project = upgraded.system.endpoints.tenant_id, "after-the-upgrade"
    events = next(seeded_sessions(77, 1, tenant=tenant, project=project))
    client = Client(upgraded.system)
    try:
        client.send_until_accepted(events)
        found = client.wait_stored({event.event_id for event in events}, project_id=project)
    finally:
        client.close()
    assert [without_ours(found[event.event_id]) for event in events] == events


def test_nobody_complains(upgraded: Upgraded) -> None:
    assert upgraded.system.traces() == []
    assert not any(upgraded.system.restarts().values())
    for log in sorted((upgraded.system.directory / "logs").glob("*.log")):
        if log.name.startswith(SERVICES):
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            assert [line for line in lines if line["level"] in ("error", "critical")] == []
