"""Keyset pages: which rows a page has, whether one follows, and where the next page starts.

A page is the first rows behind a position, in a total order of columns that do not change for a row. So whatever is inserted
between two pages, a row that was there at the first page is sent once: it stays on its side of every position. Rows
that came later are sent when they sort behind the position. (One column can change: an ORPHAN_END call that gets its START
moves from its end to its start.) A token is given only when a further row was seen.

An answer stays under :data:`MAX_ANSWER_BYTES` by the rows' sizes, which are read before any payload: a shorter page is
cut, and only what is sent is read. A single row larger than that comes alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chaukas.spec.common.v1 import query_pb2

from contracts.topics import MIB
from sink.query.builder import Statement
from sink.query.engine import Deadline, Engine
from sink.query.identity import Scope
from sink.query.pages import Position, TokenCodec, binding, page_size
from sink.query.ranges import NsRange, ns_range
from sink.query.slices import Hints, slices

#: Answers are smaller than this, unless a single row is not.
MAX_ANSWER_BYTES = 3 * MIB
#: Kept free for the token, the envelope, and a row that changed by a few bytes between the two reads.
_RESERVED_BYTES = 64 * 1024
#: Least candidates per read when candidates are compared word by word: few of them may pass.
_MIN_CANDIDATES = 64
#: Most candidates per read; where few pass, each read asks for twice as many as the one before.
_MAX_CANDIDATES = 4_096

#: (scope, filter, bounds, ascending, after, limit) → the statement for candidates: position, row_bytes, exact, …
PageStatement = Callable[[Scope, query_pb2.QueryFilter, NsRange, bool, Position | None, int], Statement]
#: (scope, filter, positions) → the statement for those where a row stands that matches: position, row_bytes.
ConfirmStatement = Callable[[Scope, query_pb2.QueryFilter, list[Position]], Statement]


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a page: where it stands, how large it is, and what else the statement selected."""

    position: Position
    row_bytes: int
    extra: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ListRequest:
    """The parts all list requests have. `path` is where they stand in the request, for error messages."""

    filters: query_pb2.QueryFilter
    page_size: int
    page_token: str
    ascending: bool
    path: str = ""

    @classmethod
    def of(cls, request: Any, path: str = "") -> ListRequest:
        """Of a message with filter, page_size, page_token and order_by_time."""
        ascending = request.order_by_time == query_pb2.SORT_ORDER_ASC
        return cls(request.filter, request.page_size, request.page_token, ascending, path)


@dataclass(frozen=True, slots=True)
class Page:
    rows: list[Listed]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One kind of list."""

    #: Names the list in tokens.
    name: str
    #: How many of a candidate's first columns are its position.
    keys: int
    statement: PageStatement
    #: Bytes of an answer that a row needs beside its own.
    overhead_bytes: int
    #: Where candidates are stored copies of rows, of which `statement` then gives the position alone.
    confirm: ConfirmStatement | None = None

    async def page(
        self,
        engine: Engine,
        codec: TokenCodec,
        scope: Scope,
        request: ListRequest,
        deadline: Deadline,
        hints: Hints | None = None,
    ) -> Page:
        """The page that `request` asks for. Raises InvalidInput, and what :meth:`Engine.rows` raises.

        With `hints` the range is looked through in slices of time.
        """
        size = page_size(request.page_size, f"{request.path}page_size")
        bounds = ns_range(request.filters.time, f"{request.path}filter.time")
        bound_to = binding(self.name, scope, request.filters, request.ascending)
        after = None
        if request.page_token:
            after = codec.decode(bound_to, request.page_token, f"{request.path}page_token")
        parts: Iterable[NsRange] = [bounds]
        started_ns = None if after is None else int(after[0])
        if hints is not None:
            parts = slices(bounds, started_ns, time.time_ns(), request.ascending, hints.get(bound_to))
        found: list[Listed] = []
        for part in parts:
            found += await self._find(engine, scope, request, part, after, size + 1 - len(found), deadline)
            if len(found) > size:
                break
        if hints is not None:
            hints.learn(bound_to, size + 1, [int(row.position[0]) for row in found], started_ns)
        sent = self._fitting(found[:size])
        token = codec.encode(bound_to, sent[-1].position) if len(sent) < len(found) else ""
        return Page(sent, token)

    async def _find(
        self,
        engine: Engine,
        scope: Scope,
        request: ListRequest,
        bounds: NsRange,
        after: Position | None,
        wanted: int,
        deadline: Deadline,
    ) -> list[Listed]:
        """The first `wanted` rows behind `after`, fewer only when there are no more."""
        found: list[Listed] = []
        limit = max(wanted, _MIN_CANDIDATES) if request.filters.text_query else wanted
        if self.confirm is not None:
            limit += limit // 10 + 10  # some are copies of one row
        while True:
            statement = self.statement(scope, request.filters, bounds, request.ascending, after, limit)
            candidates = await engine.rows(statement, deadline)
            if self.confirm is None:
                rows = self._exact(candidates)
            else:
                rows = await self._confirmed(engine, scope, request.filters, candidates, deadline)
            found += rows[: wanted - len(found)]
            if len(found) == wanted or len(candidates) < limit:
                return found
            after = tuple(candidates[-1][: self.keys])
            limit = max(limit, min(2 * limit, _MAX_CANDIDATES))

    def _exact(self, candidates: Iterable[Sequence[Any]]) -> list[Listed]:
        rows = ((tuple(row[: self.keys]), *row[self.keys :]) for row in candidates)
        return [Listed(position, int(size), tuple(extra)) for position, size, exact, *extra in rows if exact]

    async def _confirmed(
        self,
        engine: Engine,
        scope: Scope,
        filters: query_pb2.QueryFilter,
        candidates: Iterable[Sequence[Any]],
        deadline: Deadline,
    ) -> list[Listed]:
        """The rows at the candidates' positions that match, in the candidates' order."""
        positions = list(dict.fromkeys(tuple(row) for row in candidates))
        if self.confirm is None or not positions:
            return []
        sizes = {
            tuple(row[: self.keys]): int(row[self.keys])
            for row in await engine.rows(self.confirm(scope, filters, positions), deadline)
        }
        return [Listed(position, sizes[position]) for position in positions if position in sizes]

    def _fitting(self, rows: list[Listed]) -> list[Listed]:
        room = MAX_ANSWER_BYTES - _RESERVED_BYTES
        for number, row in enumerate(rows):
            room -= row.row_bytes + self.overhead_bytes
            if room < 0 and number > 0:
                return rows[:number]
        return rows
