"""What retention takes away, what it must leave, and that statistics follow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from sink import admin
from sink.cluster import local_name
from sink.migrate import migrate
from sink.query.daily import DailyStats
from sink.retention import DEFAULT, Hold, Retention
from sink.store import Store
from tests.integration.test_sink_store import Sink
from tests.support.cluster_store import open_cluster
from tests.support.events import event
from tests.support.sink_records import TOPICS, enriched_record, fact_record, handoff_fact

NOW = datetime(2026, 6, 15, tzinfo=UTC)


def ns(days_ago: float) -> int:
    return int((NOW - timedelta(days=days_ago)).timestamp() * 10**9)


@pytest.fixture(scope="module", params=["embedded", "cluster"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    directory = tmp_path_factory.mktemp("clickhouse")
    store = open_cluster(directory) if request.param == "cluster" else Store.open(f"chdb:///{directory}", readers=1)
    try:
        migrate(store.settler, cluster=store.cluster)
        yield Sink(store)
    finally:
        store.close()


@pytest.fixture
def sink(opened: Sink) -> Sink:
    opened.empty()
    for table in ("retention", "legal_holds"):
        opened.store.settler.command(f"TRUNCATE TABLE {local_name(table, opened.store.cluster)}")
    return opened


def write(sink: Sink, *rows: tuple[str, str, float]) -> None:
    """(tenant, session, days ago)."""
    sink.write(
        [
            enriched_record(
                event(tenant=tenant, session=session, event_id=f"{tenant}-{session}-{days}", at_ns=ns(days)),
                offset=number,
                received_ns=ns(days),
            )
            for number, (tenant, session, days) in enumerate(rows)
        ]
    )


def left(sink: Sink) -> list[str]:
    return [event_id for (event_id,) in sink.rows("SELECT event_id FROM events FINAL ORDER BY event_id")]


def retention(sink: Sink, days: int = 0) -> Retention:
    return Retention(sink.store.settler, sink.store.cluster, days)


def test_whole_months_are_dropped_as_parts(sink: Sink) -> None:
    write(sink, ("a", "s", 200), ("a", "s", 201), ("b", "s", 202), ("a", "s", 1))
    report = retention(sink, 90).run(NOW)
    assert report.dropped_months == [202511]
    assert report.deleted == {}, "no row was deleted one by one"
    assert left(sink) == ["a-s-1"]
    assert sink.rows("SELECT count() FROM event_ids FINAL") == [(1,)]


def test_days_by_tenant_and_the_default(sink: Sink) -> None:
    keeper = retention(sink)
    keeper.set_days(DEFAULT, 30)
    keeper.set_days("long", 300)
    keeper.set_days("ever", 10)
    keeper.set_days("ever", 0)
    assert keeper.days() == {DEFAULT: 30, "ever": 0, "long": 300}
    write(sink, *[(tenant, "s", days) for tenant in ("short", "long", "ever") for days in (10, 100, 400)])
    keeper.run(NOW)
    assert left(sink) == ["ever-s-10", "ever-s-100", "ever-s-400", "long-s-10", "long-s-100", "short-s-10"]
    assert sink.rows("SELECT count() FROM event_ids FINAL") == [(6,)]


def test_a_hold_is_never_crossed(sink: Sink) -> None:
    keeper = retention(sink, 30)
    keeper.hold(Hold("held", "", "case 1"))
    keeper.hold(Hold("a", "evidence", "case 2"))
    write(sink, ("held", "s", 400), ("a", "evidence", 400), ("a", "other", 400), ("b", "evidence", 400))
    report = keeper.run(NOW)
    assert report.dropped_months == [], "the month holds what must stay"
    assert left(sink) == ["a-evidence-400", "held-s-400"]
    keeper.release(Hold("held", ""))
    keeper.release(Hold("a", "evidence"))
    assert keeper.holds() == []
    assert keeper.run(NOW).dropped_months == [202505]
    assert left(sink) == []
    assert sink.rows("SELECT count() FROM event_ids FINAL") == [(0,)]


def test_a_copy_that_lost_stays_hidden_while_its_session_is_held(sink: Sink) -> None:
    for number, session in enumerate(("first", "second")):
        made = event(tenant="a", session=session, event_id="e", at_ns=ns(100) + number)
        sink.write([enriched_record(made, offset=number, received_ns=ns(100) + number)])
    assert sink.settler.settle() == 1
    keeper = retention(sink, 30)
    keeper.hold(Hold("a", "second"))
    keeper.run(NOW)
    assert left(sink) == []
    assert sink.rows("SELECT session_id FROM conflicts FINAL UNION ALL SELECT event_id FROM resends FINAL") != []


def test_times_a_client_made_up_change_nothing(sink: Sink) -> None:
    record = enriched_record(event(event_id="future", at_ns=ns(-3000)), offset=1, received_ns=ns(100))
    recent = enriched_record(event(event_id="past", at_ns=ns(3000)), offset=2, received_ns=ns(1))
    sink.write([record, recent])
    retention(sink, 30).run(NOW)
    assert left(sink) == ["past"]


def test_facts_and_copies_go_too(sink: Sink) -> None:
    content = pb.AgentHandoff(from_agent_id="a", to_agent_id="b")
    made = event(event_id="h", at_ns=ns(100), agent_handoff=content)
    sink.write(
        [
            enriched_record(made, offset=0, received_ns=ns(100)),
            enriched_record(made, offset=1, received_ns=ns(100), resend_of=0),
            enriched_record(event(event_id="h", at_ns=ns(100)), offset=2, received_ns=ns(100), conflicts_with=0),
            fact_record(TOPICS.handoffs, handoff_fact(made, raw=(0, 0))),
        ]
    )
    later = datetime.now(UTC) + timedelta(days=400)
    assert set(retention(sink, 30).run(later).deleted) >= {"handoffs", "resends", "conflicts"}
    for table in ("events", "event_ids", "handoffs", "resends", "conflicts"):
        assert sink.rows(f"SELECT count() FROM {table} FINAL") == [(0,)], table


def test_statistics_follow_and_a_replay_goes_again(sink: Sink) -> None:
    daily = DailyStats(sink.store.settler, margin_seconds=0)
    rows = [("a", "s", 100.0), ("a", "s", 100.001), ("a", "s", 1.0)]
    write(sink, *rows)
    daily.refresh()
    keeper = retention(sink, 30)
    keeper.run(NOW)
    assert sink.rows(
        "SELECT max(valid) FROM (SELECT argMax(valid, version) AS valid FROM event_stats_days GROUP BY day)"
    ) == [(0,)]
    write(sink, *rows)
    assert len(left(sink)) == 3
    keeper.run(NOW)
    assert left(sink) == ["a-s-1.0"]


def test_without_days_nothing_is_read_or_deleted(sink: Sink) -> None:
    write(sink, ("a", "s", 4000))
    assert retention(sink).run(NOW).deleted == {}
    assert left(sink) == ["a-s-4000"]


def test_the_commands(tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert admin.main(["retention", "set", "--tenant", "a", "--", "-1"]) == 2
    monkeypatch.setenv("CLICKHOUSE_DSN", "http://x")
    assert admin.main(["retention", "show"]) == 2
    assert "CLICKHOUSE_DSN" in capsys.readouterr().err
