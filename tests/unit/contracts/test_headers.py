"""Headers are the gateway's word: read strictly, or the record is foreign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import headers as h

GOOD: dict[str, bytes] = {
    h.TENANT_ID: b"t",
    h.PROJECT_ID: b"p",
    h.EVENT_ID: b"e",
    h.RECEIVED_AT_NS: b"1700000000000000001",
    h.SCHEMA: h.EVENT_SCHEMA.encode(),
}


def test_reads_what_the_gateway_writes() -> None:
    parsed = h.EventHeaders.parse([*GOOD.items(), (h.BATCH_ID, b"b"), (h.TRACEPARENT, b"00-1-2-01")])
    assert parsed == h.EventHeaders("t", "p", "e", 1700000000000000001, "b", "00-1-2-01")


def test_an_empty_project_is_legal() -> None:
    assert h.EventHeaders.parse({**GOOD, h.PROJECT_ID: b""}.items()).project_id == ""


def test_the_first_of_repeated_headers_counts() -> None:
    assert h.EventHeaders.parse([*GOOD.items(), (h.TENANT_ID, b"other")]).tenant_id == "t"


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_header_makes_the_record_foreign(name: str) -> None:
    with pytest.raises(h.ForeignRecord) as caught:
        h.EventHeaders.parse((key, value) for key, value in GOOD.items() if key != name)
    assert caught.value.header == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (h.TENANT_ID, b""),
        (h.EVENT_ID, b""),
        (h.TENANT_ID, b"\xff"),
        (h.PROJECT_ID, None),
        (h.RECEIVED_AT_NS, b"-1"),
        (h.RECEIVED_AT_NS, b"1.5"),
        (h.RECEIVED_AT_NS, b""),
        (h.RECEIVED_AT_NS, b"9" * 19),
        (h.RECEIVED_AT_NS, "１".encode()),
        (h.SCHEMA, b"chaukas.gateway.v1.DeadLetter"),
    ],
)
def test_an_unreadable_header_makes_the_record_foreign(name: str, value: bytes | None) -> None:
    with pytest.raises(h.ForeignRecord) as caught:
        h.EventHeaders.parse({**GOOD, name: value}.items())
    assert caught.value.header == name


def test_no_headers_at_all() -> None:
    with pytest.raises(h.ForeignRecord):
        h.EventHeaders.parse(None)


def outcome(headers: list[tuple[str, bytes | None]]) -> object:
    try:
        return h._in_any_order(headers)
    except h.ForeignRecord as error:
        return str(error)


_values = st.sampled_from([None, b"", b"1", b"p", b"\xff", "é".encode(), b"9" * 19, b"1" * 19, b"0" * 25])


@given(
    st.fixed_dictionaries({name: st.just(value) | _values for name, value in GOOD.items()}),
    st.lists(
        st.tuples(st.sampled_from([h.BATCH_ID, h.TRACEPARENT, h.ENRICHMENT, h.TENANT_ID, "x"]), _values), max_size=4
    ),
    st.booleans(),
)
def test_the_short_way_reads_what_the_long_way_reads(
    fixed: dict[str, bytes | None], rest: list[tuple[str, bytes | None]], whole: bool
) -> None:
    names = [h.TENANT_ID, h.PROJECT_ID, h.EVENT_ID, h.EVENT_TYPE, h.RECEIVED_AT_NS, h.SCHEMA]
    headers = [(name, fixed.get(name, b"EVENT_TYPE_X")) for name in names if whole or name != h.EVENT_TYPE] + rest
    short = h.as_the_gateway_writes(headers)
    assert short is None or short == outcome(headers)


def test_the_gateways_own_headers_take_the_short_way() -> None:
    """Its order is ``gateway/ingest.py``'s; a change there costs time here, nothing else."""
    fixed = list(GOOD.items())
    headers: list[tuple[str, bytes | None]] = [*fixed[:3], (h.EVENT_TYPE, b"EVENT_TYPE_ERROR"), *fixed[3:]]
    for rest in ([], [(h.BATCH_ID, b"b")], [(h.BATCH_ID, b"b"), (h.TRACEPARENT, b"00-1-2-01")], [(h.ENRICHMENT, b"e")]):
        assert h.as_the_gateway_writes([*headers, *rest]) == h._in_any_order([*headers, *rest])


@given(st.lists(st.tuples(st.sampled_from([*GOOD, h.BATCH_ID, "x"]), st.none() | st.binary(max_size=30))))
def test_any_bytes_parse_or_are_foreign(headers: list[tuple[str, bytes | None]]) -> None:
    try:
        parsed = h.EventHeaders.parse(headers)
    except h.ForeignRecord:
        return
    assert parsed.tenant_id
    assert 0 <= parsed.received_at_ns < 1 << 63


def test_what_is_long_is_not_called_bounded() -> None:
    fixed = list(GOOD.items())

    def made(kind: bytes, *rest: tuple[str, bytes]) -> h.EventHeaders | None:
        return h.as_the_gateway_writes([*fixed[:3], (h.EVENT_TYPE, kind), *fixed[3:], *rest])

    for bounded in (made(b""), made(b"k" * 128, (h.BATCH_ID, b"b" * 150), (h.TRACEPARENT, b"t" * 106))):
        assert type(bounded) is h.BoundedHeaders
    for long in (made(b"k" * 129), made(b"", (h.BATCH_ID, b"b" * 257)), made(b"", (h.ENRICHMENT, b""))):
        assert type(long) is h.EventHeaders
    names = sum(map(len, (*GOOD, h.EVENT_TYPE, h.BATCH_ID, h.TRACEPARENT)))
    assert names + len(h.EVENT_SCHEMA) + 19 + 128 + 256 < h.BOUNDED_BYTES
