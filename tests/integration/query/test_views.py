"""The views: their columns are a contract, and their rows agree with a recount of what was sent."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.v1.facts_pb2 import HandoffFact, McpCallFact, McpCallStatus
from sink.store import Store
from tests.support.stored import Copy, insert_copies, insert_handoffs, insert_mcp_calls

GOLDEN = Path(__file__).parent / "views_golden.txt"
START_NS = 1_750_000_000_000_000_000
SECOND = 10**9

pytestmark = pytest.mark.usefixtures("store")


def test_no_column_of_a_view_goes_away_or_changes_its_type(store: Store) -> None:
    """A column that is new is added to the golden file; a line that is there stays."""
    there = set()
    names = rows(store, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'")
    for (name,) in names:
        there |= {f"{name}.{column[0]} {column[1]}" for column in rows(store, f"DESCRIBE TABLE {name}")}
    golden = GOLDEN.read_text().splitlines()
    assert sorted(set(golden) - there) == []
    assert sorted(there - set(golden)) == [], "new columns: add them to the golden file, and to docs/views.md"


def test_every_column_is_documented() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "views.md").read_text()
    sections = {part.split("\n", 1)[0].strip("` "): part for part in documented.split("\n## ")[1:]}
    for line in GOLDEN.read_text().splitlines():
        view, column = line.split(" ")[0].split(".")
        assert f"`{column}`" in sections[view], line


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.writer.query(sql).result_rows]


def dicts(store: Store, view: str, order: str) -> list[dict[str, Any]]:
    result = store.writer.query(f"SELECT * FROM {view} WHERE tenant_id = 't' ORDER BY {order}")
    return list(result.named_results())


def some_event(rng: random.Random, number: int) -> pb.Event:
    """Any type, any status, some repeated spans and sessions; the content that goes with the type."""
    kind = rng.choice([value for value in pb.EventType.values() if value])
    event = pb.Event(
        event_id=f"e{number}",
        tenant_id="t",
        project_id=rng.choice("pq"),
        session_id=rng.choice(["", "s1", "s2", "s3"]),
        span_id=rng.choice(["", "x1", "x2", "x3", "x4"]),
        type=kind,
        severity=rng.choice([0, pb.SEVERITY_INFO, pb.SEVERITY_ERROR]),
        status=rng.choice([0, pb.EVENT_STATUS_COMPLETED, pb.EVENT_STATUS_FAILED]),
        agent_id=rng.choice(["", "a1", "a2"]),
        agent_name=rng.choice(["", "Ann", "Bob"]),
    )
    at = START_NS + rng.randrange(3 * 86_400) * SECOND + number
    event.timestamp.seconds, event.timestamp.nanos = divmod(at, SECOND)
    if kind in (pb.EVENT_TYPE_MODEL_INVOCATION_START, pb.EVENT_TYPE_MODEL_INVOCATION_END):
        event.llm_invocation.provider, event.llm_invocation.model = "acme", rng.choice(["m1", "m2"])
        event.llm_invocation.prompt_tokens, event.llm_invocation.total_tokens = 10, rng.randrange(10, 99)
        if rng.random() < 0.5:
            event.cost.total_cost = rng.randrange(1, 9)
    elif kind == pb.EVENT_TYPE_TOOL_CALL_START:
        event.tool_call.name, event.tool_call.function_name = "search", rng.choice(["web", "files"])
    elif kind == pb.EVENT_TYPE_TOOL_CALL_END:
        event.tool_response.execution_time_ms, event.tool_response.http_status = rng.randrange(1, 500), 200
        event.tool_response.error_message = rng.choice(["", "broken"])
    elif kind == pb.EVENT_TYPE_POLICY_DECISION:
        event.policy.policy_id, event.policy.outcome, event.policy.rationale = "p-1", "deny", "because"
        event.policy.rule_ids.extend(["r1", "r2"])
    elif kind == pb.EVENT_TYPE_DATA_ACCESS:
        event.data_access.datasource = "crm"
        event.data_access.document_ids.extend(rng.sample(["d1", "d2", "d3"], rng.randrange(3)))
        event.data_access.pii_categories.extend(rng.sample(["email", "phone"], rng.randrange(2)))
        event.pii_categories.extend(rng.sample(["email", "name"], rng.randrange(2)))
    elif kind == pb.EVENT_TYPE_ERROR:
        event.error.error_message, event.error.error_code = "no", "E1"
    if kind == pb.EVENT_TYPE_RETRY or rng.random() < 0.1:
        event.retry.attempt, event.retry.strategy, event.retry.backoff_ms = rng.randrange(5), "exponential", 250
    return event


@pytest.fixture
def sent(store: Store) -> list[pb.Event]:
    """400 events in three inserts, a quarter of them in two or three copies."""
    rng = random.Random(5)
    events = [some_event(rng, number) for number in range(400)]
    copies = [Copy(event, 0, offset, START_NS + offset) for offset, event in enumerate(events)]
    copies += [Copy(event, 1, offset, START_NS + 9 * SECOND) for offset, event in enumerate(rng.choices(events, k=100))]
    rng.shuffle(copies)
    for start in range(0, len(copies), 200):
        insert_copies(store, copies[start : start + 200])
    return events


def ns(event: pb.Event) -> int:
    return int(event.timestamp.seconds * SECOND + event.timestamp.nanos)


def is_error(event: pb.Event) -> bool:
    failed = event.status == pb.EVENT_STATUS_FAILED or event.severity == pb.SEVERITY_ERROR
    return bool(failed or event.type == pb.EVENT_TYPE_ERROR)


def test_events_appear_once_with_their_names(store: Store, sent: list[pb.Event]) -> None:
    found = dicts(store, "v_events", "event_id")
    assert [row["event_id"] for row in found] == sorted(event.event_id for event in sent)
    by_id = {event.event_id: event for event in sent}
    for row in found:
        event = by_id[row["event_id"]]
        assert row["type"] == pb.EventType.Name(event.type)
        assert row["status"] == pb.EventStatus.Name(event.status)
        assert (row["retry_attempt"] is None) != event.HasField("retry")


def test_sessions_agree_with_a_recount(store: Store, sent: list[pb.Event]) -> None:
    sessions: defaultdict[tuple[str, str], list[pb.Event]] = defaultdict(list)
    for event in sent:
        if event.session_id:
            sessions[event.project_id, event.session_id].append(event)
    found = dicts(store, "v_sessions", "project_id, session_id")
    assert [(row["project_id"], row["session_id"]) for row in found] == sorted(sessions)
    for row in found:
        events = sessions[row["project_id"], row["session_id"]]
        times = [ns(event) for event in events]
        assert row["duration_ms"] == pytest.approx((max(times) - min(times)) / 1e6)
        assert row["events"] == len(events)
        assert row["errors"] == sum(map(is_error, events))
        assert row["agents"] == sorted({event.agent_name for event in events} - {""})
        ends = [event for event in events if event.type == pb.EVENT_TYPE_MODEL_INVOCATION_END]
        assert row["total_tokens"] == sum(event.llm_invocation.total_tokens for event in ends)
        assert (row["cost_usd"] or 0) == sum(event.cost.total_cost for event in ends)


def test_llm_usage_agrees_with_a_recount(store: Store, sent: list[pb.Event]) -> None:
    ends = [event for event in sent if event.type == pb.EVENT_TYPE_MODEL_INVOCATION_END]
    expected: Counter[tuple[Any, ...]] = Counter()
    for event in ends:
        day = ns(event) // (86_400 * SECOND)
        key = (event.project_id, day, event.agent_id, event.agent_name, "acme", event.llm_invocation.model)
        expected[*key, "calls"] += 1
        expected[*key, "errors"] += event.status == pb.EVENT_STATUS_FAILED
        expected[*key, "total_tokens"] += event.llm_invocation.total_tokens
        expected[*key, "cost_usd"] += int(event.cost.total_cost)
        expected[*key, "priced_calls"] += event.HasField("cost")
    found: Counter[tuple[Any, ...]] = Counter()
    for row in store.writer.query(
        "SELECT project_id, toInt32(day), agent_id, agent_name, model_provider, model, calls, errors, total_tokens, "
        "cost_usd, priced_calls FROM v_llm_usage"
    ).result_rows:
        for name, value in zip(("calls", "errors", "total_tokens", "cost_usd", "priced_calls"), row[6:], strict=True):
            found[*row[:6], name] = int(value or 0)
    assert found == expected


def test_tool_calls_are_one_row_per_span_of_a_session(store: Store, sent: list[pb.Event]) -> None:
    calls: defaultdict[tuple[str, ...], list[pb.Event]] = defaultdict(list)
    for event in sent:
        if event.type in (pb.EVENT_TYPE_TOOL_CALL_START, pb.EVENT_TYPE_TOOL_CALL_END):
            paired = event.session_id and event.span_id
            loner = "" if paired else event.event_id
            calls[event.project_id, event.session_id, event.span_id, loner].append(event)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in dicts(store, "v_tool_calls", "project_id"):
        paired = row["session_id"] and row["span_id"]
        loner = "" if paired else row["start_event_id"] or row["end_event_id"]
        found[row["project_id"], row["session_id"], row["span_id"], loner] = row
    assert set(found) == set(calls)
    for key, events in calls.items():
        row = found[key]
        starts = sorted((ns(one), one.event_id) for one in events if one.type == pb.EVENT_TYPE_TOOL_CALL_START)
        ends = sorted((ns(one), one.event_id) for one in events if one.type == pb.EVENT_TYPE_TOOL_CALL_END)
        failed = any(one.status == pb.EVENT_STATUS_FAILED for one in events if one.type == pb.EVENT_TYPE_TOOL_CALL_END)
        status = "OPEN" if not ends else "ERROR" if failed else "OK" if starts else "ORPHAN_END"
        assert row["status"] == status
        assert row["start_event_id"] == (starts[0][1] if starts else "")
        assert row["end_event_id"] == (ends[-1][1] if ends else "")
        functions = sorted((ns(one), one.tool_call.function_name) for one in events if one.tool_call.function_name)
        assert row["function_name"] == (functions[-1][1] if functions else "")
        if starts and ends:
            assert row["duration_ms"] == pytest.approx((ends[-1][0] - starts[0][0]) / 1e6)
        else:
            assert row["duration_ms"] is None


def test_the_lists_of_one_kind_of_event_agree_with_a_recount(store: Store, sent: list[pb.Event]) -> None:
    policies = [one for one in sent if one.type == pb.EVENT_TYPE_POLICY_DECISION]
    assert rows(
        store, "SELECT event_id, policy_id, outcome, rule_ids, rationale FROM v_policy_decisions ORDER BY event_id"
    ) == [(one.event_id, "p-1", "deny", ["r1", "r2"], "because") for one in sorted(policies, key=lambda e: e.event_id)]

    accesses = {one.event_id: one for one in sent if one.type == pb.EVENT_TYPE_DATA_ACCESS}
    found = dicts(store, "v_data_access", "event_id")
    assert [row["event_id"] for row in found] == sorted(accesses)
    for row in found:
        event = accesses[row["event_id"]]
        categories = set(event.pii_categories) | set(event.data_access.pii_categories)
        assert sorted(row["pii_categories"]) == sorted(categories)
        assert (row["documents"], row["has_pii"]) == (len(event.data_access.document_ids), bool(categories))

    errors = rows(store, "SELECT event_id FROM v_errors ORDER BY event_id")
    assert errors == [(event_id,) for event_id in sorted(one.event_id for one in sent if is_error(one))]
    sessions = rows(store, "SELECT sum(errors) FROM v_sessions")
    assert sessions == rows(store, "SELECT count() FROM v_errors WHERE session_id != ''")

    retries = rows(store, "SELECT event_id, attempt, strategy, backoff_ms FROM v_retries ORDER BY event_id")
    assert retries == [
        (one.event_id, one.retry.attempt, "exponential", 250)
        for one in sorted(sent, key=lambda e: e.event_id)
        if one.HasField("retry")
    ]


def test_hops_and_loops_of_the_edges(store: Store) -> None:
    """a → b → c → a: the last returns. Another tenant's session of the same name is another session."""
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")]
    facts = []
    for tenant in ("t", "u"):
        for number, (source, target) in enumerate(edges if tenant == "t" else edges[2:]):
            fact = HandoffFact(
                handoff_id=f"h{number}", tenant_id=tenant, project_id="p", session_id="s", revision=1,
                from_agent_id=source, to_agent_id=target,
            )  # fmt: skip
            fact.source.topic, fact.source.partition, fact.source.offset = "raw", 0, 10 - number
            fact.handed_off_at.FromNanoseconds(START_NS + number)
            facts.append(fact)
    insert_handoffs(store, facts[::-1])
    insert_handoffs(store, facts)
    assert rows(
        store,
        "SELECT tenant_id, hop, from_agent_id, to_agent_id, returns_to_earlier_agent FROM v_handoff_edges "
        "ORDER BY tenant_id, hop",
    ) == [
        ("t", 1, "a", "b", 0),
        ("t", 2, "b", "c", 0),
        ("t", 3, "c", "a", 1),
        ("t", 4, "a", "d", 0),
        ("u", 1, "c", "a", 0),
        ("u", 2, "a", "d", 0),
    ]
    # A filter of rows does not change what was counted over the whole session.
    late = rows(
        store,
        "SELECT hop, returns_to_earlier_agent FROM v_handoff_edges "
        f"WHERE tenant_id = 't' AND session_id = 's' AND handed_off_at = fromUnixTimestamp64Nano({START_NS + 2})",
    )
    assert late == [(3, 1)]


