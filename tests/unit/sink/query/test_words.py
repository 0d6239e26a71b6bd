from __future__ import annotations

import pytest

from sink.query.words import has_index_tokens, searchable


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("refund order", "refund order"),
        ("  refund,\torder!\n", "refund order"),
        ("don't host.com a:b 3.14 a_b", "don't host.com a:b 3.14 a_b"),
        ("foo — “bar”…", "foo bar"),
        ("Über 日本 e\u0301", "Über 日本 e\u0301"),
        ("😀 smile", "smile"),
    ],
)
def test_everything_but_words_is_blanked_out(text: str, kept: str) -> None:
    assert searchable(text) == kept


@pytest.mark.parametrize("text", ["", "   ", "?!", "—…😀", "\x00\n", "' . :", "...", "-+*/"])
def test_a_text_without_a_word_is_no_filter(text: str) -> None:
    assert searchable(text) == ""


@pytest.mark.parametrize(("text", "tokens"), [("_", False), ("__ _", False), ("_a", True), ("7", True), ("日", True)])
def test_the_index_is_asked_only_for_tokens_it_has(text: str, tokens: bool) -> None:
    assert has_index_tokens(searchable(text)) is tokens
