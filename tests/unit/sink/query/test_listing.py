"""Pages over an engine that is a sorted list."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from chaukas.spec.common.v1.query_pb2 import QueryFilter
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import MIB
from sink.query.builder import Statement
from sink.query.engine import Deadline
from sink.query.identity import Scope
from sink.query.listing import MAX_ANSWER_BYTES, Listing, ListRequest
from sink.query.pages import Position, TokenCodec
from sink.query.ranges import NsRange

SCOPE = Scope("t", None)
CODEC = TokenCodec(b"k" * 32)
OVERHEAD = 8


class ListEngine:
    """Rows are (position, bytes, exact)."""

    def __init__(self, rows: Sequence[tuple[int, int, int]]) -> None:
        self.table = sorted(rows)
        self.reads = 0

    async def rows(self, statement: Statement, deadline: Deadline) -> Sequence[Sequence[Any]]:
        self.reads += 1
        after, limit = statement.parameters["after"], statement.parameters["limit"]
        return [row for row in self.table if after is None or (row[0],) > after][:limit]


def statement(
    scope: Scope, filters: QueryFilter, bounds: NsRange, ascending: bool, after: Position | None, limit: int
) -> Statement:
    return Statement("", {"after": after, "limit": limit})


LISTING = Listing("test", keys=1, statement=statement, overhead_bytes=OVERHEAD)


async def pages(engine: ListEngine, size: int, text: str = "") -> list[list[int]]:
    found: list[list[int]] = []
    token = ""
    while True:
        request = ListRequest(QueryFilter(text_query=text), size, token, True)
        page = await LISTING.page(engine, CODEC, SCOPE, request, Deadline.after(60))  # type: ignore[arg-type]
        found.append([int(row.position[0]) for row in page.rows])
        if not page.next_page_token:
            return found
        token = page.next_page_token


ROWS = st.dictionaries(st.integers(0, 300), st.integers(0, 1200 * 1024), max_size=40)


@given(ROWS, st.integers(1, 12))
async def test_pages_are_the_list_cut_into_pieces_that_fit(rows: dict[int, int], size: int) -> None:
    engine = ListEngine([(key, count, 1) for key, count in rows.items()])
    found = await pages(engine, size)
    assert [row for page in found for row in page] == sorted(rows)
    assert all(page for page in found) or found == [[]]
    for page, following in itertools.pairwise(found):
        assert len(page) <= size
        whole = sum(rows[row] + OVERHEAD for row in page)
        assert whole < MAX_ANSWER_BYTES
        assert len(page) == size or whole + rows[following[0]] + OVERHEAD > MAX_ANSWER_BYTES - 64 * 1024
    assert engine.reads == len(found)


async def test_a_row_larger_than_an_answer_comes_alone() -> None:
    engine = ListEngine([(1, 10, 1), (2, 5 * MIB, 1), (3, 4 * MIB, 1), (4, 10, 1)])
    assert await pages(engine, 10) == [[1], [2], [3], [4]]


@given(st.lists(st.booleans(), max_size=400), st.integers(1, 5))
async def test_candidates_that_only_look_right_are_passed_over(exact: list[bool], size: int) -> None:
    engine = ListEngine([(number, 10, int(passes)) for number, passes in enumerate(exact)])
    found = await pages(engine, size, text="x")
    right = [number for number, passes in enumerate(exact) if passes]
    assert found == ([right[at : at + size] for at in range(0, len(right), size)] or [[]])


class CopiesEngine:
    """Stored copies of rows, as positions; only some positions are confirmed."""

    def __init__(self, copies: Sequence[int], rows: set[int]) -> None:
        self.copies = sorted(copies)
        self.standing = rows
        self.most = 0

    async def rows(self, statement: Statement, deadline: Deadline) -> Sequence[Sequence[Any]]:
        if "positions" in statement.parameters:
            asked = statement.parameters["positions"]
            assert len(asked) == len(set(asked))
            self.most = max(self.most, len(asked))
            return [(position, 10) for (position,) in reversed(asked) if position in self.standing]
        after, limit = statement.parameters["after"], statement.parameters["limit"]
        return [(copy,) for copy in self.copies if after is None or (copy,) > after][:limit]


COPIES = Listing(
    "test",
    keys=1,
    statement=statement,
    overhead_bytes=OVERHEAD,
    confirm=lambda scope, filters, positions: Statement("", {"positions": positions}),
)


@given(st.lists(st.integers(0, 400), max_size=600), st.sets(st.integers(0, 400)), st.integers(1, 7))
async def test_copies_and_rows_that_do_not_stand_take_nothing_from_a_page(
    copies: list[int], rows: set[int], size: int
) -> None:
    engine = CopiesEngine(copies, rows)
    found: list[list[int]] = []
    token = ""
    while True:
        request = ListRequest(QueryFilter(), size, token, True)
        page = await COPIES.page(engine, CODEC, SCOPE, request, Deadline.after(60))  # type: ignore[arg-type]
        found.append([int(row.position[0]) for row in page.rows])
        if not page.next_page_token:
            break
        token = page.next_page_token
    right = sorted(set(copies) & rows)
    assert found == ([right[at : at + size] for at in range(0, len(right), size)] or [[]])


async def test_a_page_asks_for_more_each_time_up_to_a_bound() -> None:
    engine = CopiesEngine(range(50_000), {49_999})
    page = await COPIES.page(engine, CODEC, SCOPE, ListRequest(QueryFilter(), 1, "", True), Deadline.after(60))  # type: ignore[arg-type]
    assert [row.position for row in page.rows] == [(49_999,)]
    assert engine.most == 4_096