def test_mcp_servers_have_exact_quantiles_and_count_open_calls(store: Store) -> None:
    calls = []
    for number in range(10):
        fact = McpCallFact(
            call_id=f"c{number}", tenant_id="t", project_id="p", server_name="files", operation="read", revision=1,
            status=McpCallStatus.MCP_CALL_STATUS_OPEN,
        )  # fmt: skip
        if number:
            fact.status = McpCallStatus.MCP_CALL_STATUS_ERROR if number == 9 else McpCallStatus.MCP_CALL_STATUS_OK
            fact.revision, fact.measured_ms = 3, number * 10.0
        fact.started_at.FromNanoseconds(START_NS + number)
        calls.append(fact)
    insert_mcp_calls(store, calls)
    insert_mcp_calls(store, calls)
    (row,) = dicts(store, "v_mcp_servers", "server_name")
    assert (row["calls"], row["errors"], row["open"]) == (10, 1, 1)
    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == (50.0, 90.0, 90.0)


def test_conflicts_are_one_row_per_copy_with_what_settling_found_out(store: Store) -> None:
    names = [
        "tenant_id",
        "project_id",
        "event_id",
        "raw_partition",
        "raw_offset",
        "session_id",
        "ts",
        "received_at",
        "content_sha256",
        "canonical_sha256",
        "first_partition",
        "first_offset",
        "first_content_sha256",
        "raw",
        "marked_by",
        "version",
    ]
    rng = random.Random(3)
    expected = []
    for number in range(20):
        key = (rng.choice("tu"), "p", f"e{number % 7}", number % 3, number)
        mine, first = rng.randbytes(32), rng.randbytes(32)
        row = [*key, "s", START_NS + number, START_NS + SECOND, mine, mine, 0, number + 100]
        store.writer.insert("conflicts", [[*row, bytes(32), b"x", "window", 0]] * 2, column_names=names)
        if completed := bool(number % 2):
            store.writer.insert("conflicts", [[*row, first, b"x", "window", 1]], column_names=names)
        expected.append((*key, mine.hex(), number + 100, (first if completed else bytes(32)).hex(), "window"))
    assert rows(
        store,
        "SELECT tenant_id, project_id, event_id, raw_partition, raw_offset, content_sha256, first_offset, "
        "first_content_sha256, marked_by FROM v_conflicts ORDER BY tenant_id, raw_offset",
    ) == sorted(expected, key=lambda row: (row[0], row[4]))


