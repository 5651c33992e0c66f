"""Where the commands print tables: a terminal's width, and in a pipe enough for every column."""

import sys
from typing import Final

from rich.console import Console

_PIPE_COLUMNS: Final = 240


def console() -> Console:
    """Return a console that shortens cells on a terminal only, which shows where it had no room."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
