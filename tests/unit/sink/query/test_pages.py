from __future__ import annotations

import base64

import pytest
from chaukas.spec.common.v1.query_pb2 import QueryFilter
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from sink.query.identity import Scope
from sink.query.pages import Position, TokenCodec, binding, page_size, signing_key

CODEC = TokenCodec(signing_key("a key", ""))
BOUND = binding("events", Scope("t", ("p",)), QueryFilter(session_id="s"), False)
POSITIONS = st.lists(
    st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(st.characters(codec="utf-8"))), min_size=1, max_size=5
).map(tuple)


def refuses(codec: TokenCodec, bound: bytes, token: str) -> bool:
    try:
        codec.decode(bound, token, "query.page_token")
    except InvalidInput as error:
        assert [violation.field for violation in error.violations] == ["query.page_token"]
        return True
    return False


@given(POSITIONS)
def test_a_token_brings_its_position_back(position: Position) -> None:
    assert CODEC.decode(BOUND, CODEC.encode(BOUND, position), "page_token") == position


@given(POSITIONS, st.data())
def test_a_changed_token_is_refused(position: Position, data: st.DataObject) -> None:
    token = CODEC.encode(BOUND, position)
    at = data.draw(st.integers(0, len(token) - 1))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ é"
    other = data.draw(st.sampled_from([char for char in alphabet if char != token[at]]))
    assert refuses(CODEC, BOUND, token[:at] + other + token[at + 1 :])


@given(POSITIONS, st.integers(1, 30))
def test_a_cut_or_extended_token_is_refused(position: Position, count: int) -> None:
    token = CODEC.encode(BOUND, position)
    assert refuses(CODEC, BOUND, token[:-count])
    assert refuses(CODEC, BOUND, token + "A" * count)
    assert refuses(CODEC, BOUND, token + "=" * count)


@given(st.text(max_size=200))
def test_what_nobody_made_is_refused(token: str) -> None:
    assert refuses(CODEC, BOUND, token)


@given(st.binary(max_size=100))
def test_bytes_that_nobody_made_are_refused(data: bytes) -> None:
    assert refuses(CODEC, BOUND, base64.urlsafe_b64encode(b"\x01" + data).rstrip(b"=").decode())


def test_a_token_of_another_key_is_refused() -> None:
    assert refuses(TokenCodec(signing_key("another", "")), BOUND, CODEC.encode(BOUND, (1,)))


OTHERS = [
    binding("handoffs", Scope("t", ("p",)), QueryFilter(session_id="s"), False),
    binding("events", Scope("u", ("p",)), QueryFilter(session_id="s"), False),
    binding("events", Scope("t", ("q",)), QueryFilter(session_id="s"), False),
    binding("events", Scope("t", ("p", "q")), QueryFilter(session_id="s"), False),
    binding("events", Scope("t", None), QueryFilter(session_id="s"), False),
    binding("events", Scope("t", ()), QueryFilter(session_id="s"), False),
    binding("events", Scope("t", ("p",)), QueryFilter(session_id="s"), True),
    binding("events", Scope("t", ("p",)), QueryFilter(), False),
    binding("events", Scope("t", ("p",)), QueryFilter(agent_id="s"), False),
    binding("events", Scope("t", ("p",)), QueryFilter(session_id="s", types=[1]), False),
    binding("events", Scope("t", ("p",)), QueryFilter(session_id="s", tags=["x"]), False),
    binding("events", Scope("t", ("p",)), QueryFilter(session_id="s", text_query="x"), False),
    binding("events", Scope("t", ("p",)), QueryFilter(session_id="s", time={"start": {"seconds": 1}}), False),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_token_continues_only_its_own_query(other: bytes) -> None:
    assert refuses(CODEC, other, CODEC.encode(BOUND, (1, 2, "p")))


def test_filters_that_mean_the_same_share_tokens() -> None:
    one = QueryFilter(types=[3, 1, 1], tags=["b", "a"], statuses=[4, 2], severities=[1])
    two = QueryFilter(
        types=[1, 3], tags=["a", "b", "a"], statuses=[2, 4], severities=[1], tenant_id="t", project_id="p"
    )
    scope = Scope("t", ("p",))
    assert binding("events", scope, one, True) == binding("events", scope, two, True)


def test_keys() -> None:
    assert signing_key("k", "") == signing_key("k", "token")
    assert signing_key("", "token") == signing_key("", "token")
    assert signing_key("", "token") != signing_key("", "other")
    assert signing_key("", "") != signing_key("", ""), "without a secret a key is the process's own"


@pytest.mark.parametrize(("asked", "size"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_page_sizes(asked: int, size: int) -> None:
    assert page_size(asked, "page_size") == size


def test_a_negative_page_size_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^query\.page_size: "):
        page_size(-1, "query.page_size")
