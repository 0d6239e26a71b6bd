"""The consoles: results on stdout, everything else on stderr. Colour and Unicode only where they are understood."""

from __future__ import annotations

import codecs
import io
import os
import sys

from rich.console import Console

#: Width of tables that are not written to a terminal (a pipe, a file, a log), columns.
PIPE_WIDTH = 160

#: Our signs, and what stands for them where the encoding has no Unicode: one column each, so that tables stay aligned.
ASCII = str.maketrans("✔✖◌▸◐…⊘↺→·━•┅─│├└“”", "+xo>~./@>-=*--||`''")
#: The codec error handler that does it.
HANDLER = "chaukas-ascii"


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(ASCII)
    return "".join(character if character.isascii() else "?" for character in plain), error.end


codecs.register_error(HANDLER, _to_ascii)


def _harmless(stream: object) -> None:
    # A terminal in a legacy encoding must show a replacement, not stop the command, at the first foreign letter.
    if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
        stream.reconfigure(errors=HANDLER)


def results(width: int | None = None) -> Console:
    """stdout; `width` in columns, default: the terminal's, or 160 where there is none."""
    _harmless(sys.stdout)
    if width is None and not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        width = PIPE_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def messages() -> Console:
    """stderr: progress, hints, errors."""
    _harmless(sys.stderr)
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def reader_left() -> None:
    """Whoever read stdout has enough (BrokenPipeError): Python must not complain about it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
