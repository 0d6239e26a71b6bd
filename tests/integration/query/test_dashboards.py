"""Every panel of the dashboards asks for something that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sink.store import Store
from tests.support.demo_store import demo_events, store_events
from tests.support.grafana import Range, expand
from tests.support.stored import clear

ROOT = Path(__file__).parents[3]
BOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/agents.json").read_text())
TARGETS = [(panel["title"], panel["type"], target) for panel in BOARD["panels"] for target in panel.get("targets", ())]
ALL: dict[str, Sequence[str] | None] = {"tenant": ["t"], "project": None, "agent": None}
ONE: dict[str, Sequence[str] | None] = {"tenant": ["t"], "project": ["p"], "agent": ["triage", "bill'ing", "billing"]}
#: Columns that a kind of panel cannot do without.
NEEDED = {("nodeGraph", "nodes"): {"id", "title"}, ("nodeGraph", "edges"): {"id", "source", "target"}}


@pytest.fixture(scope="module")
def demo(engine_store: Store) -> Iterator[tuple[Store, Range]]:
    clear(engine_store)
    events = demo_events()
    store_events(engine_store, events)
    times = [event.timestamp.seconds for event in events]
    yield engine_store, Range(min(times) - 60, max(times) + 60)
    clear(engine_store)


@pytest.mark.parametrize("chosen", [ALL, ONE], ids=["all", "some"])
@pytest.mark.parametrize(("title", "kind", "target"), TARGETS, ids=[f"{one[0]}-{one[2]['refId']}" for one in TARGETS])
def test_a_panel_shows_rows(
    demo: tuple[Store, Range], title: str, kind: str, target: dict[str, Any], chosen: dict[str, Sequence[str] | None]
) -> None:
    store, within = demo
    found = store.writer.query(expand(target["rawSql"], within, chosen))
    assert found.result_rows, title
    assert NEEDED.get((kind, target["refId"]), set()) <= set(found.column_names)
    if kind == "stat":
        (row,) = found.result_rows
        assert row[0] > 0, title
    if kind == "timeseries":
        assert str(found.column_types[0].base_type).startswith("DateTime"), title


def test_nothing_is_shown_of_another_tenant_or_time(demo: tuple[Store, Range]) -> None:
    store, within = demo
    for choice, when in (
        (ALL | {"tenant": ["other"]}, within),
        (ALL, Range(within.start - 200_000, within.start - 100_000)),
    ):
        for title, kind, target in TARGETS:
            found = store.writer.query(expand(target["rawSql"], when, choice)).result_rows
            if title != "Servers, all time" or when is within:
                assert not found or (kind == "stat" and not found[0][0]), title


def test_the_variables_offer_what_there_is(demo: tuple[Store, Range]) -> None:
    store, within = demo
    offered = {
        one["name"]: [row[0] for row in store.writer.query(expand(one["query"]["rawSql"], within, ALL)).result_rows]
        for one in BOARD["templating"]["list"]
    }
    assert offered == {"tenant": ["t"], "project": ["p"], "agent": ["billing", "triage"]}
