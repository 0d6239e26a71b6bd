"""What goes wrong on this machine: said in one message that names the remedy, without a stack trace."""

from __future__ import annotations


class StackError(Exception):
    """The command cannot go on. The message says what is wrong and what to do; the exit code is 1."""
