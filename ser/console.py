"""Where results are printed."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """Standard output; a file or a pipe gets lines of 120 characters, so that no number is cut."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=120)
