"""What "all words, case-insensitive" means for ``text_query``. Pure.

A word is a run of Unicode letters, marks, digits and underscores; ``.``, ``'`` and ``:`` inside a run belong to it
(``host.com``, ``don't``), as Unicode's word boundaries have it. In scripts written without spaces every character is a word.
The same expression cuts the query and the stored text, lower-cased by the same engine function, so the two cannot disagree.

The text index knows less: it cuts at every non-ASCII character (``über`` is ``ü`` and ``ber`` there). So it only proposes
rows (it never misses one: a word's pieces are pieces of every text that has the word), and the rows it proposes are compared
word by word, before a page is cut.
"""

from __future__ import annotations

import unicodedata

_SCRIPTS_WITHOUT_SPACES = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
_KINDS = ("L", "M", "N")
_OTHERS = "".join(rf"\p{{{script}}}" for script in _SCRIPTS_WITHOUT_SPACES)
# RE2 has no intersection of classes, but "neither not-A nor of these scripts" is one: [^\P{A}\p{Han}].
_CHAR = "(?:" + "|".join(rf"[^\P{{{kind}}}{_OTHERS}]" for kind in _KINDS) + "|_)"
# Letters, marks and numbers of a script are what is neither a punctuation mark nor a symbol of it.
_SINGLE = "|".join(rf"[^\P{{{script}}}\p{{P}}\p{{S}}]" for script in _SCRIPTS_WITHOUT_SPACES)
#: RE2, over lower-cased text; each match is a word. Compiling it is most of its price, so it is kept short.
WORD_PATTERN = rf"{_SINGLE}|{_CHAR}(?:[.':]?{_CHAR})*"

_JOINERS = frozenset(".':")


def searchable(text: str) -> str:
    """`text` with everything that is part of no word blanked out; '' when it has no word, and so filters nothing."""
    kept = "".join(char if char in _JOINERS or _in_word(char) else " " for char in text)
    return " ".join(kept.split()) if any(map(_in_word, kept)) else ""


def has_index_tokens(searchable_text: str) -> bool:
    """Whether the index's tokenizer sees a token at all: asked for none, it would match no row."""
    return any(char.isalnum() or not char.isascii() for char in searchable_text)


def _in_word(char: str) -> bool:
    # Cn: not assigned in Python's Unicode, perhaps a letter in the engine's newer one.
    return char == "_" or unicodedata.category(char)[0] in "LMN" or unicodedata.category(char) == "Cn"
