"""`ser fetch`: downloads a public corpus or model, or lists what can be downloaded."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

import data_prep
from data_prep.fetching import download, sources
from ser.console import console

LOGGED_BYTES = 10**8
"""A log, which shows no bars, gets a line for each step of at least this size."""


class Transfer:
    """Shows the progress of a download (see `data_prep.fetching.transfer.Observer`); a context manager.

    Args:
        console: where to write; None: standard error.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = None

    def __enter__(self) -> Transfer:
        self.bars.start()
        return self

    def __exit__(self, *exception) -> None:
        self.bars.stop()

    def begin(self, what: str, total: int | None, done: int) -> None:
        """Starts the bar of a step; `done` of its `total` bytes are there already."""
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.task = self.bars.add_task(what, total=total, completed=done)
        if not self.console.is_terminal and (total is None or total >= LOGGED_BYTES):
            resumed = f", from {_size(done)}" if done else ""
            self.console.print(what + (f": {_size(total)}{resumed}" if total else ""), style="dim", markup=False)

    def advance(self, count: int) -> None:
        """Adds bytes to the bar."""
        if self.task is not None:
            self.bars.advance(self.task, count)

    def note(self, text: str) -> None:
        """Prints a message for the user."""
        self.console.print(text, style="dim", markup=False)


def fetch(name: str, to: Path | None) -> None:
    """Downloads a corpus or model and prints where it is.

    Raises:
        UserError: There is no such corpus or model, it is available on request only, or the download fails.
    """
    source = sources.source(name, to)
    with Transfer() as observer:
        observer.note(f"{source.title}: {_size(source.size)}, licence {source.licence}, {source.page}")
        fetched = download.fetch(source, observer, to)
    state = "Fetched" if fetched.new else "Already fetched"
    print(f"{state}: {fetched.path}, {fetched.files} files")
    if fetched.new and source.corpus:
        print(f"`ser corpora {source.folder}{_root_option(source, to)}` shows its counts.")


def _root_option(source: sources.Source, to: Path | None) -> str:
    return "" if to is None else f" --root {sources.base_folder(source, to) / source.folder}"


def show_sources(to: Path | None) -> None:
    """Prints one line per source, then the corpora that are available on request only."""
    out = console()
    table = Table(header_style="bold")
    table.add_column("Name", no_wrap=True)
    for name in ("", "Size", "Licence", "Checksum", "Here"):
        table.add_column(name, justify="right" if name == "Size" else "left")
    for source in sources.SOURCES.values():
        known = [one.checksum is not None for one in source.files]
        checksum = "published" if all(known) else "partly published" if any(known) else "not published"
        here = "yes" if sources.source_folder(source, to).exists() else "no"
        table.add_row(source.name, source.title, _size(source.size), source.licence, checksum, here)
    out.print(table)
    out.print("`ser fetch NAME` downloads one of them, or continues an interrupted download.", style="dim")
    gated = ", ".join(data_prep.corpus(name).name for name in sources.on_request())
    out.print(f"On request only: {gated}; `ser fetch NAME` says how to get one.", style="dim")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
