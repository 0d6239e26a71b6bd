from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sink.settlement import Copy, hash_ranges, losses, version_of


def copy(
    event_id: str, received: int, partition: int = 0, offset: int = 0, *, tenant: str = "t", content: int = 1
) -> Copy:
    version = version_of(received, partition, offset)
    return Copy(tenant, 1, partition, offset, version, "p", 0, 5, content, event_id)


ranks = st.tuples(st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 16) - 1), st.integers(0, (1 << 48) - 1))


@given(ranks, ranks)
def test_the_larger_version_is_the_smaller_rank(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    assert (version_of(*one) > version_of(*other)) == (one < other)
    assert 0 <= version_of(*one) < 1 << 128
    assert version_of(*one) % 2 == 0, "the last bit belongs to tombstones"


@given(ranks)
def test_a_version_tells_the_time_of_receipt(rank: tuple[int, int, int]) -> None:
    received, partition, offset = rank
    assert copy("e", received, partition, offset).received_ns == received


@given(st.lists(ranks, min_size=1, max_size=6, unique=True).flatmap(st.permutations))
def test_all_but_the_first_lose_to_the_first(order: list[tuple[int, int, int]]) -> None:
    found = losses(copy("e", *rank) for rank in order)
    assert {loss.loser.version for loss in found} == {version_of(*rank) for rank in order} - {version_of(*min(order))}
    assert {loss.winner.version for loss in found} <= {version_of(*min(order))}


def test_equal_hashes_of_other_ids_and_tenants_are_no_copies() -> None:
    assert losses([copy("a", 1), copy("b", 2), copy("a", 3, tenant="other")]) == []


def test_equal_content_is_a_resend_and_other_content_a_conflict() -> None:
    first, same, other = copy("e", 1), copy("e", 2), copy("e", 3, content=2)
    by_rank = {loss.loser.received_ns: loss for loss in losses([other, same, first])}
    assert by_rank[2].is_resend
    assert by_rank[2].hides_itself
    assert not by_rank[3].is_resend
    assert not by_rank[3].hides_itself


@given(st.integers(1, 1000))
def test_hash_ranges_cover_every_hash_once(slices: int) -> None:
    ranges = hash_ranges(slices)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == (1 << 64) - 1
    assert all(low == high + 1 for (_, high), (low, _) in pairwise(ranges))