def test_dead_letters_are_one_row_per_letter_and_a_fate_of_their_record(store: Store) -> None:
    names = [
        "dead_letter_id",
        "tenant_id",
        "event_id",
        "topic",
        "partition",
        "offset",
        "raw_partition",
        "raw_offset",
        "stage",
        "reason",
        "message",
        "first_seen",
        "letter",
    ]
    letters = [
        [f"d{number}", "t" if number % 2 else "", "", "raw", 1, number, *((1, number) if number % 3 else (None, None)),
         "enrich", "unparseable", f"no {number}", START_NS + number, b"letter"]
        for number in range(9)
    ]  # fmt: skip
    store.writer.insert("dead_letters", letters, column_names=names)
    store.writer.insert("dead_letters", letters[::2], column_names=names)
    assert rows(
        store,
        "SELECT dead_letter_id, tenant_id, offset, raw_partition, raw_offset, message, toUnixTimestamp64Nano(first_seen) "
        "FROM v_dead_letters ORDER BY dead_letter_id",
    ) == [(row[0], row[1], row[5], row[6], row[7], row[10], row[11]) for row in letters]
    assert rows(store, "SELECT raw_partition, raw_offset, fate FROM v_record_fates ORDER BY raw_offset") == [
        (row[6], row[7], "dead_letter") for row in letters if row[7] is not None
    ]
