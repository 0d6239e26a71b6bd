"""Walking keyset pages: the server's token says whether there is more, nothing is counted or guessed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: The server's own maximum.
MAX_PAGE = 1000


def pages(fetch: Callable[[int, str], tuple[Sequence[T], str]], limit: int | None) -> Iterator[Sequence[T]]:
    """Pages of `fetch(page_size, page_token) -> (items, next_token)`, together at most `limit` items (None: all).

    The server may answer a shorter page with a token (answers have a size limit); that is not the end. Raises what
    `fetch` raises.
    """
    token, left = "", limit
    while left is None or left > 0:
        items, token = fetch(MAX_PAGE if left is None else min(MAX_PAGE, left), token)
        if left is not None:
            items = items[:left]
            left -= len(items)
        if items:
            yield items
        if not token:
            return
