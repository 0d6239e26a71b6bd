"""Wrong usage of a command."""

from __future__ import annotations

import typer


class WrongUsage(typer.BadParameter):
    """What was typed cannot be meant; the message says why. typer shows it with the command's usage and exits with 2."""

    def format_message(self) -> str:
        return self.message
