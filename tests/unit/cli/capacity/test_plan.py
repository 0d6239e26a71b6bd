"""The plan follows its model, and the documents show what it calculates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.capacity import costs
from cli.capacity.model import DEFAULT_WINDOW, Load, Plan, Row, plan
from cli.capacity.render import DOCUMENTED, inserted
from cli.main import app

CAPACITY = Path(__file__).parents[4] / "docs" / "capacity.md"


def row(made: Plan, component: str) -> Row:
    (found,) = [one for one in made.rows if one.component == component]
    return found


def test_the_documents_tables_are_what_plan_says() -> None:
    text = CAPACITY.read_text(encoding="utf-8")
    assert inserted(text) == text, "run `make docs`"
    assert {10_000, 100_000, 1_000_000} == set(DOCUMENTED)


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        inserted("# nothing")


def test_processes_are_cores_times_headroom() -> None:
    made = plan(Load(100_000, headroom=2.0))
    assert row(made, "processors").count == 8  # 100,000 × 40 µs × 2
    assert row(made, "gateway").count == 3  # × (8 + 300/100) µs
    assert row(plan(Load(100_000, events_per_call=1)), "gateway").count == 62
    assert row(plan(Load(100_000, headroom=1.0)), "processors").count == 4


@pytest.mark.parametrize("rate", [1, 300, 5_000, 20_000, 150_000, 1_000_000])
def test_every_plan_survives_the_loss_of_one_and_feeds_every_worker(rate: int) -> None:
    made = plan(Load(rate))
    assert row(made, "gateway").count >= 2
    assert row(made, "processors").count >= 2
    assert row(made, "broker").count >= made.load.kafka_replicas
    assert made.partitions >= 2 * row(made, "processors").count
    assert made.window_offsets * made.partitions >= rate * made.load.window_seconds
    assert made.window_offsets >= DEFAULT_WINDOW
    if not made.embedded:
        assert row(made, "ClickHouse node").count == made.shards * made.load.store_replicas
        assert made.partitions >= 2 * row(made, "sink writer").count


def test_the_embedded_engine_only_where_it_was_measured_to_do() -> None:
    assert plan(Load(costs.EMBEDDED_EVENTS / 2)).embedded
    assert not plan(Load(costs.EMBEDDED_EVENTS / 2 + 1)).embedded


def test_disks_hold_what_is_kept() -> None:
    load = Load(50_000, event_bytes=1_000, retention_days=10, kafka_hours=24)
    made = plan(load)
    nodes = row(made, "ClickHouse node")
    assert made.store_bytes == 2 * round(50_000 * 10 * 86_400 * 1_000 * costs.STORE_SHARE)
    assert nodes.count * nodes.disk_bytes * costs.DISK_FILL == pytest.approx(made.store_bytes, rel=1e-6)
    brokers = row(made, "broker")
    assert made.kafka_bytes == 3 * (50_000 * 24 * 3_600 * (2_000 + 1_020))
    assert brokers.count * brokers.disk_bytes * costs.DISK_FILL == pytest.approx(made.kafka_bytes, rel=1e-6)
    assert all(one.disk_bytes <= load.node_disk_bytes for one in made.rows)
    half = plan(replace(load, average_per_second=25_000))
    assert half.store_bytes * 2 == made.store_bytes
    assert row(half, "processors") == row(made, "processors")


def test_tenants_change_nothing_but_their_average() -> None:
    one, many = plan(Load(10_000)), plan(Load(10_000, tenants=100))
    assert one.rows == many.rows
    assert many.tenant_events_per_second == 100


def test_a_window_twice_as_long_doubles_its_memory_and_the_takeover() -> None:
    short, long = plan(Load(100_000, window_seconds=300)), plan(Load(100_000, window_seconds=600))

    def windows(made: Plan) -> int:
        return row(made, "processors").memory_bytes - costs.PROCESSORS_BYTES

    assert windows(long) == pytest.approx(2 * windows(short), rel=0.01)
    assert long.takeover_seconds == pytest.approx(2 * short.takeover_seconds, rel=0.01)


def test_the_command_is_for_people_and_machines() -> None:
    shown = CliRunner().invoke(app, ["plan", "--events-per-second", "10000", "--tenants", "10"])
    assert shown.exit_code == 0
    assert "KAFKA_TOPIC_PARTITIONS=8" in shown.output
    assert "1,000 events/s" in shown.output
    document = json.loads(CliRunner().invoke(app, ["plan", "--events-per-second", "10000", "--json"]).output)
    assert document["partitions"] == 8
    assert {one["component"] for one in document["rows"]} >= {"gateway", "processors", "broker"}
    assert CliRunner().invoke(app, ["plan", "--events-per-second", "0"]).exit_code == 2
