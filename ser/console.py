"""The console that results are printed to."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """Standard output; in a file or a pipe, lines have 120 characters, so that no number is cut."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=120)
