"""Bounds on text that is kept in the window or copied into facts.

The event itself is always kept whole; these bound what 50,000 remembered events of a hostile client can cost in memory, and
keep every derived record below its topic's limit.
"""

from __future__ import annotations

from sys import intern

#: Names and addresses (agents, servers, operations, models, tools), characters.
NAME_CHARS = 1024
#: Text for people (reasons, error messages), characters.
TEXT_CHARS = 8192


def clip_name(text: str) -> str:
    """At most :data:`NAME_CHARS` characters of `text`, interned: the same names come again and again."""
    return intern(text if len(text) <= NAME_CHARS else text[:NAME_CHARS])


def clip_text(text: str) -> str:
    """At most :data:`TEXT_CHARS` characters of `text`."""
    return text if len(text) <= TEXT_CHARS else text[:TEXT_CHARS]
