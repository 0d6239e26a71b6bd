"""What tombstones cover, and what is left of a row that one covers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from chaukas.spec.common.v1 import events_pb2 as pb
from clickhouse_connect.driver.exceptions import DatabaseError
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from contracts.dead_letters import Reason, Stage, build
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.batch import Batch
from sink.erased_rows import CONTENT, IDS, TIMES, covering_letter, split, withhold
from sink.event_rows import SCHEMA
from sink.facts import SCHEMAS
from sink.metrics import SinkMetrics
from sink.prepare import prepare
from sink.rows import map_events
from sink.tombstones import EVENT, SESSION, SUBJECT, Erasures, Stone, Tombstones
from sink.writer import Writer
from tests.support.events import START_NS, event, seeded_sessions
from tests.support.sink_records import RECEIVED_NS, TOPICS, enriched_record


def stone(value: str = "s", kind: str = SESSION, tenant: str = "t", project: str = "", until: int = 2**62) -> Stone:
    return Stone(tenant, project, kind, value, f"id-of-{value}", START_NS, until, "why")


_some = st.sampled_from(["", "a", "b", "c"])
_stones = st.lists(
    st.builds(
        stone,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([SESSION, EVENT, SUBJECT]),
        st.sampled_from(["t", "u"]),
        st.sampled_from(["", "p"]),
        st.integers(0, 9).map(lambda number: START_NS + number),
    ),
    max_size=4,
)


@st.composite
def _event_rows(draw: Any) -> pa.Table:
    records = []
    for offset in range(draw(st.integers(1, 6))):
        made = event(
            tenant=draw(st.sampled_from(["t", "u"])),
            project=draw(st.sampled_from(["p", "q"])),
            session=draw(_some),
            event_id=draw(st.sampled_from(["a", "b", "c"])),
            at_ns=START_NS + draw(st.integers(0, 9)),
            tags=["x"],
            message=pb.MessageContent(text="a secret"),
        )
        records.append(enriched_record(made, offset=offset, received_ns=START_NS + draw(st.integers(0, 9))))
    return map_events(records).table


def covered(row: dict[str, Any], stones: Sequence[Stone]) -> bool:
    return any(
        one.tenant_id == row["tenant_id"]
        and one.project_id in ("", row["project_id"])
        and ((one.kind, one.value) in ((SESSION, row["session_id"]), (EVENT, row["event_id"])))
        and min(row["ts"], row["received_at"]) <= one.until_ns
        for one in stones
    )


def as_dicts(rows: pa.Table) -> list[dict[str, Any]]:
    for name in ("ts", "received_at"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, rows.column(name).cast(pa.int64()))
    return list(rows.to_pylist())


@settings(max_examples=200, deadline=None)
@given(_event_rows(), _stones)
def test_exactly_what_is_covered_loses_its_content(rows: pa.Table, stones: list[Stone]) -> None:
    found = {row["raw_offset"]: row for part in split("events", rows, Tombstones(stones)) for row in as_dicts(part)}
    before = as_dicts(rows)
    assert found.keys() == {row["raw_offset"] for row in before}
    for row in before:
        after = found[row["raw_offset"]]
        erasure_id = after.pop("erasure_id", "")
        if not covered(row, stones):
            assert (after, erasure_id) == (row, "")
            continue
        assert erasure_id in {one.erasure_id for one in stones}
        assert b"a secret" not in after["raw"]
        for name in SCHEMA.names:
            if name in CONTENT["events"]:
                assert not after[name] or name == "raw"
            else:
                assert after[name] == row[name]


@given(st.integers(0, 2**32))
def test_the_skeleton_says_who_when_and_where(seed: int) -> None:
    (events,) = seeded_sessions(seed, 1, tenant="t", project="p")
    rows = map_events([enriched_record(one, offset=number) for number, one in enumerate(events)]).table
    (left,) = split("events", rows, Tombstones([stone(events[0].session_id)]))
    for was, data in zip(events, left.column("raw").to_pylist(), strict=True):
        now = pb.Event.FromString(data)
        told = Struct()
        assert now.extensions[0].Unpack(told)
        facts: Any = told["chaukas.gateway"]
        assert facts["erased"]["reason"] == "why"
        assert facts["raw"]["offset"] == events.index(was)
        del now.extensions[:]
        wanted = pb.Event()
        wanted.CopyFrom(was)
        for field, _ in was.ListFields():
            if field.containing_oneof is not None or field.name in ("tags", "retry", "metadata", "cost"):
                wanted.ClearField(field.name)
        assert now == wanted


def test_every_table_with_content_is_known() -> None:
    assert {"events", *SCHEMAS} - CONTENT.keys() == {"resends"}, "resends have only ids, hashes and positions"
    for table, names in CONTENT.items():
        schema = SCHEMA if table == "events" else SCHEMAS[table]
        assert {*names, *IDS.get(table, ()), *TIMES.get(table, ())} <= set(schema.names)


def test_without_tombstones_rows_are_the_same_object() -> None:
    rows = map_events([enriched_record(event(), offset=1)]).table
    assert split("events", rows, Tombstones())[0] is rows
    assert split("events", rows, Tombstones([stone("another")]))[0] is rows


def test_a_letter_is_recognized_by_its_event_or_its_key() -> None:
    source = enriched_record(event(session="s", event_id="e"), offset=3)
    whole = build(source, Stage.SINK, Reason.ROW_REFUSED, "m")
    unreadable = build(source._replace(value=b"\xff"), Stage.SINK, Reason.UNPARSEABLE, "m")
    for letter in (whole, unreadable):
        assert covering_letter(letter, Tombstones([stone("s")]))
        assert not covering_letter(letter, Tombstones([stone("s", tenant="u")]))
        assert not covering_letter(letter, Tombstones([stone("s", until=RECEIVED_NS - 10**9)]))
    assert covering_letter(whole, Tombstones([stone("e", EVENT)]))
    withhold(whole)
    assert (whole.withheld, whole.value) == (True, b"")
    assert "enrichment" not in {header.name for header in whole.headers}
    assert not covering_letter(whole, Tombstones([stone("s")])), "there is nothing left in it"


class Refusing:
    """A store that refuses every row of one session."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []

    def insert(self, table: str, rows: pa.Table) -> None:
        if "refused" in rows.column("session_id").to_pylist():
            raise DatabaseError("x", code=321)
        self.stored += rows.to_pylist()


class Letters:
    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    def send(self, letters: Sequence[DeadLetter]) -> None:
        self.sent += letters


def test_a_refused_row_of_an_erased_session_leaves_no_content_in_its_letter() -> None:
    store, letters, erasures = Refusing(), Letters(), Erasures()
    erasures.publish([stone("refused"), stone("erased")])
    batch = Batch()
    sessions = ["refused", "erased", "kept"]
    records = [
        enriched_record(event(session=name, message=pb.MessageContent(text=f"in {name}")), offset=number)
        for number, name in enumerate(sessions)
    ]
    batch.extend(records, 0.0)
    writer = Writer(store.insert, letters, SinkMetrics(CollectorRegistry()), erasures=erasures)
    writer.store(prepare(batch, TOPICS), threading.Event())
    (letter,) = letters.sent
    assert (letter.withheld, letter.value) == (True, b"")
    assert {row["session_id"]: b"in " in row["raw"] for row in store.stored} == {"erased": False, "kept": True}


def test_publishing_waits_for_an_insert() -> None:
    erasures = Erasures()
    done: list[str] = []

    def publish() -> None:
        erasures.publish([stone()])
        done.append("published")

    with erasures.inserting():
        publisher = threading.Thread(target=publish)
        publisher.start()
        publisher.join(0.2)
        assert done == []
        done.append("inserted")
    publisher.join(20)
    assert done == ["inserted", "published"]
